"""Distances between distributions of a set of crystals and of a reference: density, size, symmetry, elements."""

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

import moyopy
import numpy as np
from pymatgen.core.structure import Structure
from scipy.sparse import csr_array

from matgen.metrics.estimate import Bootstrap, Estimate
from matgen.runtime.output import replace_file
from matgen.structures.symmetry import SYMPREC

logging.getLogger("moyo").setLevel(logging.ERROR)  # it warns of each non-primitive cell

Value = float | str
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Traits:
    """Quantities of one structure that are compared.

    Attributes:
        density: g/cm³.
        volume_per_atom: Å³.
        n_elements: number of elements.
        space_group: number, by moyopy at 0.1 Å; 1 if the search fails.
        elements: symbols.
    """

    density: float
    volume_per_atom: float
    n_elements: int
    space_group: int
    elements: tuple[str, ...]


STEPS = {"density": 0.01, "volume_per_atom": 0.1, "n_elements": 1.0, "space_group": 1.0}
"""Steps to which set and reference are rounded, so that a reference is a short table."""

UNITS = {"density": "g/cm³", "volume_per_atom": "Å³", "n_elements": "elements", "space_group": "numbers"}

BINS = {"density": 0.5, "volume_per_atom": 1.0, "n_elements": 1.0, "space_group": 1.0}
"""Width of the bins of Jensen–Shannon distances."""

QUANTITIES = (*STEPS, "elements")

SHIPPED = {name: Path(__file__).parent / f"{name}_test.json" for name in ("mp20", "qm9")}
"""Shipped profiles (scripts/build/build_reference_profile.py), by name of the data set."""


def traits(structure: Structure) -> Traits:
    """Return density, volume, symmetry and elements of a structure."""
    symbols = sorted({site.specie.symbol for site in structure})
    return Traits(
        density=float(structure.density),
        volume_per_atom=structure.volume / len(structure),
        n_elements=len(symbols),
        space_group=_space_group(structure),
        elements=tuple(symbols),
    )


def _space_group(structure: Structure) -> int:
    """Return the number by moyopy: ten times as fast as spglib, equal for 99.5 % of Materials Project structures."""
    cell = moyopy.Cell(
        basis=structure.lattice.matrix.tolist(),
        positions=structure.frac_coords.tolist(),
        numbers=list(structure.atomic_numbers),
    )
    try:
        return int(moyopy.MoyoDataset(cell, symprec=SYMPREC).number)
    except ValueError:
        return 1


