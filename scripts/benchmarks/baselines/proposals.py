"""The interface of all methods: rounds of proposals, each with its CPU time."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from pymatgen.core import Structure

GAP_TOLERANCE = 0.25
"""Largest distance from the target gap that counts as on target, eV."""

EMPTY_ROUNDS = 20
"""Rounds without a proposal after which a source is exhausted."""


@dataclass(frozen=True)
class Setting:
    """Setting of a comparison.

    Attributes:
        table: prepared table of known crystals.
        seed: seed of all random numbers.
        gap: target band gap, eV; None without a target.
        n: candidates per round of design.
    """

    table: Path
    seed: int = 0
    gap: float | None = None
    n: int = 10


@dataclass(frozen=True)
class Proposal:
    """A crystal before any relaxation.

    Attributes:
        structure: the crystal.
        cpu_seconds: CPU time of this process to make it.
        round, index: its position; the same seed gives the same crystal there.
        gap: gap by the predictor, eV, where the method calculates it anyway.
    """

    structure: Structure
    cpu_seconds: float
    round: int
    index: int
    gap: float | None = None


Made = Structure | tuple[Structure, float]
"""A crystal, or a crystal with its gap by the predictor, eV."""


class Source(Protocol):
    """A method that makes crystals, prepared for one setting."""

    def round(self, number: int) -> Iterator[Made]:
        """Yield the crystals of a round, best first if they are ranked; the same for the same seed and number."""


class Proposals:
    """Endless proposals of a source, each with the CPU time to make it, without the time of the caller."""

    def __init__(self, source: Source, number: int = 0) -> None:
        self._source, self._number, self._index = source, number, 0
        self._structures = source.round(number)

    def __iter__(self) -> Iterator[Proposal]:
        return self

    def __next__(self) -> Proposal:
        started = time.process_time()
        for _ in range(EMPTY_ROUNDS):
            made = next(self._structures, None)
            if made is not None:
                self._index += 1
                structure, gap = made if isinstance(made, tuple) else (made, None)
                return Proposal(structure, time.process_time() - started, self._number, self._index - 1, gap)
            self._number, self._index = self._number + 1, 0
            self._structures = self._source.round(self._number)
        raise RuntimeError(f"expected a proposal within {EMPTY_ROUNDS} rounds of {self._source}, got none")


def generator_of(setting: Setting, name: str, number: int) -> torch.Generator:
    """Return random numbers that depend only on seed, method and round."""
    seed = int.from_bytes(f"{setting.seed} {name} {number}".encode().ljust(32, b"\0"), "big") % (2**61 - 1)
    return torch.Generator().manual_seed(seed)
