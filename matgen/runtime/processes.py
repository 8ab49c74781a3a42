"""Work in chunks on a pool of processes.

If a worker dies, no other result is lost: the chunks in progress are repeated one by one, in halves if a worker dies
again, until the item at fault is found and given up.
"""

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from joblib import Parallel, delayed, parallel_config

T = TypeVar("T")
R = TypeVar("R")

TRIES = 3
"""Number of workers that may die over a single item before it is given up."""

DIED = f"{TRIES} workers died over it, perhaps for want of memory"
"""Reason for an item that is given up."""


@dataclass(frozen=True)
class Chunk(Generic[T]):
    """Items that are processed together, and the number of workers that died over exactly these."""

    items: tuple[T, ...]
    deaths: int = 0

    def after_death(self) -> "tuple[Chunk[T], ...]":
        """Return the chunks to try after a worker has died; none to give up."""
        if len(self.items) > 1:
            half = len(self.items) // 2
            return Chunk(self.items[:half]), Chunk(self.items[half:])
        return (Chunk(self.items, self.deaths + 1),) if self.deaths + 1 < TRIES else ()


def in_pool(
    work: Callable[[tuple[T, ...]], list[R]],
    chunks: Iterable[Chunk[T]],
    given_up: Callable[[T], R],
    jobs: int,
    ahead: int = 1,
) -> Iterator[list[R]]:
    """Yield the results of each chunk, in the order of completion.

    Chunks are taken from the iterable as workers become free. Leaving the loop early, or an interrupt, stops the
    workers. Workers are fresh interpreters with one thread each, which do not import the main script.

    Args:
        work: function of the items of a chunk.
        chunks: chunks of items.
        given_up: returns the result of an item over which workers die.
        jobs: number of processes; 1 uses this one.
        ahead: chunks taken for each process, including the one in progress.
    """
    queue = enumerate(chunks)
    at_work: dict[int, Chunk[T]] = {}

    def tasks() -> Iterator[tuple]:
        for number, chunk in queue:
            at_work[number] = chunk
            yield delayed(_numbered)(work, number, chunk.items)

    while True:
        try:
            for number, results in _closing(_pool(jobs, ahead)(tasks())):
                del at_work[number]
                yield results
        except BrokenExecutor:
            suspects = list(at_work.values())
            at_work.clear()
            if len(suspects) == 1:  # no other chunk was in progress
                yield from _after_death(work, suspects[0], given_up)
            else:
                for chunk in suspects:
                    yield from _by_itself(work, chunk, given_up)
        else:
            return


def in_chunks(items: Iterable[T], size: int) -> Iterator[Chunk[T]]:
    """Yield items in chunks of at most `size`, lazily."""
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield Chunk(part)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_itself(
    work: Callable[[tuple[T, ...]], list[R]], chunk: Chunk[T], given_up: Callable[[T], R]
) -> Iterator[list[R]]:
    """Yield the results of a chunk that runs alone, so that the death of a worker is due to it."""
    try:
        # One of two workers stays idle; a pool of one would be this process.
        done = [results for _, results in _pool(2, 1)([delayed(_numbered)(work, 0, chunk.items)])]
    except BrokenExecutor:
        yield from _after_death(work, chunk, given_up)
    else:
        yield from done


def _after_death(
    work: Callable[[tuple[T, ...]], list[R]], chunk: Chunk[T], given_up: Callable[[T], R]
) -> Iterator[list[R]]:
    rest = chunk.after_death()
    for part in rest:
        yield from _by_itself(work, part, given_up)
    if not rest:
        yield [given_up(chunk.items[0])]


def _pool(jobs: int, ahead: int) -> Parallel:
    with parallel_config(backend="loky", inner_max_num_threads=1):
        return Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=ahead * jobs, batch_size=1)


def _numbered(work: Callable[[tuple[Any, ...]], list[Any]], number: int, items: tuple[Any, ...]) -> tuple[int, list]:
    return number, work(items)


def _closing(results: Generator) -> Iterator:
    """Yield results; stop the workers without joblib's warning if the consumer stops early."""
    try:
        # `yield from` would close `results` outside of the block below that silences the warning.
        for result in results:  # noqa: UP028
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*tasks have been successfully executed")
            warnings.filterwarnings("ignore", message=".*tasks which were still being processed")
            results.close()
