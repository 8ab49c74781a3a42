"""Work in chunks on a pool of processes.

If a worker dies or finds no end, no other result is lost: its chunk is repeated, in halves, until the item at fault is
found and given up.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from matgen.runtime.workers import LocalProcesses, WorkerDiedError, WorkerHungError

T = TypeVar("T")
R = TypeVar("R")

TRIES = 3
"""Number of workers that may die over a single item before it is given up."""

DIED = f"{TRIES} workers died over it, perhaps for want of memory"
HUNG = "a worker found no end of it and was stopped"
"""Reasons for an item that is given up."""


@dataclass(frozen=True)
class Chunk(Generic[T]):
    """Items that are processed together, and the number of workers that died over exactly these."""

    items: tuple[T, ...]
    deaths: int = 0

    def after_death(self, *, hung: bool = False) -> "tuple[Chunk[T], ...]":
        """Return the chunks to try after a worker has died, or was stopped since it hung; none to give up."""
        if len(self.items) > 1:
            half = len(self.items) // 2
            return Chunk(self.items[:half]), Chunk(self.items[half:])
        return (Chunk(self.items, self.deaths + 1),) if self.deaths + 1 < TRIES and not hung else ()


def in_pool(
    work: Callable[[tuple[T, ...]], list[R]],
    chunks: Iterable[Chunk[T]],
    given_up: Callable[[T, str], R],
    jobs: int,
    ahead: int = 1,
    seconds: Callable[[int], float] | None = None,
) -> Iterator[list[R]]:
    """Yield the results of each chunk, in the order of completion.

    Chunks are taken from the iterable as workers become free. Leaving the loop early, or an interrupt, stops the
    workers. Workers are fresh interpreters with one thread each, which do not import the main script.

    Args:
        work: function of the items of a chunk.
        chunks: chunks of items.
        given_up: returns the result of an item over which workers die or find no end, from it and the reason.
        jobs: number of processes; 1 uses this one.
        ahead: chunks taken for each process, including the one in progress.
        seconds: number of items → time after which a worker is stopped; None for no limit. This process has none.
    """
    if jobs == 1:
        yield from (work(chunk.items) for chunk in chunks)
    else:
        yield from apart(work, chunks, given_up, jobs, ahead, seconds)


def apart(
    work: Callable[[tuple[T, ...]], list[R]],
    chunks: Iterable[Chunk[T]],
    given_up: Callable[[T, str], R],
    jobs: int = 1,
    ahead: int = 1,
    seconds: Callable[[int], float] | None = None,
) -> Iterator[list[R]]:
    """Yield the results of each chunk as `in_pool` does, never by this process."""
    new, again = iter(chunks), deque[Chunk[T]]()
    at_work: dict[Future, Chunk[T]] = {}
    with closing(LocalProcesses(work, jobs)) as workers:
        while True:
            while len(at_work) < ahead * jobs:
                chunk = again.popleft() if again else next(new, None)
                if chunk is None:
                    break
                limit = None if seconds is None else seconds(len(chunk.items))
                at_work[workers.submit(chunk.items, limit)] = chunk
            if not at_work:
                return
            for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                chunk = at_work.pop(future)
                try:
                    results = future.result()
                except (WorkerDiedError, MemoryError) as error:
                    hung = isinstance(error, WorkerHungError)
                    parts = chunk.after_death(hung=hung)
                    again.extend(parts)
                    results = [] if parts else [given_up(chunk.items[0], HUNG if hung else DIED)]
                if results:
                    yield results


def in_chunks(items: Iterable[T], size: int) -> Iterator[Chunk[T]]:
    """Yield items in chunks of at most `size`, lazily."""
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield Chunk(part)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
