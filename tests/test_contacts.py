"""Limits of contacts by pairs of elements, and dilute crystals that hold together nevertheless."""

import itertools
import math

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matgen.checks.contacts import closest_contact, nearest_limit
from matgen.checks.crystals import AS_METALS, LOOSEST, VOLUME_WINDOW, density, min_distance, volume_range
from matgen.checks.packing import packing
from matgen.checks.pair_distances import OF_RADII, OF_SHORTEST, least_distances, pair_distances, radii_sums
from matgen.structures.candidate import Candidate, Relaxation


def candidate(structure: Structure, pressure: float = 0.0) -> Candidate:
    report = Relaxation(True, "", 1, 0.0, 0.0, 0.0, 0.0, 0.0, "none", pressure=pressure) if pressure else None
    return Candidate("one", structure, structure, None, relaxation=report)


def diatomic(symbols: str, edge: float, bond: float) -> Structure:
    """Molecules on an fcc lattice, along its diagonals (Pa-3)."""
    one, other = (symbols.split() * 2)[:2]
    half = bond / 2 / edge / math.sqrt(3)
    axes = {(0, 0, 0): (1, 1, 1), (0.5, 0.5, 0): (-1, 1, 1), (0, 0.5, 0.5): (1, -1, 1), (0.5, 0, 0.5): (1, 1, -1)}
    sites = [
        (s, np.array(c) + sign * half * np.array(a)) for c, a in axes.items() for s, sign in ((one, 1), (other, -1))
    ]
    return Structure(Lattice.cubic(edge), [s for s, _ in sites], [x for _, x in sites])


def carbon_dioxide() -> Structure:
    oxygen = 1.16 / 5.6 / math.sqrt(3)
    return Structure.from_spacegroup("Pa-3", Lattice.cubic(5.6), ["C", "O"], [[0, 0, 0], [oxygen] * 3])


def actinyl(symbol: str, bond: float) -> Structure:
    """Layers of AnO2F2 (R-3m): linear AnO2 and six fluorine atoms around it."""
    lattice = Lattice.hexagonal(4.18, 15.79)
    return Structure.from_spacegroup(
        "R-3m", lattice, [symbol, "O", "F"], [[0, 0, 0], [0, 0, bond / 15.79], [0, 0, 0.293]]
    )


def sodalite() -> Structure:
    """The silica framework of sodalite."""
    return Structure.from_spacegroup("Im-3m", Lattice.cubic(8.83), ["Si", "O"], [[0.25, 0.5, 0], [0.1484, 0.1484, 0.5]])


def layer(c: float) -> Structure:
    """A layer of MoS2 in a cell of this height, Å."""
    z = 1.56 / c
    coords = [[0, 0, 0.5], [1 / 3, 2 / 3, 0.5 + z], [1 / 3, 2 / 3, 0.5 - z]]
    return Structure(Lattice.hexagonal(3.18, c), ["Mo", "S", "S"], coords)


def salt(edge: float = 5.64) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def scaled(structure: Structure, volume: float) -> Structure:
    return Structure(structure.lattice.matrix * volume ** (1 / 3), structure.species, structure.frac_coords)


SOUND = {
    "uranyl": actinyl("U", 1.76),
    "neptunyl": actinyl("Np", 1.75),
    "plutonyl": actinyl("Pu", 1.74),
    "nitrogen": diatomic("N", 5.65, 1.10),
    "oxygen": diatomic("O", 5.4, 1.21),
    "hydrogen": diatomic("H", 5.3, 0.74),
    "chlorine": diatomic("Cl", 6.9, 1.99),
    "carbon monoxide": diatomic("C O", 5.63, 1.13),
    "carbon dioxide": carbon_dioxide(),
    "neon": Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.46), ["Ne"], [[0, 0, 0]]),
    "xenon": Structure.from_spacegroup("Fm-3m", Lattice.cubic(6.2), ["Xe"], [[0, 0, 0]]),
    "silica sodalite": sodalite(),
    "caesium": Structure.from_spacegroup("Im-3m", Lattice.cubic(6.14), ["Cs"], [[0, 0, 0]]),
    "potassium": Structure.from_spacegroup("Im-3m", Lattice.cubic(5.33), ["K"], [[0, 0, 0]]),
    "rock salt": salt(),
    "layers that touch": layer(7.0),
}


@pytest.mark.parametrize("sound", SOUND.values(), ids=SOUND)
def test_short_bonds_and_open_crystals_are_no_fault(sound: Structure) -> None:
    verdicts = [min_distance(candidate(sound)), density(candidate(sound))]
    assert all(verdict.passed for verdict in verdicts), verdicts


@pytest.mark.parametrize("name", ["nitrogen", "carbon dioxide", "silica sodalite", "caesium"])
def test_these_are_above_the_usual_window_and_the_reason_says_why_they_pass(name: str) -> None:
    verdict = density(candidate(SOUND[name]))
    ratio = float(verdict.reason.split()[0])
    assert ratio > VOLUME_WINDOW[1]
    words = {"caesium": "of these metals as elements", "silica sodalite": "a framework"}
    assert words.get(name, "molecules") in verdict.reason


