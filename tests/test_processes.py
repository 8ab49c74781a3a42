"""A pool of processes: what kills a worker is found, and nothing else is given up."""

import os
from functools import partial

from matgen.runtime.processes import in_chunks, in_pool


def doubled(items: tuple[int, ...], deadly: int) -> list[int]:
    """Twice each, unless one of them ends the process."""
    if deadly in items:
        os._exit(1)
    return [2 * item for item in items]


def test_only_what_kills_its_worker_is_given_up() -> None:
    """However many were at work beside it, in its chunk or in another."""
    chunks = in_pool(partial(doubled, deadly=3), in_chunks(range(6), 2), lambda item: -item, jobs=2, ahead=2)
    results = [result for results in chunks for result in results]
    assert sorted(results) == sorted([-3, *(2 * item for item in range(6) if item != 3)])


def test_one_job_stays_in_this_process() -> None:
    (found,) = in_pool(lambda items: [os.getpid() for _ in items], in_chunks("a", 1), lambda _: 0, jobs=1)
    assert found == [os.getpid()]
