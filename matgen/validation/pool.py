"""Many relaxations side by side, each result as soon as it is there."""

import math
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice, repeat

from ase.calculators.calculator import Calculator
from joblib import Parallel, delayed, parallel_config
from pymatgen.core.structure import Structure

from matgen.calculator import chgnet_calculator
from matgen.candidate import Relaxation
from matgen.validation.chgnet_surface import CHGNetSurface
from matgen.validation.relax import RelaxConfig, failed, relax
from matgen.validation.relax_free import relax_batch


@dataclass(frozen=True)
class Relaxed:
    """Outcome of one of many relaxations: its place in the input, the final structure and the report."""

    index: int
    structure: Structure
    report: Relaxation


TOGETHER = 16
"""Structures that one process relaxes side by side."""


@dataclass(frozen=True)
class _Start:
    """A structure to relax: its place in the input, and the energy in eV/atom above which it is hopeless."""

    index: int
    structure: Structure
    ceiling: float


@lru_cache(maxsize=1)
def _calculator(make: Callable[[], Calculator]) -> Calculator:
    """One calculator per process: loading costs seconds, and a calculator keeps state."""
    return make()


@lru_cache(maxsize=1)
def _surface() -> CHGNetSurface:
    return CHGNetSurface()


def _relax_some(starts: list[_Start], make: Callable[[], Calculator], config: RelaxConfig) -> list[Relaxed]:
    """Together in their free numbers where the potential is CHGNet, the rest by ASE, one by one."""
    found: list[Relaxed] = []
    if make is chgnet_calculator:
        rows = [(start.index, start.structure, start.ceiling) for start in starts]
        found = [Relaxed(*row) for row in relax_batch(rows, _surface(), config)]
    done = {result.index for result in found}
    alone = [start for start in starts if start.index not in done]
    return found + [Relaxed(start.index, *relax(start.structure, _calculator(make), config)) for start in alone]


def relax_many(
    structures: Iterable[Structure],
    make_calculator: Callable[[], Calculator] = chgnet_calculator,
    config: RelaxConfig | None = None,
    n_jobs: int = 1,
    ceilings: Iterable[float] | None = None,
) -> Iterator[Relaxed]:
    """Relax structures in a pool of processes and yield each result as soon as it is there.

    Structures are taken from the iterable as workers get free. Leaving the loop early, or an interrupt, stops the
    workers. Workers are fresh interpreters with one thread each; they do not import the main script.

    CHGNet relaxes them in the free numbers of their symmetry, `TOGETHER` at a time (`relax_free`); ASE those whose
    symmetry finds no description, and everything where the calculator is another.

    Args:
        structures: starts.
        make_calculator: function that builds an ASE calculator; each process calls it once. A function of a module
            is built once per process, a lambda once per structure.
        config: thresholds; the defaults if left out.
        n_jobs: processes; 1 stays in this one.
        ceilings: for each structure the energy in eV/atom above which it need not be pursued; only the walk in free
            numbers looks at it.

    Yields:
        Results in the order in which they finish. Every structure yields one, also if its worker died.
    """
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch=n_jobs)
    limits = repeat(math.inf) if ceilings is None else ceilings
    pairs = enumerate(zip(structures, limits, strict=False))
    chunks = _chunks((_Start(i, *pair) for i, pair in pairs), TOGETHER if make_calculator is chgnet_calculator else 1)
    at_work: dict[int, tuple[_Start, bool]] = {}

    def tasks(chunks: Iterable[list[_Start]]) -> Iterator[tuple]:
        for chunk in chunks:
            at_work.update((start.index, (start, len(chunk) == 1)) for start in chunk)
            yield delayed(_relax_some)(chunk, make_calculator, config or RelaxConfig())

    died = failed("its worker process, or one beside it, died; perhaps for want of memory", "unknown")
    while True:
        try:
            for results in _closing(parallel(tasks(chunks))):
                for result in results:
                    del at_work[result.index]
                    yield result
        except BrokenExecutor:
            yield from (Relaxed(start.index, start.structure, died) for start, alone in at_work.values() if alone)
            # Of a chunk one structure may have been at fault: each of them gets a process to itself.
            chunks = chain([[start] for start, alone in at_work.values() if not alone], chunks)
            at_work.clear()
        else:
            return


def _chunks(starts: Iterator[_Start], size: int) -> Iterator[list[_Start]]:
    while chunk := list(islice(starts, size)):
        yield chunk


def _closing(results: Generator[list[Relaxed]]) -> Iterator[list[Relaxed]]:
    """The results; workers are stopped when the reader leaves early, which is no reason for joblib's warning."""
    try:
        # `yield from` would close `results` by itself, outside of the block below that silences the warning.
        for result in results:  # noqa: UP028
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*tasks have been successfully executed")
            warnings.filterwarnings("ignore", message=".*tasks which were still being processed")
            results.close()
