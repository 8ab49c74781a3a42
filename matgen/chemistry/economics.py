"""Prices, concentration of supply and abundance of compounds, from those of their elements in `economics.csv`.

A compound has no value where one of its elements has none: it is NaN, never zero.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS
from matgen.runtime.devices import per_device

Counts = Mapping[int, int]
"""Atoms of each element, by atomic number; of a cell, a formula unit or a molecule."""


@dataclass(frozen=True)
class Economics:
    """Facts of one element; NaN where unknown. Their sources are in `economics.csv`.

    Attributes:
        mass: standard atomic weight, g/mol.
        price: USD/kg.
        price_year: of the price; 0 without one.
        price_source: of the price; empty without one.
        hhi_production: Herfindahl-Hirschman index of production by country, 0 to 10000.
        hhi_reserve: likewise of reserves.
        abundance: in the continental crust, mg/kg.
    """

    mass: float
    price: float
    price_year: int
    price_source: str
    hhi_production: float
    hhi_reserve: float
    abundance: float


def rows_of(name: str) -> list[dict[str, str]]:
    """Return the rows of a table beside this module, without its comments."""
    text = (files("matgen.chemistry") / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def economics() -> dict[int, Economics]:
    """Return the facts of the elements by atomic number."""
    return {
        ATOMIC_NUMBERS[row["symbol"]]: Economics(
            mass=float(row["mass"]),
            price=_number(row["price"]),
            price_year=int(row["price_year"] or 0),
            price_source=row["price_source"],
            hhi_production=_number(row["hhi_production"]),
            hhi_reserve=_number(row["hhi_reserve"]),
            abundance=_number(row["abundance"]),
        )
        for row in rows_of("economics.csv")
    }


@per_device
def atomic_masses() -> Tensor:
    """Return the masses of the elements (95,), g/mol; entry 0 is zero."""
    return torch.from_numpy(np.array([0.0, *(economics()[z].mass for z in range(1, len(SYMBOLS)))]))


def mass(counts: Counts) -> float:
    """Return the mass of all atoms, g/mol."""
    return sum(n * economics()[z].mass for z, n in counts.items())


def price(counts: Counts) -> float:
    """Return the price of the elements in a kilogram of a compound, USD/kg; the price of making it is not included."""
    return _by_mass(counts, {z: economics()[z].price for z in counts})


def hhi_production(counts: Counts) -> float:
    """Return the Herfindahl-Hirschman index of production, weighted by mass (Gaultois et al., 2013)."""
    return _by_mass(counts, {z: economics()[z].hhi_production for z in counts})


def hhi_reserve(counts: Counts) -> float:
    """Return the Herfindahl-Hirschman index of reserves, weighted by mass (Gaultois et al., 2013)."""
    return _by_mass(counts, {z: economics()[z].hhi_reserve for z in counts})


def crustal_abundance(counts: Counts) -> float:
    """Return the abundance of the rarest element in the continental crust, mg/kg: the one that limits the supply."""
    values = [economics()[z].abundance for z in counts]
    return math.nan if any(map(math.isnan, values)) else min(values)


def without_value(fact: str) -> frozenset[int]:
    """Return the elements for which a fact of `Economics` is unknown."""
    return frozenset(z for z, found in economics().items() if math.isnan(getattr(found, fact)))


def _by_mass(counts: Counts, values: Mapping[int, float]) -> float:
    """Return the mean weighted by mass fractions."""
    return sum(n * economics()[z].mass * values[z] for z, n in counts.items()) / mass(counts)


def _number(text: str) -> float:
    return float(text) if text else math.nan
