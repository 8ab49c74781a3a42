"""A still picture of a crystal or a molecule as SVG: atoms in the colours of Jmol, bonds or the edges of the cell."""

from collections.abc import Iterator
from html import escape

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from pymatgen.core.structure import Molecule, Structure

MOST_ATOMS = 80
"""Atoms beyond which a small picture shows nothing."""

SIZE, MARGIN = 150, 8
"""Width and height, and the empty frame in them, pixels."""

TILT = np.radians([12.0, -22.0])
"""Turns about the horizontal and the vertical axis, so that no axis points at the reader."""

ON_FACE = 1e-3
"""Fractional distance within which an atom is on a face of the cell, and is shown on the opposite face too."""

BOND = 1.2
"""Distance over the sum of covalent radii up to which atoms of a molecule are joined."""

SHOWN_RADIUS = 0.45
"""Radius of a ball over the covalent one."""


def material_svg(material: Structure | Molecule) -> str:
    """Return a picture of at most some kilobytes; empty for more than `MOST_ATOMS` atoms, or for mixed sites."""
    if not 0 < len(material) <= MOST_ATOMS or not getattr(material, "is_ordered", True):
        return ""
    symbols, positions = _shown(material)
    numbers = np.array([atomic_numbers[symbol] for symbol in symbols])
    radii = SHOWN_RADIUS * covalent_radii[numbers]
    lines = _edges(material) if isinstance(material, Structure) else _bonds(positions, numbers)
    turned, ends = positions @ _turn(), lines @ _turn()
    low, high = (turned - radii[:, None]).min(axis=0), (turned + radii[:, None]).max(axis=0)
    if len(ends):
        low, high = np.minimum(low, ends.min(axis=(0, 1))), np.maximum(high, ends.max(axis=(0, 1)))
    scale = (SIZE - 2 * MARGIN) / max(float((high - low)[:2].max()), 1e-6)

    def place(points: np.ndarray) -> np.ndarray:
        centred = (points[..., :2] - (low + high)[:2] / 2) * scale * [1, -1]
        return centred + SIZE / 2

    parts = [*_lines(place(ends)), *_balls(place(turned), turned[:, 2], radii * scale, numbers)]
    title = escape(material.composition.formula)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE}" height="{SIZE}" viewBox="0 0 {SIZE} {SIZE}" '
        f'role="img"><title>{title}</title>{"".join(parts)}</svg>'
    )


def _shown(material: Structure | Molecule) -> tuple[list[str], np.ndarray]:
    """Return symbols and positions (n, 3), Å, with the images of atoms on the faces of the cell."""
    symbols = [site.specie.symbol for site in material]
    if isinstance(material, Molecule):
        return symbols, np.array(material.cart_coords)
    found, places = [], []
    for symbol, fractional in zip(symbols, material.frac_coords % 1.0, strict=True):
        inside = np.where(fractional > 1 - ON_FACE, 0.0, fractional)
        steps = [(0, 1) if x < ON_FACE else (0,) for x in inside]
        for step in np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3):
            found.append(symbol)
            places.append(inside + step)
    return found, np.array(places) @ material.lattice.matrix


def _turn() -> np.ndarray:
    (cx, cy), (sx, sy) = np.cos(TILT), np.sin(TILT)
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    return about_y @ about_x


def _edges(crystal: Structure) -> np.ndarray:
    """Return the twelve edges of the cell (12, 2, 3), Å."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    pairs = [(a, b) for i, a in enumerate(corners) for b in corners[i + 1 :] if np.abs(a - b).sum() == 1]
    return np.array(pairs, dtype=float) @ crystal.lattice.matrix


def _bonds(positions: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the bonds of a molecule (n, 2, 3), Å."""
    first, second = np.triu_indices(len(numbers), 1)
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    joined = distances < BOND * (covalent_radii[numbers[first]] + covalent_radii[numbers[second]])
    return np.stack([positions[first[joined]], positions[second[joined]]], axis=1).reshape(-1, 2, 3)


def _lines(ends: np.ndarray) -> Iterator[str]:
    for (x1, y1), (x2, y2) in ends:
        yield (
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
            'stroke-opacity="0.5"/>'
        )


def _balls(places: np.ndarray, depths: np.ndarray, radii: np.ndarray, numbers: np.ndarray) -> Iterator[str]:
    """Yield the atoms, those behind first."""
    for index in np.argsort(depths, kind="stable"):
        red, green, blue = (round(255 * float(part)) for part in jmol_colors[numbers[index]])
        x, y = places[index]
        yield (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radii[index]:.1f}" fill="#{red:02x}{green:02x}{blue:02x}" '
            'stroke="#444" stroke-width="0.6"/>'
        )
