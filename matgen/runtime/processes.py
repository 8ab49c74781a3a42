"""Chunks of work to a pool of processes, and results back as they come.

A worker that dies loses nothing. What was at work is done again by itself, in halves if that kills its worker too, so
that the item at fault is found, and no other is given up.
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
"""How often a single item may be at work in a worker that dies before it is given up."""

DIED = f"{TRIES} workers died over it, perhaps for want of memory"
"""What to say of an item that is given up."""


@dataclass(frozen=True)
class Chunk(Generic[T]):
    """Items that are worked on together, and how many workers have died over just these."""

    items: tuple[T, ...]
    deaths: int = 0

    def after_death(self) -> "tuple[Chunk[T], ...]":
        """What to try once a worker has died over it; nothing if it is to be given up."""
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
    """The results of each chunk, in the order in which they are done.

    Chunks are taken from the iterable as workers get free. Leaving the loop early, or an interrupt, stops the workers.
    They are fresh interpreters with one thread each, which do not import the main script.

    Args:
        work: what a worker does with the items of a chunk.
        chunks: work to do.
        given_up: the result of an item over which workers die.
        jobs: processes; 1 stays in this one.
        ahead: chunks that are taken for each of them, one at work included.
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
            if len(suspects) == 1:  # it was alone
                yield from _after_death(work, suspects[0], given_up)
            else:
                for chunk in suspects:
                    yield from _by_itself(work, chunk, given_up)
        else:
            return


def in_chunks(items: Iterable[T], size: int) -> Iterator[Chunk[T]]:
    """Items in chunks of at most this size, taken as they are wanted."""
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield Chunk(part)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_itself(
    work: Callable[[tuple[T, ...]], list[R]], chunk: Chunk[T], given_up: Callable[[T], R]
) -> Iterator[list[R]]:
    """The results of a chunk that is alone at work, so that a death is of its making."""
    try:
        # Of two workers one stays idle; a pool of one would be this very process.
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
