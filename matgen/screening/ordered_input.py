"""The structures that are screened, with orderings in place of partially occupied crystals, made by processes."""

from collections.abc import Iterable, Iterator
from functools import partial

from matgen.runtime.processes import apart, in_chunks
from matgen.structures.files import Found, distinct
from matgen.structures.ordered_pieces import not_ordered, ordered

CHUNK = 4
"""Structures that a worker takes at once."""

START, EACH = 120.0, 180.0
"""Seconds that a worker has to start, and for each structure; enumeration is limited by numbers and takes less."""

Numbered = tuple[int, Found]


def with_orderings(several: Iterable[Found], most: int, jobs: int) -> Iterator[Found]:
    """Yield structures in order; in place of each partially occupied crystal its best orderings.

    They are named `file.cif#order1`, `file.cif#order2`, best first. A crystal that cannot be ordered, or over which
    workers die or find no end, has one entry with the reason.

    Args:
        several: not read yet.
        most: orderings of each crystal at most.
        jobs: number of processes, never this one: what dies or hangs in them ends nothing else.
    """
    return distinct(_in_order(several, most, jobs))


def _in_order(several: Iterable[Found], most: int, jobs: int) -> Iterator[Found]:
    done: dict[int, list[Found]] = {}
    following = 0
    chunks = in_chunks(enumerate(several), CHUNK)
    for results in apart(partial(_each, most=most), chunks, _given_up, jobs, ahead=2, seconds=_seconds):
        done.update(results)
        while following in done:
            yield from done.pop(following)
            following += 1


def _each(several: tuple[Numbered, ...], most: int) -> list[tuple[int, list[Found]]]:
    return [(number, ordered(one, most)) for number, one in several]


def _given_up(numbered: Numbered, reason: str) -> tuple[int, list[Found]]:
    number, one = numbered
    return number, [not_ordered(one, reason)]


def _seconds(n: int) -> float:
    return START + n * EACH
