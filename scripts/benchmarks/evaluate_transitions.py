"""Pressures at which CHGNet's enthalpies of two known phases cross, beside measured ones.

    python scripts/benchmarks/evaluate_transitions.py

Both phases are relaxed at every pressure by the program's own relaxation, in their space group; the pressure at which
the enthalpies are equal is found by bisection to 0.1 GPa, from 0 to the highest pressure of the program.
"""

import argparse
import math
from functools import cache

from pymatgen.core import Lattice, Structure

from matgen.relaxation.config import MAX_PRESSURE, RelaxConfig
from matgen.relaxation.pool import relaxed_together


def rocksalt(a: float, one: str, other: str) -> Structure:
    """B1."""
    return Structure.from_spacegroup(225, Lattice.cubic(a), [one, other], [[0, 0, 0], [0.5, 0.5, 0.5]])


def caesium_chloride(a: float, one: str, other: str) -> Structure:
    """B2."""
    return Structure.from_spacegroup(221, Lattice.cubic(a), [one, other], [[0, 0, 0], [0.5, 0.5, 0.5]])


def wurtzite(a: float, c: float, one: str, other: str) -> Structure:
    """B4."""
    sites = [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]]
    return Structure.from_spacegroup(186, Lattice.hexagonal(a, c), [one, other], sites)


def transitions() -> dict[str, tuple[Structure, Structure, str]]:
    """Return phases of low and of high pressure, and the measured pressure, GPa, by transition."""
    diamond = Structure.from_spacegroup(227, Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    beta_tin = Structure.from_spacegroup(141, Lattice.tetragonal(4.69, 2.58), ["Si"], [[0, 0, 0]])
    return {
        "KCl B1-B2": (rocksalt(6.29, "K", "Cl"), caesium_chloride(3.75, "K", "Cl"), "1.9-2.0"),
        "ZnO B4-B1": (wurtzite(3.25, 5.21, "Zn", "O"), rocksalt(4.28, "Zn", "O"), "9-10"),
        "Si diamond-beta-Sn": (diamond, beta_tin, "11-13"),
        "AlN B4-B1": (wurtzite(3.11, 4.98, "Al", "N"), rocksalt(4.05, "Al", "N"), "14-23"),
        "NaCl B1-B2": (rocksalt(5.64, "Na", "Cl"), caesium_chloride(3.4, "Na", "Cl"), "27-30"),
        "GaN B4-B1": (wurtzite(3.19, 5.19, "Ga", "N"), rocksalt(4.22, "Ga", "N"), "37-52"),
        "CaO B1-B2": (rocksalt(4.81, "Ca", "O"), caesium_chloride(2.9, "Ca", "O"), "60-65"),
    }


def crossing(low: Structure, high: Structure) -> tuple[float, float]:
    """Return the pressure at which the enthalpies cross, GPa, and the ratio of volumes there; NaN without one."""

    @cache
    def at(pressure: float) -> tuple[float, float]:
        tasks = [(0, low, math.inf), (1, high, math.inf)]
        found = sorted(relaxed_together(tasks, config=RelaxConfig(pressure=pressure)), key=lambda one: one.index)
        if not all(one.report.converged for one in found):
            return math.nan, math.nan
        per_atom = [one.structure.volume / len(one.structure) for one in found]
        return found[1].report.enthalpy - found[0].report.enthalpy, per_atom[1] / per_atom[0]

    below, above = 0.0, 5.0
    while above < MAX_PRESSURE and at(above)[0] > 0:
        below, above = above, min(2 * above, MAX_PRESSURE)
    if not at(below)[0] > 0 > at(above)[0]:
        return math.nan, math.nan
    while above - below > 0.1:
        middle = (below + above) / 2
        below, above = (middle, above) if at(middle)[0] > 0 else (below, middle)
    return (below + above) / 2, at(above)[1]


def main() -> None:
    """Measure and print."""
    phases = transitions()
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "names",
        nargs="*",
        choices=list(phases),
        default=[],
        metavar="NAME",
        help="such as 'KCl B1-B2'; all if left out",
    )
    print(f"{'transition':<20} {'CHGNet':>8} {'measured':>10}   volume, high over low")
    for name in options.parse_args().names or phases:
        low, high, measured = phases[name]
        pressure, ratio = crossing(low, high)
        print(f"{name:<20} {pressure:8.1f} {measured:>10}   {ratio:.3f}", flush=True)


if __name__ == "__main__":
    main()
