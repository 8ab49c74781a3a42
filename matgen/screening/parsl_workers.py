"""Screening on Parsl: workers receive structures and return rows."""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from pathlib import Path
from typing import Any

from matgen.runtime.parsl_workers import IN_FLIGHT, ParslError, configuration, loaded, translated
from matgen.runtime.processes import DIED, Chunk
from matgen.runtime.workers import WorkerDiedError
from matgen.screening.config import ScreenConfig, ScreenError
from matgen.screening.row import Row
from matgen.screening.workers import Workers, assess_alone, given_up


def on_parsl(executor: str, jobs: int, run_folder: Path) -> Workers:
    """Return workers of a Parsl configuration.

    Args:
        executor: a Python file that defines `config`, or `local`.
        jobs: number of worker processes of `local`.
        run_folder: of the logs of `local`.

    Raises:
        ScreenError: Parsl is not installed, or the file defines no configuration.
    """
    try:
        config = configuration(executor, jobs, run_folder)
    except ParslError as error:
        raise ScreenError(str(error)) from error

    def work(chunks: Iterable[Chunk], screen_config: ScreenConfig) -> Iterator[list[Row]]:
        with loaded(config) as app:
            submit = app(assess_alone)
            yield from _rows(iter(chunks), lambda chunk: submit(chunk.items, screen_config))

    return work


def _rows(chunks: Iterator[Chunk], submit: Any) -> Iterator[list[Row]]:
    """Yield rows in the order of their completion; chunks of lost workers are submitted again."""
    at_work: dict[Future, Chunk] = {submit(chunk): chunk for chunk in islice(chunks, IN_FLIGHT)}
    while at_work:
        done, _ = wait(at_work, return_when=FIRST_COMPLETED)
        for future in done:
            chunk, error = at_work.pop(future), future.exception()
            if error is None:
                yield future.result()
                continue
            problem = translated(error)
            if isinstance(problem, ParslError):
                raise ScreenError(str(problem)) from error
            if not isinstance(problem, WorkerDiedError):
                raise error
            rest = chunk.after_death()
            at_work |= {submit(part): part for part in rest}
            if not rest:
                yield [given_up(chunk.items[0], DIED)]
        at_work |= {submit(chunk): chunk for chunk in islice(chunks, max(0, IN_FLIGHT - len(at_work)))}
