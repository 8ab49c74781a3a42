"""Templates for a composition from known prototypes."""

from collections import Counter

import pytest
import torch

from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.by_composition import CompositionIndex, assignments
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules, is_legal
from matgen.templates.prototypes import PrototypeLibrary
from matgen.templates.wyckoff import wyckoff_table
from matgen.weights.models import load_models


def position(group: int, letter: str) -> int:
    return wyckoff_table().positions_of(group).start + "abcdefghijklmnopqrstuvwxyz".index(letter)


def crystal(group: int, **sites: int) -> CrystalTemplate:
    return CrystalTemplate(group, tuple(sorted((position(group, letter), z) for letter, z in sites.items())))


ROCK_SALT = crystal(225, a=11, b=17)
PEROVSKITE = crystal(221, a=22, b=38, d=8)
SPINEL = crystal(227, a=12, d=13)


def rules(unit: dict[int, int], **others: int) -> TemplateRules:
    return TemplateRules(composition=tuple(unit.items()), **others)


def library(*templates: CrystalTemplate) -> PrototypeLibrary:
    batch = TemplateBatch.of(templates)
    return PrototypeLibrary.of_crystals(
        batch, Geometry(torch.zeros(len(templates), 6), torch.zeros(len(batch.site_system), 3))
    )


@pytest.fixture(scope="module")
def shipped() -> CompositionIndex:
    return CompositionIndex(load_models().library)


def test_assignments_give_the_composition_in_every_way() -> None:
    assert set(assignments((1, 1, 3), {22: 1, 38: 1, 8: 3})) == {(22, 38, 8), (38, 22, 8)}
    assert set(assignments((1, 2, 4), {26: 3, 8: 4})) == {(26, 26, 8)}
    assert not list(assignments((2, 2), {11: 1, 17: 3}))


def test_both_ways_round_are_proposed_and_the_chemically_nearer_comes_first() -> None:
    found = CompositionIndex(library(PEROVSKITE)).templates(rules({20: 1, 22: 1, 8: 3}), 10)
    assert [template for template, _ in found] == [crystal(221, a=22, b=20, d=8), crystal(221, a=20, b=22, d=8)]
    assert found[0][1] < found[1][1]


def test_an_element_may_take_several_classes() -> None:
    found = CompositionIndex(library(PEROVSKITE)).templates(rules({8: 3, 22: 2}), 10)
    assert [template for template, _ in found] == [crystal(221, a=22, b=22, d=8)]


def test_cells_hold_whole_numbers_of_formula_units_within_the_limit() -> None:
    index = CompositionIndex(library(ROCK_SALT, PEROVSKITE))
    found = {template for template, _ in index.templates(rules({3: 1, 9: 1}), 10)}
    assert found == {crystal(225, a=3, b=9), crystal(225, a=9, b=3)}
    assert index.templates(rules({3: 1, 9: 1}, units=2), 10) == []
    assert len(index.templates(rules({3: 1, 9: 1}, units=1), 10)) == 2


@pytest.mark.parametrize("unit", [{38: 1, 22: 1, 8: 3}, {11: 1, 17: 1}, {26: 3, 8: 4}, {3: 1, 26: 1, 15: 1, 8: 4}])
def test_shipped_prototypes_give_legal_templates_of_the_composition_nearest_first(
    shipped: CompositionIndex, unit: dict[int, int]
) -> None:
    found = shipped.templates(rules(unit), 50)
    assert found
    assert [d for _, d in found] == sorted(d for _, d in found)
    assert len({t for t, _ in found}) == len(found) <= 50
    for template, _ in found:
        counts = Counter(template.composition)
        units = counts[next(iter(unit))] // unit[next(iter(unit))]
        assert counts == {z: n * units for z, n in unit.items()}
        assert template.n_atoms <= 20
        assert is_legal(template)


def test_the_distance_is_that_of_the_library_where_classes_are_elements() -> None:
    known = library(ROCK_SALT, SPINEL)
    for template, distance in CompositionIndex(known).templates(rules({19: 1, 9: 1}), 10):
        assert distance == pytest.approx(known.distance(template), abs=1e-5)


def test_space_groups_and_formula_units_hold(shipped: CompositionIndex) -> None:
    found = shipped.templates(TemplateRules(composition=((8, 2), (22, 1)), units=2, space_groups=frozenset({136})), 50)
    assert found
    assert {(template.space_group, template.n_atoms) for template, _ in found} == {(136, 6)}