OVERLAPS = {
    "uranium and oxygen": actinyl("U", 1.4),
    "nitrogen": diatomic("N", 5.65, 0.85),
    "oxygen": diatomic("O", 5.4, 0.9),
    "hydrogen": diatomic("H", 5.3, 0.5),
    "sodium and chlorine, at 0.78 of the radii": salt(2 * 0.78 * 2.68),
    "silicon and oxygen": scaled(sodalite(), 0.5),
}


@pytest.mark.parametrize("bad", OVERLAPS.values(), ids=OVERLAPS)
def test_overlaps_are_found_and_named(bad: Structure) -> None:
    verdict = min_distance(candidate(bad))
    assert not verdict.passed
    assert verdict.reason.startswith("overlap: closest contact")
    assert f"limit {nearest_limit(bad).limit:.2f} Å" in verdict.reason


DILUTE = {
    "a layer with vacuum": (layer(25.0), "gaps between"),
    "a swollen salt": (scaled(salt(), 2.2), "without a neighbour at the distance of a bond"),
    "a swollen metal": (scaled(SOUND["caesium"], 2.0), "of these metals as elements"),
    "molecules far apart": (diatomic("N", 8.0, 1.1), "gaps between"),
    "atoms of nitrogen": (diatomic("N", 6.5, 2.5), "N without a neighbour"),
    "a noble gas": (scaled(SOUND["xenon"], 3.5), "gaps between"),
    "nearly nothing": (scaled(salt(), 30.0), f"allowed up to {LOOSEST:g}"),
}


@pytest.mark.parametrize(("bad", "why"), DILUTE.values(), ids=DILUTE)
def test_what_has_lost_its_neighbours_is_too_dilute(bad: Structure, why: str) -> None:
    verdict = density(candidate(bad))
    assert not verdict.passed
    assert verdict.reason.startswith("too dilute")
    assert why in verdict.reason


@pytest.mark.parametrize("name", ["uranyl", "carbon dioxide", "layers that touch"])
def test_contacts_and_packing_do_not_depend_on_the_cell(name: str) -> None:
    one = SOUND[name]
    sites = list(one * (2, 1, 1))
    np.random.default_rng(0).shuffle(sites)  # type: ignore[arg-type]
    other = Structure.from_sites(sites)
    other.translate_sites(list(range(len(other))), [0.21, 0.43, 0.77])
    assert nearest_limit(other).distance == pytest.approx(nearest_limit(one).distance, abs=1e-8)
    assert packing(other) == packing(one)


def test_the_contact_nearest_to_its_limit_is_that_of_brute_force() -> None:
    """Over 27 images of a skewed cell, all pairs."""
    generator = np.random.default_rng(1)
    structure = Structure(
        Lattice.from_parameters(4, 5.5, 6, 75, 95, 110), ["U", "F", "N", "O"], generator.random((4, 3))
    )
    limits, z = least_distances(), structure.atomic_numbers
    best = min(
        structure.get_distance(i, j, jimage=image) / limits[z[i], z[j]]
        for i in range(4)
        for j in range(4)
        for image in itertools.product((-1, 0, 1), repeat=3)
        if i != j or any(image)
    )
    found = nearest_limit(structure)
    assert found.distance / found.limit == pytest.approx(best, abs=1e-8)
    assert found.limit in limits


def test_limits_are_symmetric_and_follow_their_rule() -> None:
    known, limits, radii = pair_distances(), least_distances(), OF_RADII * radii_sums()
    assert (limits == limits.T).all()
    assert (limits > 0).all()
    assert (limits <= np.maximum(OF_SHORTEST * known.shortest, radii)).all()
    none = known.crystals == 0
    assert (limits[none] == radii[none]).all()
    assert (known.usual >= known.shortest).all()
    assert (least_distances(pressed=True) <= limits).all()
    assert (least_distances(pressed=True) <= radii).all()


def test_a_pressure_allows_what_no_known_crystal_shows() -> None:
    squeezed = salt(2 * 0.8 * 2.68)
    assert not min_distance(candidate(squeezed)).passed
    assert min_distance(candidate(squeezed), pressed=True).passed
    assert min_distance(candidate(squeezed, pressure=50.0)).passed
    assert closest_contact(squeezed).ratio == pytest.approx(0.8, abs=1e-3)


def test_the_range_of_volumes_is_that_of_the_check() -> None:
    """Just inside passes; outside fails, however atoms are placed."""
    for structure in (salt(), SOUND["caesium"]):
        counts = {z: structure.atomic_numbers.count(z) for z in set(structure.atomic_numbers)}
        low, high = volume_range(counts)
        assert low < structure.volume < high
        for volume in (0.99 * low, 1.01 * high):
            assert not density(candidate(scaled(structure, volume / structure.volume))).passed
    assert AS_METALS < VOLUME_WINDOW[1] < LOOSEST
