"""Metrics of sets of structures: general laws, and known values."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import smact
from conftest import TextbookEntry
from pymatgen.core import Composition, Lattice, Structure
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from smact.screening import pauling_test

from matgen.metrics import (
    Bootstrap,
    Cutoffs,
    MetricError,
    Profile,
    Traits,
    average,
    coverage,
    distances,
    features,
    first_of_kind,
    is_balanced_smact14,
    is_separated,
    is_spaced,
    match_everyone,
    match_rate,
    profile,
    rms_distance,
    rmsd_to_relaxed,
    share,
    traits,
)
from matgen.metrics.distributions import BINS, QUANTITIES, STEPS, jensen_shannon, wasserstein
from matgen.metrics.matching import STOL

QUICK = Bootstrap(replicates=200)
SHIFT = np.array([0.13, 0.41, 0.77])


@pytest.fixture(scope="module")
def crystals(textbook: tuple[TextbookEntry, ...]) -> list[Structure]:
    """Twenty different small crystals, primitive."""
    small = [entry.structure.get_primitive_structure() for entry in textbook]
    return [structure for structure in small if len(structure) <= 8][:20]


@pytest.fixture(scope="module")
def found(crystals: list[Structure]) -> list[Traits]:
    return [traits(structure) for structure in crystals]


def strange_cell(structure: Structure) -> Structure:
    """The same crystal, its cell doubled and sheared, its atoms shifted and in reverse order."""
    other = structure.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]], in_place=False)
    moved = Structure(other.lattice, other.species[::-1], other.frac_coords[::-1] + SHIFT)
    return Structure(Lattice.from_parameters(*moved.lattice.parameters), moved.species, moved.frac_coords % 1.0)


# ---------------------------------------------------------------- shares and averages


@pytest.mark.parametrize(("hits", "n"), [(0, 9), (1, 9), (30, 100), (99, 100), (7, 7)])
def test_the_interval_of_a_share_holds_it_and_lies_between_0_and_1(hits: int, n: int) -> None:
    found = share("x", [True] * hits + [False] * (n - hits))
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.low < found.high  # also where all pass or none, which a bootstrap alone cannot tell
    assert (found.numerator, found.denominator) == (hits, n)


def test_intervals_shrink_with_the_square_root_of_n() -> None:
    shares = [share("x", [True, False, False] * n) for n in (30, 3000)]
    averages = [average("x", [0.0, 1.0, 5.0] * n) for n in (30, 3000)]
    for few, many in (shares, averages):
        # A hundred times the sample, a tenth of the width; 1000 replicates know a percentile to a few per cent.
        assert (few.high - few.low) / (many.high - many.low) == pytest.approx(10.0, rel=0.2)


def test_a_95_percent_interval_misses_the_truth_about_one_time_in_twenty() -> None:
    random = np.random.default_rng(0)
    sets = random.random((400, 200)) < 0.3
    missed = [not f.low <= 0.3 <= f.high for i, s in enumerate(sets) for f in [share(str(i), s.tolist(), None, QUICK)]]
    assert 0.02 < np.mean(missed) < 0.09  # 0.05 ± three standard deviations of 400 trials, and a coarse bootstrap


def test_what_did_not_come_counts_as_failed() -> None:
    came = [True] * 6 + [False] * 2
    assert share("x", came, 8).value == 0.75
    assert share("x", came, 12).value == 0.5
    assert (share("x", came, 12).numerator, share("x", came, 12).denominator) == (6, 12)
    with pytest.raises(MetricError, match="at least the 8"):
        share("x", came, 7)


def test_an_average_leaves_out_what_has_no_value_and_says_so() -> None:
    found = average("x", [1.0, math.nan, 3.0], 5)
    assert (found.value, found.numerator, found.denominator) == (2.0, 2, 5)
    assert math.isnan(average("x", [math.nan]).value)
    assert math.isnan(share("x", []).value)


def test_the_interval_depends_on_seed_and_name_alone() -> None:
    values = np.random.default_rng(0).random(50).tolist()
    first, again, other = (average("x", values, None, Bootstrap(seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert average("x", values[::-1], None, Bootstrap(seed=1)).value == pytest.approx(first.value)


@pytest.mark.parametrize("wrong", [{"replicates": 0}, {"level": 1.0}])
def test_a_bootstrap_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(MetricError, match="expected"):
        replace(Bootstrap(), **wrong)


# ---------------------------------------------------------------- validity


def test_real_crystals_are_valid(crystals: list[Structure]) -> None:
    assert all(map(is_separated, crystals))
    assert all(map(is_spaced, crystals))


def test_atoms_on_top_of_each_other_are_invalid_at_the_published_threshold() -> None:
    def pair(distance: float) -> Structure:
        return Structure(Lattice.cubic(6.0), ["Na", "Cl"], [[0, 0, 0], [distance / 6.0, 0, 0]])

    assert [is_separated(pair(d)) for d in (0.49, 0.51, 5.51, 5.49)] == [False, True, False, True]
    # 0.51 Å passes the published rule and is nonsense all the same: a third of the covalent radii is not enough.
    assert [is_spaced(pair(d)) for d in (0.51, 1.0, 2.8)] == [False, False, True]


def test_a_cell_of_no_volume_or_with_coordinates_that_are_no_numbers_is_invalid() -> None:
    flat = Structure(Lattice.from_parameters(4.0, 4.0, 0.004, 90, 90, 90), ["Na"], [[0, 0, 0]])
    lost = Structure(Lattice.cubic(4.0), ["Na"], [[math.nan, 0, 0]])
    for structure in (flat, lost):
        assert not is_separated(structure)
        assert not is_spaced(structure)


def by_brute_force(composition: Composition) -> bool:
    """The published rule word for word: every combination of oxidation states, SMACT's own electronegativity test."""
    counts = composition.reduced_composition.get_el_amt_dict()
    elements = [smact.Element(symbol) for symbol in counts]
    if len(counts) == 1 or all(symbol in smact.metals for symbol in counts):
        return True
    enegs = [element.pauling_eneg for element in elements]
    return any(
        sum(q * round(n) for q, n in zip(states, counts.values(), strict=True)) == 0 and pauling_test(states, enegs)
        for states in itertools.product(*(element.oxidation_states_smact14 or [] for element in elements))
    )


