"""Which templates are legal, which keep the rules, and which rules contradict each other."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from conftest import TextbookEntry

from matgen.chemistry.elements import ATOMIC_NUMBERS, atomic_number
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import ContradictionError, TemplateRules, fits, fitting_groups, is_legal
from matgen.templates.symmetry import describe
from matgen.templates.wyckoff import wyckoff_table

NA, CL, CA, TI, OX = (ATOMIC_NUMBERS[s] for s in ("Na", "Cl", "Ca", "Ti", "O"))
CUBIC = wyckoff_table().positions_of(225)  # 4a, 4b, 8c, 24d, 24e (x,0,0), ...
ROCK_SALT = CrystalTemplate(225, ((CUBIC[0], NA), (CUBIC[1], CL)))


def test_positions_without_freedom_are_used_once() -> None:
    assert is_legal(ROCK_SALT)
    assert not is_legal(CrystalTemplate(225, ((CUBIC[0], NA), (CUBIC[0], CL))))
    assert is_legal(CrystalTemplate(225, ((CUBIC[4], NA), (CUBIC[4], CL))))


def test_sites_belong_to_the_space_group() -> None:
    assert not is_legal(CrystalTemplate(221, ROCK_SALT.sites))
    assert not is_legal(CrystalTemplate(225, ()))


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, True),
        ({"allowed_elements": frozenset({NA, CL})}, True),
        ({"allowed_elements": frozenset({NA, OX})}, False),
        ({"required_elements": frozenset({CL})}, True),
        ({"required_elements": frozenset({OX})}, False),
        ({"composition": ((NA, 1), (CL, 1))}, True),
        ({"composition": ((CL, 3), (NA, 3))}, True),  # a formula unit is what is left after reduction
        ({"composition": ((NA, 1), (CL, 2))}, False),
        ({"space_groups": frozenset({225})}, True),
        ({"space_groups": frozenset({221})}, False),
        ({"max_atoms": 2}, True),
        ({"max_atoms": 1}, False),
        ({"n_elements": (2, 2)}, True),
        ({"n_elements": (3, 4)}, False),
    ],
)
def test_rules_on_rock_salt(rules: dict[str, Any], kept: bool) -> None:  # noqa: FBT001
    assert TemplateRules(**rules).satisfied(ROCK_SALT) is kept


def test_illegal_templates_keep_no_rules() -> None:
    assert not TemplateRules().satisfied(CrystalTemplate(225, ((CUBIC[0], NA), (CUBIC[0], CL))))


@pytest.mark.parametrize(
    ("rules", "lesson"),
    [
        ({"required_elements": frozenset({OX}), "allowed_elements": frozenset({NA})}, "O is required, but not allowed"),
        ({"allowed_elements": frozenset()}, "at least one allowed element"),
        ({"allowed_elements": frozenset({NA, 94, 120})}, "Z = 120"),
        ({"required_elements": frozenset({NA, CL, OX}), "n_elements": (1, 2)}, "3 elements are required"),
        ({"n_elements": (3, 2)}, r"1 <= fewest <= most, got \(3, 2\)"),
        ({"n_elements": (3, 3), "allowed_elements": frozenset({NA, CL})}, "3 distinct elements are asked for, but 2"),
        ({"max_atoms": 0}, "max_atoms of at least 1"),
        ({"space_groups": frozenset({231})}, "from 1 to 230"),
        ({"space_groups": frozenset({227}), "max_atoms": 1}, r"groups \[227\] hold 2 atoms or more"),
        ({"composition": ((NA, 1), (NA, 1))}, "each element once"),
        ({"composition": ((NA, 0),)}, "positive count"),
        ({"composition": ((NA, 1), (CL, 1)), "allowed_elements": frozenset({NA})}, "Na1Cl1 holds Cl, which is not"),
        ({"composition": ((NA, 1), (CL, 1)), "required_elements": frozenset({OX})}, "O is required, but Na1Cl1"),
        ({"composition": ((NA, 1), (CL, 1)), "n_elements": (3, 3)}, "Na1Cl1 has 2 elements"),
        ({"composition": ((NA, 11), (CL, 10))}, "has 21 atoms, more than max_atoms = 20"),
        # F-centred cubic positions hold 1, 1, 2, 6, ... atoms of the primitive cell: four take both ones.
        (
            {"composition": ((NA, 1), (CL, 4)), "space_groups": frozenset({225}), "max_atoms": 5},
            r"no template of space groups \[225\] with at most 5 atoms holds Na1Cl4",
        ),
    ],
)
def test_contradictions_are_told(rules: dict[str, Any], lesson: str) -> None:
    with pytest.raises(ContradictionError, match=lesson):
        TemplateRules(**rules)


def test_fits_agrees_with_trying_everything() -> None:
    # Pm-3m holds 1, 1, 3, 3 atoms without freedom, then 6 and more: every way to place two elements on the four.
    places = {(0, 0)}
    for multiplicity in (1, 1, 3, 3):
        places |= {(a + multiplicity * (w == 0), b + multiplicity * (w == 1)) for (a, b), w in product(places, (0, 1))}
    for counts in product(range(1, 6), repeat=2):
        assert fits(221, counts) == (counts in places), counts


def test_groups_too_large_for_the_cap_do_not_fit() -> None:
    assert fitting_groups(TemplateRules(space_groups=frozenset({225, 227}), max_atoms=1)) == {225}


def test_fitting_groups_know_the_structures_there_are(textbook: tuple[TextbookEntry, ...]) -> None:
    for entry in textbook:
        structure = entry.structure
        described = describe(structure.lattice.matrix, structure.frac_coords, list(structure.atomic_numbers))
        template = described.template
        assert is_legal(template), entry.file
        assert fits(template.space_group, tuple(template.composition.values())), entry.file
        rules = TemplateRules(composition=tuple(template.composition.items()), max_atoms=60)
        assert rules.satisfied(template), entry.file
    perovskite = TemplateRules(composition=((CA, 1), (TI, 1), (OX, 3)))
    assert {62, 99, 123, 221} <= fitting_groups(perovskite)
    # Diamond positions hold 2, 2, 4, 4, 8, ... atoms: Ca4 Ti4 O(8 + 2 + 2) is the smallest that fits.
    assert 227 in fitting_groups(perovskite)
    assert 227 not in fitting_groups(replace(perovskite, max_atoms=15))
    assert atomic_number("Ti") == TI
