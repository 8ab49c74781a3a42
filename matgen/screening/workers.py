"""Workers that screen chunks of structures: this process, or a pool of processes."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from matgen.runtime.processes import Chunk, apart
from matgen.runtime.threads import threads, usual_threads
from matgen.screening.assess import assess
from matgen.screening.config import NONE, ScreenConfig
from matgen.screening.row import Row
from matgen.structures.files import Found, digest

Workers = Callable[[Iterable[Chunk[Found]], ScreenConfig], Iterator[list[Row]]]
"""Takes chunks when a worker is free, and yields the rows of each, in any order."""


START, EACH, EACH_RELAXED = 300.0, 60.0, 1800.0
"""Seconds that a worker has to load the networks, and for each structure as given, or with a relaxation or phonons."""


def given_up(found: Found, reason: str) -> Row:
    """Return the row of a structure that kills its workers, or of which they find no end."""
    return Row(found.name, found.path, found.index, digest(found), reason)


def seconds_for(n: int, config: ScreenConfig) -> float:
    """Return the time in which so many structures must be done, s."""
    quick = config.relax == NONE and not config.lattice_checks
    return START + n * (EACH if quick else EACH_RELAXED)


def here(chunks: Iterable[Chunk[Found]], config: ScreenConfig) -> Iterator[list[Row]]:
    """Screen in this process by one thread; in another one what a process died over before."""
    with threads(usual_threads()):
        for chunk in chunks:
            if chunk.deaths:
                yield from _apart([chunk], config, 1)
            else:
                yield assess(chunk.items, config)


def processes(jobs: int) -> Workers:
    """Return a pool of processes with one thread each; an interrupt, or leaving the loop early, stops them."""

    def work(chunks: Iterable[Chunk[Found]], config: ScreenConfig) -> Iterator[list[Row]]:
        return _apart(chunks, config, jobs)

    return work


def _apart(chunks: Iterable[Chunk[Found]], config: ScreenConfig, jobs: int) -> Iterator[list[Row]]:
    work = partial(assess_alone, config=config)
    return apart(work, chunks, given_up, jobs, ahead=2, seconds=partial(seconds_for, config=config))


def assess_alone(found: tuple[Found, ...], config: ScreenConfig) -> list[Row]:
    """Screen a chunk in a separate worker, by one thread."""
    with threads(1):
        return assess(found, config)
