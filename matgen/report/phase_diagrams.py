"""Phase diagrams of the chemical systems of a report, each made once."""

from functools import lru_cache
from typing import TYPE_CHECKING

from pymatgen.core.composition import Composition

from matgen.hull.hull import ReferenceHull, by_elements, diagram, parts

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PhaseDiagram

REMEMBERED = 500
"""Diagrams."""

System = tuple[str, ...]


def system_of(composition: Composition) -> System:
    """Return the symbols of the elements of a composition in alphabetical order."""
    return tuple(sorted(element.symbol for element in composition.element_composition.elements))


def diagram_of(hull: ReferenceHull, composition: Composition) -> "PhaseDiagram":
    """Return the phase diagram of the elements of a composition, with the phases on the hull alone.

    Raises:
        UnknownChemistryError: an element has no reference phase.
    """
    return _diagram(hull, system_of(composition))


@lru_cache(maxsize=REMEMBERED)
def _diagram(hull: ReferenceHull, system: System) -> "PhaseDiagram":
    return diagram(hull.phases(system))


def rows_of(hull: ReferenceHull, system: System) -> list[int]:
    """Return the rows of the reference with these elements alone, also those above the hull."""
    rows = _rows(hull)
    return [row for part in parts(system) for row in rows.get(part, ())]


@lru_cache(maxsize=8)
def _rows(hull: ReferenceHull) -> dict[System, list[int]]:
    return by_elements(hull.reference.formulas)