def test_composition_validity_equals_the_published_rule_tried_by_brute_force() -> None:
    random = np.random.default_rng(0)
    symbols = [
        "H",
        "Li",
        "C",
        "N",
        "O",
        "F",
        "Mg",
        "Si",
        "P",
        "S",
        "Cl",
        "Ti",
        "Fe",
        "Cu",
        "As",
        "Se",
        "Ir",
        "Te",
        "Ge",
    ]
    verdicts = []
    for _ in range(400):
        some = random.choice(symbols, size=random.integers(1, 4), replace=False)
        composition = Composition({str(symbol): int(random.integers(1, 5)) for symbol in some})
        verdicts.append(is_balanced_smact14(composition))
        assert verdicts[-1] == by_brute_force(composition), composition.formula
    assert 0.3 < np.mean(verdicts) < 0.9  # both verdicts occur


@pytest.mark.parametrize(
    ("formula", "valid"),
    [
        ("NaCl", True),
        ("Na4Cl4", True),
        ("CaCl", True),
        ("CaF", True),
        ("BaCl", False),
        ("Cu3Au", True),
        ("Si", True),
        ("ArO", False),
    ],
)
def test_known_compositions(formula: str, *, valid: bool) -> None:
    assert is_balanced_smact14(Composition(formula)) is valid


# ---------------------------------------------------------------- distributions


def test_a_set_has_no_distance_to_itself(found: list[Traits]) -> None:
    for estimate in distances(found, profile("itself", found), None, QUICK):
        assert estimate.value == pytest.approx(0.0, abs=1e-7), estimate.name  # square roots of rounding errors
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_the_wasserstein_distance_of_a_shifted_set_is_the_shift(found: list[Traits], shift: float) -> None:
    shifted = [replace(one, density=one.density + shift, volume_per_atom=one.volume_per_atom + shift) for one in found]
    moved = {e.name: e.value for e in distances(shifted, profile("unshifted", found), None, QUICK)}
    for quantity in ("density", "volume per atom"):  # the shift is a multiple of the rounding
        assert moved[f"Wasserstein: {quantity}"] == pytest.approx(shift)
    assert moved["Wasserstein: n elements"] == 0.0
    assert moved["Jensen–Shannon: density"] > 0.1


def test_distances_agree_with_scipy(found: list[Traits]) -> None:
    some, others = found[:8], found[8:]
    values = {e.name: e.value for e in distances(some, profile("others", others), None, QUICK)}
    for quantity, step in STEPS.items():
        mine, theirs = ([getattr(one, quantity) for one in side] for side in (some, others))
        # Rounding moves each value by half a step at most.
        exact = wasserstein_distance(mine, theirs)
        assert values[f"Wasserstein: {quantity.replace('_', ' ')}"] == pytest.approx(
            exact, abs=step if step < 1 else 1e-9
        )
    symbols = sorted({symbol for one in found for symbol in one.elements})
    mine, theirs = ([sum(s in one.elements for one in side) for s in symbols] for side in (some, others))
    assert values["Jensen–Shannon: elements"] == pytest.approx(jensenshannon(mine, theirs, base=2))


