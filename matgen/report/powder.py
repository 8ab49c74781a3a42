"""Powder pattern of a crystal for Cu Kα, by pymatgen's XRDCalculator (kinematic, no temperature factors)."""

from functools import cache
from typing import Any

from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core.structure import Structure

WAVELENGTH = "CuKa"
RANGE = (5.0, 90.0)
"""Of 2θ, degrees."""

MOST_PEAKS = 60
"""Peaks that are kept, the strongest."""

WEAKEST = 0.5
"""Least intensity, the strongest peak having 100."""

MOST_ATOMS = 200
"""Atoms of the conventional cell up to which a pattern is calculated: the time grows with the square of the volume."""


def powder(conventional: Structure) -> dict[str, Any] | None:
    """Return positions (degrees), intensities (strongest 100) and indices of the peaks; None for a large cell.

    Args:
        conventional: cell that the indices refer to.
    """
    if len(conventional) > MOST_ATOMS:
        return None
    pattern = _calculator().get_pattern(conventional, two_theta_range=RANGE)
    peaks = sorted(zip(pattern.y.tolist(), pattern.x.tolist(), pattern.hkls, strict=True), key=lambda one: -one[0])
    kept = sorted((x, y, hkls) for y, x, hkls in peaks[:MOST_PEAKS] if y >= WEAKEST)
    return {
        "wavelength": WAVELENGTH,
        "two_theta": [round(x, 3) for x, _, _ in kept],
        "intensity": [round(y, 2) for _, y, _ in kept],
        "hkl": [_indices(hkls) for _, _, hkls in kept],
    }


@cache
def _calculator() -> XRDCalculator:
    return XRDCalculator(WAVELENGTH)


def _indices(families: list[dict[str, Any]]) -> str:
    """Return the indices of a peak in one order, of hexagonal crystals with three axes in place of four."""
    some = [tuple(family["hkl"]) for family in families]
    three = [(hkl[0], hkl[1], hkl[3]) if len(hkl) == 4 else hkl for hkl in some]
    return ", ".join(f"({h} {k} {l})" for h, k, l in sorted(three, reverse=True))  # noqa: E741 (Miller indices)
