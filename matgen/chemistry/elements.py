"""Symbols, descriptors and atomic volumes of the elements."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from math import gcd

import numpy as np
import torch
from torch import Tensor

from matgen.errors import UserError
from matgen.runtime.devices import per_device


def _table() -> dict[str, np.ndarray]:
    with (files("matgen.chemistry") / "elements.npz").open("rb") as file:
        return dict(np.load(file))


SYMBOLS: tuple[str, ...] = tuple(_table()["symbols"].tolist())
"""Chemical symbols by atomic number; entry 0 is empty."""

HYDROGEN = 1
"""Atomic number."""

ATOMIC_NUMBERS: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS) if symbol}


class UnknownElementError(UserError, ValueError):
    """A symbol that is not an element, or an element that no training crystal holds."""


@per_device
def atomic_volumes() -> Tensor:
    """Return the volume of an atom in a crystal (95,), Å³, fitted to training crystals; NaN for other elements."""
    return torch.from_numpy(_table()["volumes"].astype(np.float64))


@per_device
def descriptors() -> Tensor:
    """Return standardised periodic-table descriptors (95, n_descriptors); row 0 is zero."""
    return torch.from_numpy(_table()["descriptors"])


@cache
def known_elements() -> tuple[int, ...]:
    """Return the atomic numbers that occur in the training crystals."""
    return tuple(torch.isfinite(atomic_volumes()).nonzero().ravel().tolist())


def atomic_number(symbol: str) -> int:
    """Return the atomic number of a symbol.

    Raises:
        UnknownElementError: it is not an element, or no training crystal holds it.
    """
    z = ATOMIC_NUMBERS.get(symbol.strip().capitalize())
    if z is None:
        message = f"expected a chemical symbol from H to Pu, got {symbol!r}; check the spelling"
        raise UnknownElementError(message)
    if z not in known_elements():
        message = f"no training crystal holds {SYMBOLS[z]}; choose another element"
        raise UnknownElementError(message)
    return z


def reduced(composition: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    """Return (atomic number, atoms per formula unit), ascending, of a composition by atomic number."""
    divisor = gcd(*composition.values())
    return tuple((z, n // divisor) for z, n in sorted(composition.items()))
