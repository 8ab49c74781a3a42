"""Each known-bad structure fails for the named reason, and none of the textbook structures fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
from ase.data import covalent_radii
from conftest import TextbookEntry
from pymatgen.core import Lattice, Structure

from matgen.checks.contacts import closest_contact
from matgen.checks.crystals import standard_checks
from matgen.checks.targets import Interval
from matgen.checks.verdicts import survives, validate
from matgen.novelty.duplicates import SeenStructures, unique
from matgen.structures.candidate import Candidate, Prediction, Relaxation, Verdict
from matgen.structures.cif import cif_text, displacement, read_cif
from matgen.structures.symmetry import contains, space_group

CHECKS = standard_checks({"band_gap": Interval(1.5, 1.5, 0.25)}, relaxed=False)


def face_centred(a: float, species: list[str], coords: list[list[float]]) -> Structure:
    """Conventional cell of a structure given by its primitive cell; a is the cubic edge, Å."""
    primitive = Structure(a / 2 * (np.ones((3, 3)) - np.eye(3)), species, coords)
    return primitive * [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]


def rock_salt(a: float = 5.64, anion: str = "Cl") -> Structure:
    return face_centred(a, ["Na", anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def zinc_blende() -> Structure:
    return face_centred(5.65, ["Ga", "As"], [[0, 0, 0], [0.25, 0.25, 0.25]])


def fluorite(cation: str, anion: str) -> Structure:
    return face_centred(5.46, [cation, anion, anion], [[0, 0, 0], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]])


def candidate(structure: Structure, unrelaxed: Structure | None = None, band_gap: float = 1.5) -> Candidate:
    return Candidate(
        name="one",
        structure=structure,
        unrelaxed=structure if unrelaxed is None else unrelaxed,
        space_group=space_group(structure),
        properties={"band_gap": Prediction(band_gap, 0.2, "eV")},
    )


def displaced(structure: Structure, distance: float) -> Structure:
    moved = structure.copy()
    moved.translate_sites([0], [distance, 0.6 * distance, 0.35 * distance], frac_coords=False)
    return moved


def scaled(structure: Structure, factor: float) -> Structure:
    bigger = structure.copy()
    bigger.scale_lattice(structure.volume * factor)
    return bigger


def test_a_known_crystal_passes_every_check() -> None:
    verdicts = validate(candidate(rock_salt()), CHECKS)
    assert survives(verdicts), verdicts
    assert all(verdict.reason and verdict.name == name for name, verdict in verdicts.items())


@pytest.fixture(scope="module")
def textbook_verdicts(textbook: tuple[TextbookEntry, ...]) -> dict[str, dict[str, Verdict]]:
    return {entry.file: validate(candidate(entry.structure), CHECKS) for entry in textbook}


def test_textbook_crystals_pass_every_check_but_charge_balance(
    textbook_verdicts: dict[str, dict[str, Verdict]],
) -> None:
    failures = {
        (file, verdict.reason)
        for file, verdicts in textbook_verdicts.items()
        for verdict in verdicts.values()
        if not verdict.passed and verdict.name != "charge_balance"
    }
    assert not failures


def test_nine_in_ten_textbook_crystals_are_valid_by_smact(textbook_verdicts: dict[str, dict[str, Verdict]]) -> None:
    """As in the literature, where 90.4 % of MP-20 test pass: real compounds such as skutterudites need not."""
    assert np.mean([verdicts["charge_balance"].passed for verdicts in textbook_verdicts.values()]) >= 0.9


BAD = {
    "overlap": ("min_distance", "overlap: closest contact Cl–Na", candidate(displaced(rock_salt(), 1.5))),
    "unbalanced": ("charge_balance", "unbalanced", candidate(fluorite("Na", "F"))),
    "too dense": ("density", "too dense", candidate(scaled(rock_salt(), 0.4))),
    "too dilute": ("density", "too dilute", candidate(scaled(rock_salt(), 2.5))),
    "symmetry lost": ("symmetry", "symmetry lost", candidate(displaced(rock_salt(), 0.4), rock_salt())),
    "no symmetry": ("symmetry", "P1", candidate(displaced(rock_salt(), 0.4))),
    "target missed": ("target_band_gap", "target missed", candidate(rock_salt(), band_gap=1.8)),
}


@pytest.mark.parametrize(("check", "words", "bad"), BAD.values(), ids=BAD)
def test_a_bad_structure_fails_for_the_named_reason(check: str, words: str, bad: Candidate) -> None:
    verdict = validate(bad, CHECKS)[check]
    assert not verdict.passed
    assert words in verdict.reason


def test_each_fault_is_found_by_one_check_alone() -> None:
    """Scaled, recharged or off target, a crystal stays as symmetric as it was, and so on."""
    for fault in ("unbalanced", "too dilute", "symmetry lost", "target missed"):
        check, _, bad = BAD[fault]
        failed = {name for name, verdict in validate(bad, CHECKS).items() if not verdict.passed}
        assert failed == {check}, fault


def test_contacts_see_images_and_do_not_depend_on_the_cell() -> None:
    """One atom in a small cell touches its own image; supercell and shift change nothing."""
    copper = Structure(Lattice.cubic(2.0), ["Cu"], [[0, 0, 0]])
    assert closest_contact(copper).distance == pytest.approx(2.0)
    assert closest_contact(copper).ratio == pytest.approx(2.0 / (2 * covalent_radii[29]))
    salt = displaced(rock_salt(), 0.3)
    shifted = salt.copy()
    shifted.translate_sites(range(len(salt)), [0.37, 0.91, 0.12])
    doubled = salt.make_supercell([2, 1, 1], in_place=False)
    for same in (shifted, doubled):
        assert closest_contact(same).ratio == pytest.approx(closest_contact(salt).ratio, abs=1e-8)


def test_the_closest_contact_is_that_of_brute_force() -> None:
    """Over 27 images of a skewed cell, all pairs."""
    generator = np.random.default_rng(0)
    lattice = Lattice.from_parameters(4.0, 5.5, 6.0, 75, 95, 110)
    structure = Structure(lattice, ["Cs", "F", "Mg", "O"], generator.random((4, 3)))
    radii = covalent_radii[list(structure.atomic_numbers)]
    images = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    best = min(
        np.linalg.norm(lattice.get_cartesian_coords(structure.frac_coords[j] + n - structure.frac_coords[i]))
        / (radii[i] + radii[j])
        for i in range(4)
        for j in range(4)
        for n in images
        if i != j or n.any()
    )
    assert closest_contact(structure).ratio == pytest.approx(best, abs=1e-8)


def test_an_element_that_no_training_crystal_holds_is_a_verdict_not_an_error() -> None:
    verdicts = validate(candidate(Structure(Lattice.cubic(3.5), ["Cm"], [[0, 0, 0]])), CHECKS)
    assert "no training crystal" in verdicts["density"].reason


def test_elements_and_alloys_are_balanced_as_smact_rules() -> None:
    silicon = face_centred(5.43, ["Si", "Si"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    brass = Structure(Lattice.cubic(2.95), ["Cu", "Zn"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for structure, words in ((silicon, "an element"), (brass, "metals")):
        verdict = validate(candidate(structure), CHECKS)["charge_balance"]
        assert verdict.passed
        assert words in verdict.reason


def test_higher_symmetry_than_proposed_is_kept_symmetry() -> None:
    """Zinc blende with equal atoms on both sites becomes diamond: F-43m to Fd-3m."""
    diamond = zinc_blende().copy()
    diamond.replace_species({"Ga": "Si", "As": "Si"})
    verdict = validate(candidate(diamond, zinc_blende()), CHECKS)["symmetry"]
    assert verdict.passed
    assert "contains space group 216" in verdict.reason
    assert not validate(candidate(zinc_blende(), diamond), CHECKS)["symmetry"].passed


def test_p1_passes_where_it_is_requested() -> None:
    crooked = candidate(displaced(rock_salt(), 0.4))
    crooked = replace(crooked, structure=displaced(crooked.structure, 0.3))
    assert space_group(crooked.structure).number == 1
    assert validate(crooked, standard_checks(space_groups=[1]))["symmetry"].passed


def test_the_requested_space_group_counts_not_that_of_the_proposal() -> None:
    for structure, wanted, passed in (
        (zinc_blende(), {225}, False),
        (rock_salt(), {216}, False),  # a supergroup is not the requested group
        (rock_salt(), {216, 225}, True),
    ):
        assert validate(candidate(structure), standard_checks(space_groups=wanted))["symmetry"].passed is passed


@pytest.mark.parametrize(
    ("group", "subgroup", "truth"),
    [
        (225, 216, True),
        (216, 225, False),
        (194, 186, True),
        (225, 166, True),  # through intermediate groups
        (225, 221, False),  # only with another lattice, and likewise
        (221, 225, False),
        (12, 10, False),
    ],
)
def test_supergroups(group: int, subgroup: int, truth: bool) -> None:  # noqa: FBT001
    assert contains(group, subgroup) is truth


def test_lost_centring_is_lost_symmetry() -> None:
    """Fm-3m whose face-centred atoms move off as one, to Pm-3m."""
    perovskite = Structure(
        Lattice.cubic(3.9),
        ["Sr", "Ti", "O", "O", "O"],
        [[0, 0, 0], [0.5] * 3, [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    )
    verdict = validate(candidate(perovskite, rock_salt()), CHECKS)["symmetry"]
    assert not verdict.passed
    assert "Pm-3m (221) is neither space group 225 nor above it" in verdict.reason


def test_no_symmetry_search_no_space_group() -> None:
    """Equal atoms on top of each other, and coordinates that are no numbers."""
    for where in (0.0, math.nan):
        assert space_group(Structure(Lattice.cubic(3), ["Na", "Na"], [[0, 0, 0], [where, 0, 0]])).number == 1


@pytest.mark.parametrize(
    ("target", "mean", "met"),
    [
        (Interval(1.5, 1.5, 0.25), 1.74, True),
        (Interval(1.5, 1.5, 0.25), 1.76, False),
        (Interval(1.2, 1.8), 1.8, True),
        (Interval(3.0, math.inf), 9.0, True),
        (Interval(3.0, math.inf), 2.9, False),
        (Interval(-math.inf, 0.05), -0.2, True),
        (Interval(1.2, 1.8), math.nan, False),
    ],
)
def test_a_target_is_met_inside_its_interval_and_tolerance(target: Interval, mean: float, *, met: bool) -> None:
    verdict = validate(candidate(rock_salt(), band_gap=mean), standard_checks({"band_gap": target}))["target_band_gap"]
    assert verdict.passed is met


def test_a_target_without_prediction_is_not_met() -> None:
    verdicts = validate(candidate(rock_salt()), standard_checks({"bulk_modulus": Interval(100, math.inf)}))
    assert verdicts["target_bulk_modulus"].reason == "no prediction of bulk_modulus"


def test_an_unconverged_relaxation_fails_with_its_reason() -> None:
    report = Relaxation(False, "out of steps", 120, -3.1, -3.0, 0.2, 0.01, 9.0, "CHGNet 0.3.0")
    verdict = validate(replace(candidate(rock_salt()), relaxation=report), standard_checks())["relaxed"]
    assert not verdict.passed
    assert verdict.reason == "out of steps after 120 steps of CHGNet 0.3.0"


def test_a_cif_reads_back_to_the_same_structure_and_only_to_it() -> None:
    triclinic = Structure(
        Lattice.from_parameters(4, 5.5, 6, 75, 95, 110), ["Ti", "O"], [[0.1, 0.2, 0.3], [0.6, 0.7, 0.9]]
    )
    for structure in (rock_salt(), zinc_blende(), triclinic):
        for symprec in (None, 0.01):
            back = read_cif(cif_text(structure, symprec))
            assert back is not None
            assert displacement(structure, back) < 1e-4  # CIF coordinates carry eight decimals
    assert math.isnan(displacement(rock_salt(), scaled(rock_salt(), 1.1)))
    assert read_cif("not a CIF") is None


def test_the_same_crystal_in_another_description_is_a_duplicate() -> None:
    """Another cell, origin or order of atoms, and 1 % of strain; not so another anion or another lattice."""
    salt = rock_salt()
    shifted = salt.copy()
    shifted.translate_sites(range(len(salt)), [0.3, 0.1, 0.7])
    cesium_type = Structure(Lattice.cubic(3.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    structures = [
        salt,
        rock_salt(anion="F"),
        salt.get_primitive_structure(),
        cesium_type,
        shifted,
        salt.make_supercell([[1, 1, 0], [-1, 1, 0], [0, 0, 1]], in_place=False),
        Structure.from_sites(salt.sites[::-1]),
        scaled(salt, 1.03),
    ]
    assert unique(structures) == [0, 1, 0, 3, 0, 0, 0, 0]


def test_streaming_and_batch_agree_on_duplicates() -> None:
    seen = SeenStructures()
    structures = [rock_salt(), zinc_blende(), rock_salt(), zinc_blende()]
    assert [seen.add(structure) for structure in structures] == [None, None, 0, 1]
    assert unique(structures) == [0, 1, 0, 1]
