"""Chunks of structures to workers and rows back, as they come: in this process, or in a pool of processes.

A worker that dies loses nothing: the chunks at work go back into the queue, first whole, then structure by structure,
so that the one that kills its worker, for want of memory, is found and gets a row that says so.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field

import torch
from joblib import Parallel, delayed, parallel_config

from matgen.screening.assess import assess, digest
from matgen.screening.config import ScreenConfig
from matgen.screening.row import Row
from matgen.structure_files import Found

TRIES = 3
"""How often a single structure may be at work in a worker that dies before it is given up."""


@dataclass(frozen=True)
class Chunk:
    """Structures that are judged together, and how many workers have died over them."""

    found: tuple[Found, ...]
    deaths: int = 0


Workers = Callable[[Iterable[Chunk], ScreenConfig], Iterator[list[Row]]]
"""Takes chunks as it gets free, gives the rows of each, in any order."""


@dataclass
class Queue:
    """Chunks yet to be done, and those at work by number.

    Attributes:
        source: of chunks.
        at_work: what workers have.
        again: what they lost.
    """

    source: Iterator[Chunk]
    at_work: dict[int, Chunk] = field(default_factory=dict)
    again: deque[Chunk] = field(default_factory=deque)
    handed_out: int = 0

    def __iter__(self) -> Iterator[tuple[int, Chunk]]:
        while True:
            chunk = self.again.popleft() if self.again else next(self.source, None)
            if chunk is None:
                return
            number, self.handed_out = self.handed_out, self.handed_out + 1
            self.at_work[number] = chunk
            yield number, chunk

    def lost(self, number: int) -> list[Row]:
        """Put a chunk back whose worker died; gives the rows of what is given up."""
        chunk = self.at_work.pop(number)
        deaths = chunk.deaths + 1
        if len(chunk.found) > 1 and deaths == 1:
            self.again.append(Chunk(chunk.found, deaths))
        elif len(chunk.found) > 1:
            self.again.extend(Chunk((found,)) for found in chunk.found)
        elif deaths < TRIES:
            self.again.append(Chunk(chunk.found, deaths))
        else:
            return [given_up(chunk.found[0])]
        return []


def given_up(found: Found) -> Row:
    """The row of a structure over which workers die."""
    reason = f"{TRIES} workers died over it, perhaps for want of memory"
    return Row(found.name, found.path, found.index, digest(found), reason)


def here(chunks: Iterable[Chunk], config: ScreenConfig) -> Iterator[list[Row]]:
    """Judge in this process."""
    for chunk in chunks:
        yield assess(chunk.found, config)


def processes(jobs: int) -> Workers:
    """A pool of processes with one thread each; an interrupt, or leaving the loop early, stops them."""

    def work(chunks: Iterable[Chunk], config: ScreenConfig) -> Iterator[list[Row]]:
        queue = Queue(iter(chunks))
        while True:
            # A pool of its own after a death: the old one is broken.
            with parallel_config(backend="loky", inner_max_num_threads=1):
                parallel = Parallel(
                    n_jobs=jobs, return_as="generator_unordered", pre_dispatch=2 * jobs, batch_size=1
                )
            try:
                for number, rows in _closing(parallel(delayed(_numbered)(n, c, config) for n, c in queue)):
                    del queue.at_work[number]
                    yield rows
            except BrokenExecutor:
                for number in list(queue.at_work):
                    if rows := queue.lost(number):
                        yield rows
            else:
                return

    return work


def assess_alone(found: tuple[Found, ...], config: ScreenConfig) -> list[Row]:
    """Judge a chunk in a worker of its own: one thread, and no warnings about the inputs of others."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assess(found, config)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _numbered(number: int, chunk: Chunk, config: ScreenConfig) -> tuple[int, list[Row]]:
    return number, assess_alone(chunk.found, config)


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
