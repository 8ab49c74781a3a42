"""Magnetic moments of the elements in crystals by CHGNet, and how much they differ among crystals.

`scripts/build/build_moments.py` writes `moments.csv` from training crystals.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from matgen.chemistry.economics import rows_of
from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS
from matgen.runtime.devices import per_device


@dataclass(frozen=True)
class Moment:
    """Magnetic moments of the atoms of one element in crystals.

    Attributes:
        mean: μB.
        deviation: standard deviation among crystals, of the mean over the atoms of each, μB.
        highest: of any atom, μB.
        crystals: how many were looked at.
    """

    mean: float
    deviation: float
    highest: float
    crystals: int


@cache
def moments() -> dict[int, Moment]:
    """Return the moments by atomic number."""
    return {
        ATOMIC_NUMBERS[row["symbol"]]: Moment(
            float(row["mean"]), float(row["deviation"]), float(row["highest"]), int(row["crystals"])
        )
        for row in rows_of("moments.csv")
    }


@per_device
def mean_moments() -> Tensor:
    """Return the mean moment of an atom (95,), μB; zero for elements in no training crystal."""
    return _column("mean")


@per_device
def moment_deviations() -> Tensor:
    """Return the standard deviation of that among crystals (95,), μB."""
    return _column("deviation")


def _column(name: str) -> Tensor:
    found = torch.zeros(len(SYMBOLS), dtype=torch.float64)
    for z, moment in moments().items():
        found[z] = getattr(moment, name)
    return found
