"""Laws of the layout embedding: it depends on the Wyckoff layout only, and is zero for unknown layouts."""

from dataclasses import replace

import torch
from conftest import TextbookEntry

from matgen.nn.layout_embedding import LayoutEmbedding, layout_keys, sizes
from matgen.structures.conversion import described
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import layout
from matgen.templates.wyckoff import wyckoff_table


def site(space_group: int, letter: str, element: int) -> tuple[int, int]:
    return wyckoff_table().positions_of(space_group)["abcdefgh".index(letter)], element


ROCK_SALT = CrystalTemplate(225, (site(225, "a", 11), site(225, "b", 17)))
SULPHIDE = CrystalTemplate(225, (site(225, "a", 82), site(225, "b", 16)))
RUTILE = CrystalTemplate(136, (site(136, "a", 22), site(136, "f", 8)))
FLUORITE = CrystalTemplate(225, (site(225, "a", 20), site(225, "c", 9)))


def embedding_of(*known: CrystalTemplate) -> LayoutEmbedding:
    torch.manual_seed(0)
    batch = TemplateBatch.of(known)
    embedding = LayoutEmbedding(*sizes(batch), size=4, width=6)
    embedding.register(batch)
    torch.nn.init.normal_(embedding.out.weight)  # as after training
    return embedding


def test_it_is_zero_before_training() -> None:
    batch = TemplateBatch.of([ROCK_SALT])
    embedding = LayoutEmbedding(*sizes(batch), size=4, width=6)
    embedding.register(batch)
    assert not embedding(batch, 1).any()


def test_one_vector_for_each_free_parameter_of_each_layout() -> None:
    # Rock salt and the sulphide share a layout, whose volume is its only free parameter; rutile has a shape and u too.
    assert sizes(TemplateBatch.of([ROCK_SALT, RUTILE, SULPHIDE])) == (2, 1 + 3)
    embedding = embedding_of(ROCK_SALT, RUTILE)
    salt, sulphide, rutile = embedding(TemplateBatch.of([ROCK_SALT, SULPHIDE, RUTILE]), 3)
    torch.testing.assert_close(salt[:1], sulphide[:1])
    rows = torch.cat([salt[:1], rutile])
    assert torch.pdist(rows).min() > 0.01


def test_unknown_layouts_give_zero() -> None:
    embedding = embedding_of(ROCK_SALT, RUTILE)
    found = embedding(TemplateBatch.of([FLUORITE, RUTILE]), 3)
    assert not found[0].any()
    assert found[1].any()
    assert not LayoutEmbedding(0, 0, size=4, width=6)(TemplateBatch.of([RUTILE]), 3).any()


def test_keys_tell_layouts_apart_and_see_neither_order_nor_elements(textbook: tuple[TextbookEntry, ...]) -> None:
    singles = [described(entry.structure)[0] for entry in textbook]
    keys = layout_keys(TemplateBatch.of(singles)).tolist()
    assert len(set(zip(keys, map(layout, singles), strict=True))) == len(set(keys)) == len(set(map(layout, singles)))
    backwards = TemplateBatch.of([replace(t, sites=tuple(reversed(t.sites))) for t in singles])
    assert layout_keys(backwards).tolist() == keys
