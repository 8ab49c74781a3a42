"""Chunks of structures to workers and rows back, as they come: in this process, or in a pool of processes.

A worker that dies loses nothing. What was at work is done again by itself, in halves if that kills its worker too, so
that the structure at fault is found and gets a row that says so.
"""

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass

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
    """Structures that are judged together, and how many workers have died over just these."""

    found: tuple[Found, ...]
    deaths: int = 0

    def after_death(self) -> "tuple[Chunk, ...]":
        """What to try once a worker has died over it; nothing if it is to be given up."""
        if len(self.found) > 1:
            half = len(self.found) // 2
            return Chunk(self.found[:half]), Chunk(self.found[half:])
        return (Chunk(self.found, self.deaths + 1),) if self.deaths + 1 < TRIES else ()


Workers = Callable[[Iterable[Chunk], ScreenConfig], Iterator[list[Row]]]
"""Takes chunks as it gets free, gives the rows of each, in any order."""


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
        queue = enumerate(chunks)
        at_work: dict[int, Chunk] = {}

        def tasks() -> Iterator[tuple]:
            for number, chunk in queue:
                at_work[number] = chunk
                yield delayed(_numbered)(number, chunk, config)

        while True:
            try:
                for number, rows in _closing(_pool(jobs)(tasks())):
                    del at_work[number]
                    yield rows
            except BrokenExecutor:
                for chunk in at_work.values():
                    yield from _by_itself(chunk, config)
                at_work.clear()
            else:
                return

    return work


def _by_itself(chunk: Chunk, config: ScreenConfig) -> Iterator[list[Row]]:
    """The rows of a chunk that is alone at work, so that a death is of its making."""
    try:
        # Of two workers one stays idle; a pool of one would be this very process.
        yield from (rows for _, rows in list(_pool(2)([delayed(_numbered)(0, chunk, config)])))
    except BrokenExecutor:
        rest = chunk.after_death()
        for part in rest:
            yield from _by_itself(part, config)
        if not rest:
            yield [given_up(chunk.found[0])]


def _pool(jobs: int) -> Parallel:
    with parallel_config(backend="loky", inner_max_num_threads=1):
        return Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="2 * n_jobs", batch_size=1)


def assess_alone(found: tuple[Found, ...], config: ScreenConfig) -> list[Row]:
    """Judge a chunk in a worker of its own, by one thread."""
    torch.set_num_threads(1)
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
