"""The order of relaxed crystals of one formula."""

import math
from dataclasses import replace

from pymatgen.core.structure import Structure

from matgen.search.by_energy import ENERGY_SCALE, energy_order, order_of
from matgen.structures.candidate import Candidate, Relaxation

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", [[5.6, 0, 0], [0, 5.6, 0], [0, 0, 5.6]], ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


def candidate(energy: float | None, **energies: float) -> Candidate:
    report = None
    if energy is not None:
        report = Relaxation(True, "converged", 3, energy, energy, 0.0, 0.0, 1.0, "a potential")
    return Candidate("one", ROCK_SALT, ROCK_SALT, None, energies=energies, relaxation=report)


def test_the_lower_energy_comes_first_among_equally_known_chemistry() -> None:
    assert order_of(candidate(-3.0, chemical_distance=1.0)) < order_of(candidate(-2.9, chemical_distance=1.0))


def test_known_chemistry_comes_first_among_equal_energies() -> None:
    assert order_of(candidate(-3.0, chemical_distance=0.2)) < order_of(candidate(-3.0, chemical_distance=2.0))


def test_one_scale_of_energy_weighs_one_unit_of_distance() -> None:
    assert math.isclose(energy_order(-3.0, {"chemical_distance": 1.0}), energy_order(-3.0 + ENERGY_SCALE, {}))


def test_crystals_without_an_energy_come_last() -> None:
    assert order_of(candidate(None)) == math.inf
    failed = candidate(-1.0)
    assert failed.relaxation is not None
    assert order_of(replace(failed, relaxation=replace(failed.relaxation, energy=math.nan))) == math.inf
