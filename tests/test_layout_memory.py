"""What is remembered of layouts: by layout and nothing else, and of unknown ones nothing."""

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


def memory_of(*known: CrystalTemplate) -> LayoutEmbedding:
    torch.manual_seed(0)
    batch = TemplateBatch.of(known)
    memory = LayoutEmbedding(*sizes(batch), size=4, width=6)
    memory.know(batch)
    torch.nn.init.normal_(memory.out.weight)  # as after training
    return memory


def test_at_first_nothing_is_remembered() -> None:
    batch = TemplateBatch.of([ROCK_SALT])
    memory = LayoutEmbedding(*sizes(batch), size=4, width=6)
    memory.know(batch)
    assert not memory(batch, 1).any()


def test_one_vector_for_each_free_number_of_each_layout() -> None:
    # Rock salt and the sulphide share a layout, whose volume is its only free number; rutile has a shape and u too.
    assert sizes(TemplateBatch.of([ROCK_SALT, RUTILE, SULPHIDE])) == (2, 1 + 3)
    memory = memory_of(ROCK_SALT, RUTILE)
    salt, sulphide, rutile = memory(TemplateBatch.of([ROCK_SALT, SULPHIDE, RUTILE]), 3)
    torch.testing.assert_close(salt[:1], sulphide[:1])
    rows = torch.cat([salt[:1], rutile])
    assert torch.pdist(rows).min() > 0.01


def test_unknown_layouts_leave_no_trace() -> None:
    memory = memory_of(ROCK_SALT, RUTILE)
    found = memory(TemplateBatch.of([FLUORITE, RUTILE]), 3)
    assert not found[0].any()
    assert found[1].any()
    assert not LayoutEmbedding(0, 0, size=4, width=6)(TemplateBatch.of([RUTILE]), 3).any()


def test_keys_tell_layouts_apart_and_see_neither_order_nor_elements(textbook: tuple[TextbookEntry, ...]) -> None:
    singles = [described(entry.structure)[0] for entry in textbook]
    keys = layout_keys(TemplateBatch.of(singles)).tolist()
    assert len(set(zip(keys, map(layout, singles), strict=True))) == len(set(keys)) == len(set(map(layout, singles)))
    backwards = TemplateBatch.of([replace(t, sites=tuple(reversed(t.sites))) for t in singles])
    assert layout_keys(backwards).tolist() == keys
