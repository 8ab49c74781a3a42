"""Coverage: share of a reference that is near a set, and share of the set that is near the reference.

The definition is CDVAE's: a crystal counts as covered if the nearest one in structure and the nearest one in
composition are both within a cutoff. The features are **not** CDVAE's, which are order parameters of CrystalNN and
Magpie statistics by matminer: matminer requires pandas below 3, and takes seconds where these take milliseconds.
Values of the two are not comparable.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core.structure import Structure
from scipy.spatial.distance import cdist

from matgen.chemistry.elements import ATOMIC_NUMBERS, descriptors
from matgen.metrics.estimate import Bootstrap, Estimate, share

REACH = 2.2
"""Cutoff of neighbours in (volume per atom)^(1/3); about 45 lie within it."""

WIDTH = 0.1
"""Width of the Gaussians around neighbours, and spacing of the grid, in the same unit."""

GRID = np.arange(0.3, REACH - 0.15, WIDTH)
CHUNK = 1000


@dataclass(frozen=True)
class Features:
    """Features of a structure, invariant to choice and size of the cell, rotation and order of atoms.

    Attributes:
        structure: shells of neighbours of any element, mean and spread over the atoms (2 × len(GRID),).
        composition: descriptors of the elements, mean and mean deviation over the atoms (2 × n_descriptors,).
    """

    structure: np.ndarray
    composition: np.ndarray


@dataclass(frozen=True)
class Cutoffs:
    """Largest feature distances at which two crystals count as near.

    By the defaults, 95 % of the MP-20 validation crystals are near an MP-20 test crystal in structure, and 95 % in
    composition (scripts/benchmarks/evaluate_metrics.py): a perfect sampler of that data reaches about 90 % precision.

    Attributes:
        structure: between structural features.
        composition: between compositions.
    """

    structure: float = 0.69
    composition: float = 1.05


def features(structure: Structure) -> Features:
    """Return structural and compositional features of a structure."""
    return Features(_shells(structure), _composition(structure))


def _shells(structure: Structure) -> np.ndarray:
    """Return mean and spread over the atoms of their radial distributions, in units of (volume per atom)^(1/3).

    g_i(x) = Σ_j exp(−(r_ij − x)²/2w²) / x², which is constant for a uniform density.
    """
    n = len(structure)
    length = (structure.volume / n) ** (1 / 3)
    centre, _, _, distance = structure.get_neighbor_list(REACH * length)
    smeared = np.exp(-0.5 * ((distance[:, None] / length - GRID) / WIDTH) ** 2) / GRID**2
    around = np.zeros((n, len(GRID)))
    np.add.at(around, centre, smeared)
    around *= 1 / (4 * math.pi * math.sqrt(2 * math.pi) * WIDTH)  # a uniform density gives 1
    return np.concatenate([around.mean(axis=0), around.std(axis=0)])


def _composition(structure: Structure) -> np.ndarray:
    """Return mean and mean absolute deviation of element descriptors; zeros for elements beyond plutonium."""
    table = descriptors().numpy()
    amounts = structure.composition.get_el_amt_dict()
    rows = np.array([table[ATOMIC_NUMBERS.get(symbol, 0)] for symbol in amounts])
    weights = np.array(list(amounts.values())) / sum(amounts.values())
    middle = weights @ rows
    return np.concatenate([middle, weights @ np.abs(rows - middle)])


def nearest(some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Euclidean distance of each row to the nearest row of the other set, both ways: (n,) and (m,)."""
    forth, back = np.full(len(some), np.inf), np.full(len(others), np.inf)
    for start in range(0, len(some), CHUNK):
        block = cdist(some[start : start + CHUNK], others)
        forth[start : start + CHUNK] = block.min(axis=1)
        back = np.minimum(back, block.min(axis=0))
    return forth, back


def coverage(
    generated: Sequence[Features],
    reference: Sequence[Features],
    requested: int | None = None,
    cutoffs: Cutoffs | None = None,
    bootstrap: Bootstrap | None = None,
) -> tuple[Estimate, Estimate]:
    """Return recall, the share of the reference near a generated crystal, and precision, the converse.

    Args:
        generated: features of the readable structures.
        reference: features of the reference.
        requested: denominator of the precision; as many as generated if left out.
        cutoffs: largest distances.
        bootstrap: of the intervals, which resample the counted side.

    Returns:
        Recall, over the reference, and precision, over the requested crystals.
    """
    cutoffs = cutoffs or Cutoffs()
    how = (
        f"CDVAE's definition with features of our own, cutoffs {cutoffs.structure:g} and {cutoffs.composition:g}; "
        f"{len(generated):,} against {len(reference):,}"
    )
    precise, recalled = np.zeros(len(generated), dtype=bool), np.zeros(len(reference), dtype=bool)
    if generated and reference:
        near = [
            nearest(*(np.array([getattr(one, kind) for one in side]) for side in (generated, reference)))
            for kind in ("structure", "composition")
        ]
        limits = (cutoffs.structure, cutoffs.composition)
        precise = np.all([forth <= limit for (forth, _), limit in zip(near, limits, strict=True)], axis=0)
        recalled = np.all([back <= limit for (_, back), limit in zip(near, limits, strict=True)], axis=0)
    return (
        share("coverage recall", recalled.tolist(), None, bootstrap, how),
        share("coverage precision", precise.tolist(), requested, bootstrap, how),
    )
