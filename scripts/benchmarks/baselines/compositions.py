"""Random charge-balanced compositions, with the stoichiometries and element frequencies of known crystals."""

from collections.abc import Iterator
from functools import cache
from math import gcd
from pathlib import Path

import numpy as np
import smact
import torch
from pymatgen.core import Composition

from matgen.chemistry.charges import is_valid
from matgen.chemistry.elements import SYMBOLS, known_elements
from matgen.templates.crystal_rules import MAX_ATOMS
from shared.crystals import crystals

N_ELEMENTS = (2, 4)


@cache
def _statistics(path: Path) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Return weights of the elements (95,), and numbers of atoms per formula unit, of the training crystals."""
    table = crystals(path)
    table = table.select(table.split == 0)
    counts: list[dict[int, int]] = [template.composition for template in table.templates.unbatch()]
    weights = np.zeros(len(SYMBOLS))
    for composition in counts:
        weights[list(composition)] += 1
    weights[[z for z in range(len(SYMBOLS)) if z not in known_elements()]] = 0.0
    units = [_unit(tuple(c.values())) for c in counts if N_ELEMENTS[0] <= len(c) <= N_ELEMENTS[1]]
    return weights / weights.sum(), units


def _unit(counts: tuple[int, ...]) -> tuple[int, ...]:
    divisor = gcd(*counts)
    return tuple(sorted(n // divisor for n in counts))


def balanced_compositions(path: Path, rng: np.random.Generator, *, alloys: bool) -> Iterator[dict[int, int]]:
    """Yield endless primitive cells of at most 20 atoms, valid by SMACT, as atoms of each element.

    The numbers of atoms in a formula unit are those of a random training crystal of 2 to 4 elements, the elements are
    as frequent as among training crystals, and the cell contains any number of units that fits.

    Args:
        path: prepared table of crystals.
        rng: random numbers.
        alloys: whether all elements may be metals, which SMACT always calls valid.
    """
    weights, units = _statistics(path)
    while True:
        unit = rng.permutation(units[rng.integers(len(units))])
        elements = rng.choice(len(weights), size=len(unit), replace=False, p=weights)
        composition = Composition({SYMBOLS[z]: int(n) for z, n in zip(elements, unit, strict=True)})
        if not alloys and {SYMBOLS[z] for z in elements} <= set(smact.metals):
            continue
        if unit.sum() > MAX_ATOMS or not is_valid(composition):
            continue
        cells = int(rng.integers(1, MAX_ATOMS // int(unit.sum()) + 1))
        yield {int(z): int(n) * cells for z, n in zip(elements, unit, strict=True)}


def training_rows(path: Path, *, highest_hull: float, gap: tuple[float, float] | None = None) -> torch.Tensor:
    """Return rows of training crystals below an energy above the hull, eV/atom, with a labelled gap in a range, eV."""
    table = crystals(path)
    near = (table.split == 0) & (table.label("energy_above_hull") <= highest_hull)
    if gap is not None:
        near &= (table.label("band_gap") >= gap[0]) & (table.label("band_gap") <= gap[1])
    return near.nonzero().ravel()