def test_jensen_shannon_is_symmetric_and_bounded() -> None:
    random = np.random.default_rng(0)
    p, q = random.random((2, 50, 7))
    p[0], q[0] = np.eye(7)[0], np.eye(7)[1]  # nothing shared
    p[1] = q[1]
    forth, back = (np.array([jensen_shannon(a, b) for a, b in zip(*pair, strict=True)]) for pair in ((p, q), (q, p)))
    np.testing.assert_allclose(forth, back)
    assert forth[0] == pytest.approx(1.0)
    assert forth[1] == pytest.approx(0.0, abs=1e-7)
    assert ((forth >= 0) & (forth <= 1)).all()


def test_wasserstein_obeys_the_triangle_inequality() -> None:
    random = np.random.default_rng(0)
    support = np.sort(random.random(9))
    for a, b, c in random.random((30, 3, 9)):
        assert wasserstein(support, a, c) <= wasserstein(support, a, b) + wasserstein(support, b, c) + 1e-12


def test_a_profile_that_cannot_be_written_leaves_the_old_one(found: list[Traits], tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    whole = profile("some", found, "textbook")
    whole.save(path)
    with pytest.raises(UnicodeEncodeError):
        profile("\ud800", found).save(path)
    assert Profile.load(path) == whole
    assert [*tmp_path.iterdir()] == [path]


def test_a_profile_comes_back_from_its_file(found: list[Traits], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("profile") / "some.json"
    whole = profile("some", found, "textbook")
    whole.save(path)
    assert Profile.load(path) == whole
    assert set(whole.counts) == set(QUANTITIES)
    assert sum(whole.counts["density"].values()) == whole.n == len(found)


def test_more_of_the_same_narrows_the_interval_of_a_distance(found: list[Traits]) -> None:
    other = profile("half", found[:10])
    few, many = ({e.name: e for e in distances(found * n, other, None, QUICK)} for n in (1, 25))
    for name in ("Wasserstein: density", "Jensen–Shannon: elements"):
        assert few[name].value == pytest.approx(many[name].value)
        assert many[name].high - many[name].low < 0.5 * (few[name].high - few[name].low)


def test_traits_do_not_depend_on_the_cell(crystals: list[Structure]) -> None:
    for structure in crystals[:8]:
        one, other = traits(structure), traits(strange_cell(structure))
        assert one == replace(other, density=one.density, volume_per_atom=one.volume_per_atom)
        assert one.density == pytest.approx(other.density)
    assert all(BINS[quantity] >= step for quantity, step in STEPS.items())


# ---------------------------------------------------------------- coverage


def test_features_do_not_depend_on_the_cell(crystals: list[Structure]) -> None:
    for structure in crystals:
        one, other = features(structure), features(strange_cell(structure))
        np.testing.assert_allclose(one.structure, other.structure, atol=1e-6)
        np.testing.assert_allclose(one.composition, other.composition, atol=1e-6)
        swollen = features(structure.copy().scale_lattice(1.3 * structure.volume))
        np.testing.assert_allclose(one.structure, swollen.structure, atol=1e-6)  # in units of the crystal's own length


def test_features_move_a_little_with_the_atoms_and_a_lot_with_the_structure_type() -> None:
    halite, caesium, zinc_blende = (
        Structure.from_spacegroup(group, Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], where])
        for group, where in (("Fm-3m", [0.5, 0.5, 0.5]), ("Pm-3m", [0.5, 0.5, 0.5]), ("F-43m", [0.25, 0.25, 0.25]))
    )
    jolted = halite.copy()
    jolted.perturb(0.03)
    kinds = [features(s).structure for s in (halite, jolted, caesium, zinc_blende)]
    apart = np.linalg.norm(kinds[0] - np.array(kinds), axis=1)
    assert apart[1] < Cutoffs().structure < min(apart[2:])


def test_a_set_covers_itself_and_not_its_opposite(crystals: list[Structure]) -> None:
    all_of_them = [features(structure) for structure in crystals]
    for estimate in coverage(all_of_them, all_of_them, None, Cutoffs(1e-9, 1e-9), QUICK):
        assert estimate.value == 1.0
    recall, precision = coverage(all_of_them[:5], all_of_them, 10, Cutoffs(1e-9, 1e-9), QUICK)
    assert (recall.value, precision.value) == (5 / 20, 5 / 10)
    recall, precision = coverage([], all_of_them, 10, None, QUICK)
    assert (recall.value, precision.value) == (0.0, 0.0)