@dataclass(frozen=True)
class Profile:
    """Counts of the values in a set, which is all that distances need.

    Attributes:
        name: of the set.
        source: of the set.
        n: number of structures.
        counts: by quantity, the number of structures with each rounded value, or with each element. For crystals the
            quantities are `QUANTITIES`, for molecules those of `matgen.metrics.molecule_distributions`.
    """

    name: str
    source: str
    n: int
    counts: Mapping[str, Mapping[Value, int]]

    def save(self, path: Path) -> None:
        """Write JSON."""
        plain = asdict(self) | {"counts": {name: list(c.items()) for name, c in self.counts.items()}}
        replace_file(path, json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        plain = json.loads(path.read_text(encoding="utf-8"))
        counts = {name: {value: int(n) for value, n in pairs} for name, pairs in plain["counts"].items()}
        return cls(plain["name"], plain["source"], plain["n"], counts)


def profile(name: str, found: Sequence[Traits], source: str = "") -> Profile:
    """Count the values of these structures."""
    counts = {quantity: Counter(v for one in found for v in _values(one, quantity)) for quantity in QUANTITIES}
    return Profile(name, source, len(found), {q: dict(sorted(c.items())) for q, c in counts.items()})


def _values(one: Traits, quantity: str) -> tuple[Value, ...]:
    """Return the values of a quantity in a structure, rounded."""
    if quantity == "elements":
        return one.elements
    step = STEPS[quantity]
    return (round(round(float(getattr(one, quantity)) / step) * step, 6),)


def wasserstein(support: np.ndarray, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the earth mover's distance between distributions of numbers, in their unit.

    Args:
        support: ascending values (k,).
        some: weights of one or more distributions (..., k).
        others: weights of the other (k,).

    Returns:
        The integral of the absolute difference of the cumulative distributions (...).
    """
    difference = np.cumsum(_normalised(some) - _normalised(others), axis=-1)
    return np.abs(difference[..., :-1]) @ np.diff(support)


def jensen_shannon(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the Jensen–Shannon distance, the square root of the divergence in bits: 0 if equal, 1 if disjoint.

    Args:
        some: weights of one or more distributions (..., k).
        others: weights of the other (k,).
    """
    p, q = np.broadcast_arrays(_normalised(some), _normalised(others))
    middle = 0.5 * (p + q)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = [np.where(x > 0, x * np.log2(x / middle), 0.0).sum(axis=-1) for x in (p, q)]
    return np.sqrt(np.clip(0.5 * (bits[0] + bits[1]), 0.0, 1.0))


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(axis=-1, keepdims=True)


def distances(
    found: Sequence[Traits], reference: Profile, requested: int | None = None, bootstrap: Bootstrap | None = None
) -> list[Estimate]:
    """Return the Wasserstein distance of each number and the Jensen–Shannon distance of each quantity.

    Intervals resample the structures, not the reference. Elements have no order and hence no Wasserstein distance; that
    of space groups is over their numbers, which increase with the crystal system.

    Args:
        found: traits of the readable structures.
        reference: to compare with.
        requested: number of structures requested, which is reported; as many as found if left out.
        bootstrap: of the intervals.
    """
    against = f"against {reference.n:,} of {reference.name}"
    estimates = []
    for quantity, step in STEPS.items():
        table = _table(found, reference, quantity, step)
        name = f"Wasserstein: {quantity.replace('_', ' ')}"
        how = f"{against}, rounded to {step:g}"
        distance = partial(wasserstein, table.support)
        estimates.append(table.estimate(name, distance, requested, bootstrap, UNITS[quantity], how))
    for quantity in QUANTITIES:
        width = BINS.get(quantity, 1.0)
        table = _table(found, reference, quantity, width)
        name = f"Jensen–Shannon: {quantity.replace('_', ' ')}"
        how = against if width == 1.0 else f"{against}, in bins of {width:g}"
        estimates.append(table.estimate(name, jensen_shannon, requested, bootstrap, "", how))
    return estimates


def _table(found: Sequence[Traits], reference: Profile, quantity: str, width: float) -> "Comparison":
    """Compare one quantity, numbers in steps or bins of `width`."""

    def place(value: Value) -> Value:
        return value if isinstance(value, str) else round(math.floor(value / width + 0.5) * width, 6)

    there = Counter[Value]()
    for value, count in reference.counts[quantity].items():
        there[place(value)] += count
    return Comparison.of([[place(value) for value in _values(one, quantity)] for one in found], there)


@dataclass(frozen=True)
class Comparison:
    """A set and its reference over one support.

    Attributes:
        support: values (k,); indices where they are not numbers.
        rows: counts of the values in structures, one row for all that have the same values (m, k).
        repeats: number of structures of each row (m,).
        reference: counts in the reference (k,).
    """

    support: np.ndarray
    rows: csr_array
    repeats: np.ndarray
    reference: np.ndarray

    @classmethod
    def of(cls, own: Sequence[Sequence[Value]], there: Mapping[Value, int]) -> Self:
        """Build from the values of each structure and the counts of the reference."""
        every = sorted(
            {value for values in own for value in values} | set(there), key=lambda v: (isinstance(v, str), v)
        )
        index = {value: k for k, value in enumerate(every)}
        alike = sorted(Counter(tuple(sorted(index[value] for value in values)) for values in own).items())
        columns = np.array([column for values, _ in alike for column in values], dtype=np.int64)
        starts = np.cumsum([0, *(len(values) for values, _ in alike)])
        rows = csr_array((np.ones(len(columns)), columns, starts), shape=(len(alike), len(every)))
        repeats = np.array([count for _, count in alike], dtype=np.int64)
        numbers = [k if isinstance(value, str) else value for k, value in enumerate(every)]
        reference = np.array([there.get(value, 0) for value in every], dtype=float)
        return cls(np.array(numbers, dtype=float), rows, repeats, reference)

    def estimate(
        self, name: str, distance: Distance, requested: int | None, bootstrap: Bootstrap | None, unit: str, how: str
    ) -> Estimate:
        """Return the distance and its interval; NaN if either side has no value.

        Which of several equal structures is sampled does not matter, so that their number is: a multinomial number of
        each row, with as many trials as there are structures.
        """
        bootstrap, n = bootstrap or Bootstrap(), int(self.repeats.sum())
        requested = n if requested is None else requested
        if not self.rows.nnz or not self.reference.sum():
            return Estimate(name, math.nan, math.nan, math.nan, n, requested, unit, share=False, how=how)
        value = float(distance(self.rows.T @ self.repeats, self.reference))
        random = bootstrap.generator(name)
        replicates = []
        for start in range(0, bootstrap.replicates, CHUNK):
            size = min(CHUNK, bootstrap.replicates - start)
            weights = random.multinomial(n, self.repeats / n, size=size)
            sampled = (self.rows.T @ weights.T).T
            replicates.append(distance(sampled[sampled.any(axis=1)], self.reference))
        low, high = bootstrap.interval(value, np.concatenate(replicates))
        return Estimate(name, value, low, high, n, requested, unit, share=False, how=how)


CHUNK = 100  # resampled sets at a time: 10,000 different structures take 8 MB
