"""What every way of making crystals has in common: rounds of proposals, each with the CPU time that it took."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from pymatgen.core import Structure

GAP_TOLERANCE = 0.25
"""How far from the wished gap still counts as on target, eV."""


EMPTY_ROUNDS = 20
"""Rounds without a proposal after which a source is taken to be dry."""


@dataclass(frozen=True)
class Setting:
    """What a race is about.

    Attributes:
        table: prepared table of known crystals.
        seed: of all random numbers.
        gap: wished band gap, eV; None where nothing is wished.
        n: candidates that one design of ours is asked for.
    """

    table: Path
    seed: int = 0
    gap: float | None = None
    n: int = 10


@dataclass(frozen=True)
class Proposal:
    """A crystal before any relaxation.

    Attributes:
        structure: it.
        cpu_seconds: of this process, since the proposal before it was asked for another one.
        round, index: its place; the same seed gives the same crystal there.
        gap: by the guide, eV, where the method asked it anyway.
    """

    structure: Structure
    cpu_seconds: float
    round: int
    index: int
    gap: float | None = None


Made = Structure | tuple[Structure, float]
"""A crystal, or a crystal with the gap in eV that the guide sees in it."""


class Source(Protocol):
    """A way of making crystals, prepared for one setting."""

    def round(self, number: int) -> Iterator[Made]:
        """The crystals of a round, best first if there is such an order; the same ones for the same seed and number."""


class Proposals:
    """The proposals of a source without end, each with the CPU time that it took, the reader's own left out."""

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
    """Random numbers that depend on seed, method and round alone."""
    seed = int.from_bytes(f"{setting.seed} {name} {number}".encode().ljust(32, b"\0"), "big") % (2**61 - 1)
    return torch.Generator().manual_seed(seed)
