"""How far the make-up of a set of crystals is from that of a reference: densities, sizes, symmetries, elements."""

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
from matgen.structures.symmetry import SYMPREC

logging.getLogger("moyo").setLevel(logging.ERROR)  # it warns of every cell that is not primitive

Value = float | str
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Traits:
    """What is compared of one structure.

    Attributes:
        density: g/cm³.
        volume_per_atom: Å³.
        n_elements: how many.
        space_group: number, by moyopy at 0.1 Å; 1 where the search finds none.
        elements: symbols.
    """

    density: float
    volume_per_atom: float
    n_elements: int
    space_group: int
    elements: tuple[str, ...]


STEPS = {"density": 0.01, "volume_per_atom": 0.1, "n_elements": 1.0, "space_group": 1.0}
"""Numbers are rounded to these, of the set and of the reference alike, so that a reference is a short table."""

UNITS = {"density": "g/cm³", "volume_per_atom": "Å³", "n_elements": "elements", "space_group": "numbers"}

BINS = {"density": 0.5, "volume_per_atom": 1.0, "n_elements": 1.0, "space_group": 1.0}
"""Width of the bins in which Jensen–Shannon distances are taken."""

QUANTITIES = (*STEPS, "elements")

SHIPPED = {name: Path(__file__).parent / f"{name}_test.json" for name in ("mp20", "qm9")}
"""Profiles that come with the package (scripts/build/build_reference_profile.py), by name of the data set."""


def traits(structure: Structure) -> Traits:
    """Density, volume, symmetry and elements of a structure."""
    symbols = sorted({site.specie.symbol for site in structure})
    return Traits(
        density=float(structure.density),
        volume_per_atom=structure.volume / len(structure),
        n_elements=len(symbols),
        space_group=_space_group(structure),
        elements=tuple(symbols),
    )


def _space_group(structure: Structure) -> int:
    """By moyopy, ten times as quick as spglib and of the same mind in 99.5 % of Materials Project structures."""
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
    """How often each value occurs in a set: all that is left of it, and all that distances need.

    Attributes:
        name: of the set.
        source: where it came from.
        n: structures.
        counts: by quantity, how many structures have each rounded value; of elements, how many crystals hold it. For
            crystals the quantities are `QUANTITIES`, for molecules those of `matgen.metrics.molecule_distributions`.
    """

    name: str
    source: str
    n: int
    counts: Mapping[str, Mapping[Value, int]]

    def save(self, path: Path) -> None:
        """Write JSON."""
        plain = asdict(self) | {"counts": {name: list(c.items()) for name, c in self.counts.items()}}
        path.write_text(json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        plain = json.loads(path.read_text(encoding="utf-8"))
        counts = {name: {value: int(n) for value, n in pairs} for name, pairs in plain["counts"].items()}
        return cls(plain["name"], plain["source"], plain["n"], counts)


def profile(name: str, found: Sequence[Traits], source: str = "") -> Profile:
    """How often each value occurs among these structures."""
    counts = {quantity: Counter(v for one in found for v in _values(one, quantity)) for quantity in QUANTITIES}
    return Profile(name, source, len(found), {q: dict(sorted(c.items())) for q, c in counts.items()})


def _values(one: Traits, quantity: str) -> tuple[Value, ...]:
    """What a structure adds to the table of a quantity."""
    if quantity == "elements":
        return one.elements
    step = STEPS[quantity]
    return (round(round(float(getattr(one, quantity)) / step) * step, 6),)


def wasserstein(support: np.ndarray, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Earth mover's distance between distributions of numbers, in their unit.

    Args:
        support: ascending values (k,).
        some: weights of one or more distributions (..., k).
        others: weights of the other (k,).

    Returns:
        The integral of the difference between the cumulated distributions (...).
    """
    difference = np.cumsum(_normalised(some) - _normalised(others), axis=-1)
    return np.abs(difference[..., :-1]) @ np.diff(support)


def jensen_shannon(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Jensen–Shannon distance, the square root of the divergence in bits: 0 if equal, 1 if nothing is shared.

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
    """Wasserstein distance of every number, Jensen–Shannon distance of every quantity.

    Intervals resample the structures and leave the reference as it is. Elements have no order and hence no Wasserstein
    distance; that of space groups takes their numbers as they are, which rise with the crystal system.

    Args:
        found: of the readable structures.
        reference: what to compare with.
        requested: how many were asked for, to be told beside; as many as found if left out.
        bootstrap: of the intervals.
    """
    bootstrap = bootstrap or Bootstrap()
    total = len(found) if requested is None else requested
    against = f"against {reference.n:,} of {reference.name}"
    estimates = []
    for quantity, step in STEPS.items():
        table = _table(found, reference, quantity, step)
        name = f"Wasserstein: {quantity.replace('_', ' ')}"
        how = f"{against}, rounded to {step:g}"
        distance = partial(wasserstein, table.support)
        estimates.append(table.estimate(name, distance, total, bootstrap, UNITS[quantity], how))
    for quantity in QUANTITIES:
        width = BINS.get(quantity, 1.0)
        table = _table(found, reference, quantity, width)
        name = f"Jensen–Shannon: {quantity.replace('_', ' ')}"
        how = against if width == 1.0 else f"{against}, in bins of {width:g}"
        estimates.append(table.estimate(name, jensen_shannon, total, bootstrap, "", how))
    return estimates


def _table(found: Sequence[Traits], reference: Profile, quantity: str, width: float) -> "Comparison":
    """One quantity of both sides, numbers in steps or bins of `width`."""

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
        support: values (k,); positions where they are no numbers.
        rows: which values each structure has (n, k).
        reference: counts (k,).
    """

    support: np.ndarray
    rows: csr_array
    reference: np.ndarray

    @classmethod
    def of(cls, own: Sequence[Sequence[Value]], there: Mapping[Value, int]) -> Self:
        """Gather the values of each structure, and how often each occurs in the reference."""
        every = sorted(
            {value for values in own for value in values} | set(there), key=lambda v: (isinstance(v, str), v)
        )
        index = {value: k for k, value in enumerate(every)}
        columns = np.array([index[value] for values in own for value in values], dtype=np.int64)
        initial_geometries = np.cumsum([0, *(len(values) for values in own)])
        rows = csr_array((np.ones(len(columns)), columns, initial_geometries), shape=(len(own), len(every)))
        numbers = [k if isinstance(value, str) else value for k, value in enumerate(every)]
        return cls(np.array(numbers, dtype=float), rows, np.array([there.get(v, 0) for v in every], dtype=float))

    def estimate(
        self, name: str, distance: Distance, requested: int, bootstrap: Bootstrap, unit: str, how: str
    ) -> Estimate:
        """The distance, and its interval; NaN where a side has no value."""
        n = self.rows.shape[0]
        if not self.rows.nnz or not self.reference.sum():
            return Estimate(name, math.nan, math.nan, math.nan, n, requested, unit, share=False, how=how)
        value = float(distance(np.asarray(self.rows.sum(axis=0)), self.reference))
        random = bootstrap.generator(name)
        replicates = []
        for start in range(0, bootstrap.replicates, CHUNK):
            size = min(CHUNK, bootstrap.replicates - start)
            weights = random.multinomial(n, np.full(n, 1 / n), size=size)
            sampled = (self.rows.T @ weights.T).T
            replicates.append(distance(sampled[sampled.any(axis=1)], self.reference))
        low, high = bootstrap.interval(value, np.concatenate(replicates))
        return Estimate(name, value, low, high, n, requested, unit, share=False, how=how)


CHUNK = 100  # resampled sets at a time: 10,000 structures take 8 MB
