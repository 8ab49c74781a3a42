"""Values of the properties that need no model, from composition, volume and magnetic moments.

`COMPUTED_PROPERTIES` of `matgen.targets.properties` holds their entries. A value that is unknown, since a fact of an
element is, is NaN: it meets no target.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from matgen.chemistry import economics
from matgen.chemistry.economics import Counts
from matgen.targets.properties import COMPUTED_OF, COMPUTED_PROPERTIES
from matgen.targets.target import Target

GRAMS_PER_CM3 = 1.66053906660
"""Density of 1 g/mol in 1 Å³, g/cm³ (CODATA 2018)."""

LEAST = 1e-9
"""Limits of a window below it, such as zero, count as it, so that logarithms are finite."""

OF_COMPOSITION: dict[str, Callable[[Counts], float]] = {
    "n_elements": lambda counts: float(len(counts)),
    "price": economics.price,
    "hhi_production": economics.hhi_production,
    "hhi_reserve": economics.hhi_reserve,
    "crustal_abundance": economics.crustal_abundance,
    "molecular_weight": economics.mass,
}
"""Functions of the atoms of each element, exact for a template already."""

OF_STRUCTURE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "density": lambda mass, _, volume: GRAMS_PER_CM3 * mass / volume,
    "volume_per_atom": lambda _, n_atoms, volume: volume / n_atoms,
}
"""Functions of the mass of the atoms in a cell, g/mol, of their number, and of its volume, Å³: numbers or tensors."""

OF_MOMENTS: dict[str, Callable[[float, Counts, float], float]] = {
    "magnetic_moment": lambda total, counts, _: total / sum(counts.values()),
    "magnetic_density": lambda total, _, volume: total / volume,
}
"""Functions of the sum of the magnitudes of the moments in a cell, μB, and of the above."""


def computed_values(kind: str, counts: Counts, volume: float = math.nan, moment: float = math.nan) -> dict[str, float]:
    """Return all computed properties of a kind by name; NaN where one is unknown.

    Args:
        kind: crystal or molecule.
        counts: atoms of each element, by atomic number.
        volume: of the cell that holds them, Å³.
        moment: sum of the magnitudes of their magnetic moments, μB.
    """
    values = {}
    for name in COMPUTED_OF[kind]:
        if name in OF_COMPOSITION:
            values[name] = OF_COMPOSITION[name](counts)
        elif name in OF_STRUCTURE:
            values[name] = OF_STRUCTURE[name](economics.mass(counts), sum(counts.values()), volume)
        else:
            values[name] = OF_MOMENTS[name](moment, counts, volume)
    return values


def by_models(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Return the targets for properties that models predict."""
    return tuple(target for target in targets if target.name not in COMPUTED_PROPERTIES)


def computed(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Return the other targets."""
    return tuple(target for target in targets if target.name in COMPUTED_PROPERTIES)


def distance(name: str, value: float, low: float, high: float) -> float:
    """Return how far a value lies outside a window: 0 inside, and growing without limit outside.

    In elements for their number, else the ratio of the value to the nearer limit, as the magnitude of its logarithm.

    Args:
        name: of the property, none of whose values is negative.
        value: in its unit.
        low: lower limit of the window; minus infinity if open.
        high: upper limit; infinity if open.
    """
    if low <= value <= high:
        return 0.0
    limit = low if value < low else high
    if COMPUTED_PROPERTIES[name].whole:
        return abs(value - limit)
    return abs(math.log(max(value, LEAST) / max(limit, LEAST)))
