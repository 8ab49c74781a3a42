"""Workers that screen chunks of structures: this process, or a pool of processes."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch

from matgen.runtime.processes import DIED, Chunk, in_pool
from matgen.screening.assess import assess
from matgen.screening.config import ScreenConfig
from matgen.screening.row import Row
from matgen.structures.files import Found, digest

Workers = Callable[[Iterable[Chunk[Found]], ScreenConfig], Iterator[list[Row]]]
"""Takes chunks when a worker is free, and yields the rows of each, in any order."""


def given_up(found: Found) -> Row:
    """Return the row of a structure that kills its workers."""
    return Row(found.name, found.path, found.index, digest(found), DIED)


def here(chunks: Iterable[Chunk[Found]], config: ScreenConfig) -> Iterator[list[Row]]:
    """Screen in this process."""
    for chunk in chunks:
        yield assess(chunk.items, config)


def processes(jobs: int) -> Workers:
    """Return a pool of processes with one thread each; an interrupt, or leaving the loop early, stops them."""

    def work(chunks: Iterable[Chunk[Found]], config: ScreenConfig) -> Iterator[list[Row]]:
        return in_pool(partial(assess_alone, config=config), chunks, given_up, jobs, ahead=2)

    return work


def assess_alone(found: tuple[Found, ...], config: ScreenConfig) -> list[Row]:
    """Screen a chunk in a separate worker, by one thread."""
    torch.set_num_threads(1)
    return assess(found, config)
