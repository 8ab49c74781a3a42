"""Hulls of the binary and ternary systems of candidates: known phases and candidates by composition and energy."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pymatgen.core.composition import Composition

from matgen.hull.hull import ON_HULL, ReferenceHull, UnknownChemistryError, entry
from matgen.report.phase_diagrams import diagram_of, rows_of, system_of
from matgen.structures.candidate import Candidate

SIZES = (2, 3)
"""Numbers of elements that a plot can show."""

MOST_SYSTEMS = 30
"""Systems with a plot, those of the first candidates."""

MOST_PHASES = 150
"""Phases of a plot, those on the hull first."""


def hulls(
    candidates: Iterable[Candidate], hull: ReferenceHull, as_given: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Return the hulls of the systems of two or three elements that candidates belong to, in the order of these.

    Args:
        candidates: of which those with an energy by the potential of the hull have a point.
        hull: of known phases.
        as_given: energies of structures that were not relaxed, eV/atom, by name.
    """
    given = as_given or {}
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for candidate in candidates:
        system = system_of(candidate.crystal.composition)
        energy = _energy(candidate, hull, given)
        point = _point(candidate, energy, system, hull) if len(system) in SIZES and math.isfinite(energy) else None
        if point is None:
            continue
        if system not in found:
            if len(found) == MOST_SYSTEMS:
                continue
            found[system] = {"system": list(system), "phases": phases(system, hull), "candidates": []}
        found[system]["candidates"].append(point)
    return list(found.values())


def phases(system: tuple[str, ...], hull: ReferenceHull) -> list[dict[str, Any]]:
    """Return the known phases of a system, on the hull first, then by their energy above it.

    `x` is the share of each element, `e` the formation energy, eV/atom.
    """
    reference = hull.reference
    diagram = diagram_of(hull, Composition(dict.fromkeys(system, 1)))
    rows = sorted(rows_of(hull, system), key=lambda row: float(reference.above_hull[row]))[:MOST_PHASES]
    return [
        {
            "formula": Composition(reference.formulas[row]).reduced_formula,
            "name": reference.names[row],
            "x": shares(Composition(reference.formulas[row]), system),
            "e": round(float(diagram.get_form_energy_per_atom(entry(reference, row))), 4) + 0.0,
            "e_above_hull": round(float(reference.above_hull[row]), 4),
            "on_hull": bool(reference.above_hull[row] <= ON_HULL),
        }
        for row in rows
    ]


def shares(composition: Composition, system: tuple[str, ...]) -> list[float]:
    """Return the share of each element of a system in a composition."""
    return [round(float(composition.get_atomic_fraction(symbol)), 5) for symbol in system]


def _energy(candidate: Candidate, hull: ReferenceHull, given: Mapping[str, float]) -> float:
    """Return the raw energy of a candidate, eV/atom; NaN without one that can be compared with the hull."""
    report = candidate.relaxation
    if report is None:
        return given.get(candidate.name, math.nan)
    return report.energy if report.potential == hull.potential and not report.pressure else math.nan


def _point(candidate: Candidate, energy: float, system: tuple[str, ...], hull: ReferenceHull) -> dict[str, Any] | None:
    """Return the place of a candidate with a raw energy, eV/atom, in its system; None where the hull does not reach."""
    composition = candidate.crystal.composition
    try:
        found = hull.above_hull_of(candidate.crystal, energy, hull.potential)
    except UnknownChemistryError:
        return None
    place = {"id": candidate.name, "formula": composition.reduced_formula, "x": shares(composition, system)}
    return place | {"e": round(found.formation_energy, 4), "e_above_hull": round(found.above_hull, 4)}
