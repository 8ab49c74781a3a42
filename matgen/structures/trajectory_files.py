"""Trajectories as extxyz, which ASE, OVITO and pymatgen's users read: few digits, for they are many frames."""

import re
from collections.abc import Mapping, Sequence

from pymatgen.core.structure import Structure

from matgen.structures.candidate import Material

TRAJECTORY = "trajectories/extxyz"
"""Folder and suffix of the trajectory of a candidate, among its further files (`matgen.structures.attached_files`)."""

_UNSAFE = re.compile(r'["\\\n\r]')


def frame_text(material: Material, about: Mapping[str, str | float]) -> str:
    """Return one frame, positions in Å with four decimals.

    Args:
        material: crystal or molecule.
        about: what the comment line says of it, by name.
    """
    lattice = ""
    if isinstance(material, Structure):
        vectors = " ".join(f"{x:.5f}" for row in material.lattice.matrix.tolist() for x in row)
        lattice = f'Lattice="{vectors}" pbc="T T T" '
    told = " ".join(f"{name}={_quoted(value)}" for name, value in about.items())
    rows = [f"{site.specie.symbol} {site.x:.4f} {site.y:.4f} {site.z:.4f}" for site in material]
    return "\n".join([str(len(material)), f"{lattice}Properties=species:S:1:pos:R:3 {told}", *rows]) + "\n"


def thinned(n: int, most: int) -> Sequence[int]:
    """Return at most so many of n indices, evenly spaced, the first and the last among them."""
    if n <= most:
        return range(n)
    return [round(i * (n - 1) / (most - 1)) for i in range(most)]


def _quoted(value: str | float) -> str:
    if isinstance(value, str):
        return f'"{_UNSAFE.sub(" ", value)}"'
    return f"{value:.5g}"
