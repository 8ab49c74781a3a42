"""Many relaxations side by side, each result as soon as it is there."""

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import lru_cache

from ase.calculators.calculator import Calculator
from joblib import Parallel, delayed, parallel_config
from pymatgen.core.structure import Structure

from matgen.calculator import chgnet_calculator
from matgen.candidate import Relaxation
from matgen.validation.relax import RelaxConfig, failed, relax


@dataclass(frozen=True)
class Relaxed:
    """Outcome of one of many relaxations: its place in the input, the final structure and the report."""

    index: int
    structure: Structure
    report: Relaxation


@lru_cache(maxsize=1)
def _calculator(make: Callable[[], Calculator]) -> Calculator:
    """One calculator per process: loading costs seconds, and a calculator keeps state."""
    return make()


def _relax_one(index: int, structure: Structure, make: Callable[[], Calculator], config: RelaxConfig) -> Relaxed:
    return Relaxed(index, *relax(structure, _calculator(make), config))


def relax_many(
    structures: Iterable[Structure],
    make_calculator: Callable[[], Calculator] = chgnet_calculator,
    config: RelaxConfig | None = None,
    n_jobs: int = 1,
) -> Iterator[Relaxed]:
    """Relax structures in a pool of processes and yield each result as soon as it is there.

    Structures are taken from the iterable as workers get free. Leaving the loop early, or an interrupt, stops the
    workers. Workers are fresh interpreters with one thread each; they do not import the main script.

    Args:
        structures: starts.
        make_calculator: function that builds an ASE calculator; each process calls it once. A function of a module
            is built once per process, a lambda once per structure.
        config: thresholds; the defaults if left out.
        n_jobs: processes; 1 stays in this one.

    Yields:
        Results in the order in which they finish. Every structure yields one, also if its worker died.
    """
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch=n_jobs)
    queue = enumerate(structures)
    at_work: dict[int, Structure] = {}

    def tasks() -> Iterator[tuple]:
        for index, structure in queue:
            at_work[index] = structure
            yield delayed(_relax_one)(index, structure, make_calculator, config or RelaxConfig())

    died = failed("its worker process, or one beside it, died; perhaps for want of memory", "unknown")
    while True:
        try:
            for result in _closing(parallel(tasks())):
                del at_work[result.index]
                yield result
        except BrokenExecutor:
            yield from (Relaxed(index, structure, died) for index, structure in at_work.items())
            at_work.clear()
        else:
            return


def _closing(results: Generator[Relaxed]) -> Iterator[Relaxed]:
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
