"""A pool of processes: what kills or stops its worker is found, and nothing else is given up."""

import os
import time
from functools import partial
from pathlib import Path

from matgen.runtime.at_work import NOTE, AtWork
from matgen.runtime.processes import DIED, HUNG, Chunk, apart, in_chunks, in_pool


def doubled(items: tuple[int, ...], deadly: int) -> list[int]:
    """Twice each, unless one of them ends the process."""
    if deadly in items:
        os._exit(1)
    return [2 * item for item in items]


def patient(items: tuple[int, ...], endless: int, hungry: int) -> list[int]:
    """Twice each, unless one of them never ends, or takes more memory than there is."""
    if endless in items:
        time.sleep(600)
    if hungry in items:
        raise MemoryError
    return [2 * item for item in items]


def test_only_what_kills_its_worker_is_given_up() -> None:
    """However many were at work beside it, in its chunk or in another."""

    def given_up(item: int, reason: str) -> int:
        assert reason == DIED
        return -item

    chunks = in_pool(partial(doubled, deadly=3), in_chunks(range(6), 2), given_up, jobs=2, ahead=2)
    results = [result for results in chunks for result in results]
    assert sorted(results) == sorted([-3, *(2 * item for item in range(6) if item != 3)])


def test_what_finds_no_end_or_no_memory_is_given_up_and_the_rest_is_done() -> None:
    reasons: dict[int, str] = {}

    def given_up(item: int, reason: str) -> int:
        reasons[item] = reason
        return -1

    work = partial(patient, endless=2, hungry=7)
    found = apart(work, in_chunks(range(9), 3), given_up, jobs=2, seconds=lambda n: 2.0 + 0.1 * n)
    results = [result for results in found for result in results]
    assert reasons == {2: HUNG, 7: DIED}
    assert sorted(results) == sorted([-1, -1, *(2 * item for item in range(9) if item not in reasons)])


def test_one_job_stays_in_this_process() -> None:
    (found,) = in_pool(lambda items: [os.getpid() for _ in items], in_chunks("a", 1), lambda _, __: 0, jobs=1)
    assert found == [os.getpid()]


class Item:
    """An item with a name."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_what_a_process_was_working_on_when_it_died_is_told_apart(tmp_path: Path) -> None:
    """The note outlives a failure and names what was not done; the end of the work removes it."""
    items = [Item(name) for name in "abcdef"]
    at_work = AtWork(tmp_path)
    assert not at_work.left
    noted = at_work.noted(in_chunks(items, 2))
    next(noted)
    at_work.end("ab")
    next(noted)  # and here the process dies
    again = AtWork(tmp_path)
    assert again.left == {"c", "d"}
    with again:
        chunks = list(again.noted([Chunk(tuple(items[2:5])), Chunk((items[5],))]))
        assert [([item.name for item in chunk.items], chunk.deaths) for chunk in chunks] == [
            (["e"], 0),
            (["c", "d"], 1),
            (["f"], 0),
        ]
        assert AtWork(tmp_path).left == {"c", "d", "e", "f"}
    assert not (tmp_path / NOTE).exists()
    (tmp_path / NOTE).write_text("{", encoding="utf-8")
    assert not AtWork(tmp_path).left