def test_coverage_grows_with_the_cutoffs(crystals: list[Structure]) -> None:
    some, others = ([features(structure) for structure in side] for side in (crystals[:10], crystals[10:]))
    grown = [coverage(some, others, None, Cutoffs(c, 4 * c), QUICK) for c in (0.1, 0.5, 1.0, 2.0, 10.0)]
    for k in range(2):
        values = [estimates[k].value for estimates in grown]
        assert values == sorted(values)
    assert grown[-1][0].value == 1.0
    both = coverage(some, others, None, Cutoffs(0.7, 2.0), QUICK)
    swapped = coverage(others, some, None, Cutoffs(0.7, 2.0), QUICK)
    assert [e.value for e in both] == [e.value for e in reversed(swapped)]  # recall one way is precision the other


# ---------------------------------------------------------------- uniqueness


def test_one_of_each_kind_is_first_in_any_order(crystals: list[Structure]) -> None:
    several = [*crystals[:6], *(strange_cell(structure) for structure in crystals[:4]), None]
    flags = first_of_kind(several)
    assert sum(flags) == 6
    assert not flags[-1]
    order = np.random.default_rng(0).permutation(len(several))
    assert sum(first_of_kind([several[i] for i in order])) == 6


def test_only_those_that_take_part_are_counted(crystals: list[Structure]) -> None:
    twice = [*crystals[:3], *crystals[:3]]
    assert first_of_kind(twice, [False, True, True, True, True, False]) == [False, True, True, True, False, False]


# ---------------------------------------------------------------- matching


def test_a_structure_matches_itself_in_another_cell(crystals: list[Structure]) -> None:
    others = [strange_cell(structure) for structure in crystals[:8]]
    rate, error = match_rate(others, crystals[:8], None, QUICK)
    assert rate.value == 1.0
    assert error.value == pytest.approx(0.0, abs=1e-5)
    everyone, corrected = match_everyone(others[::-1], crystals[:8], QUICK)  # the order is nobody's business
    assert everyone.value == 1.0
    assert corrected.value == pytest.approx(0.0, abs=1e-5)


def test_what_is_missing_or_invalid_matches_nothing_and_stays_in_the_denominator(crystals: list[Structure]) -> None:
    truth = crystals[:4]
    predicted: Sequence[Structure | None] = [truth[0], None, truth[2], truth[0]]
    rate, error = match_rate(predicted, truth, None, QUICK)
    assert (rate.numerator, rate.denominator) == (2, 4)
    assert (error.numerator, error.denominator) == (2, 4)
    assert match_rate(predicted, truth, [True, True, False, True], QUICK)[0].value == 0.25
    everyone, corrected = match_everyone(predicted, truth, QUICK)
    assert everyone.value == 0.5
    assert corrected.value == pytest.approx(STOL / 2, abs=1e-5)


def test_metre_finds_polymorphs_that_were_predicted_in_the_wrong_order() -> None:
    rutile = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    anatase = Structure.from_spacegroup(
        "I4_1/amd", Lattice.tetragonal(3.785, 9.514), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.2081]]
    )
    assert math.isnan(rms_distance(rutile, anatase))
    assert match_rate([anatase, rutile], [rutile, anatase], None, QUICK)[0].value == 0.0
    assert match_everyone([anatase, rutile], [rutile, anatase], QUICK)[0].value == 1.0
    assert match_everyone([anatase, anatase], [rutile, anatase], QUICK)[0].value == 0.5


def test_the_distance_to_the_relaxed_structure_is_how_far_the_atoms_went() -> None:
    before = Structure(Lattice.orthorhombic(5.0, 6.0, 7.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.4]])
    after = before.copy()
    after.translate_sites([1], [0, 0, 0.2], frac_coords=False)
    # Two atoms 0.2 Å apart from where they were, seen from their middle: 0.1 Å each.
    apart, normalised = rmsd_to_relaxed(before, after)
    assert apart == pytest.approx(0.1, abs=1e-3)
    assert normalised == pytest.approx(0.1 / (before.volume / 2) ** (1 / 3), abs=1e-3)
    swollen = before.copy().scale_lattice(1.1 * before.volume)
    assert rmsd_to_relaxed(before, swollen)[0] == pytest.approx(0.0, abs=1e-6)
