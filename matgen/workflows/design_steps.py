"""The steps of a design run: units of work from workers, one decision after the other."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from matgen.generation.request import Request
from matgen.metrics.shares import shares_of_structures, training_shares
from matgen.runtime.parsl_workers import ParslWorkers
from matgen.runtime.progress import Report
from matgen.runtime.workers import Here, LocalProcesses, Workers
from matgen.search.ordered_units import OrderedUnits
from matgen.search.outcome import Outcome
from matgen.search.search import LONGEST_WAIT, Search
from matgen.search.units import UnitMaker
from matgen.search.verification import Verification
from matgen.structures.candidate import Candidate
from matgen.structures.export import CandidateWriter

PARSL = "parsl"
"""Folder of Parsl's logs, in that of a run."""


def workers_of(request: Request, folder: Path, report: Report) -> Workers:
    """Return the workers that make the units of a run.

    Args:
        request: what is asked, and on what it runs.
        folder: of the run.
        report: hears the progress within a unit, if this process makes it.

    Raises:
        ParslError: Parsl is not installed, or its file defines no configuration.
        WorkerError: the energies of the user cannot be sent to another process.
    """
    resources = request.resources
    if resources.executor:
        return ParslWorkers(UnitMaker(request), resources.executor, resources.processes, folder / PARSL)
    if resources.processes == 1:
        return Here(UnitMaker(request, report))
    return LocalProcesses(UnitMaker(request), resources.processes, resources.threads)


def steps(
    request: Request,
    writer: CandidateWriter,
    workers: Workers,
    verification: Verification | None,
    report: Report,
    found: Callable[[Candidate], None],
    started: float,
) -> Generator[Search, None, Outcome]:
    """Decide on one unit after the other; yield the search after each decision, and return what it came to.

    Closing the generator stops the workers and leaves a folder that can be resumed. While it waits to be advanced,
    the clock of the budget runs; who keeps it waiting may raise the deadline of the search.

    Args:
        request: what is asked.
        writer: stores the candidates.
        workers: make units; they are closed.
        verification: calculates candidates; None without.
        report: hears the progress.
        found: receives each candidate.
        started: when the budget began, on the clock of `time.perf_counter`.
    """
    clock = StageClock(writer, report)
    deadline = started + 60 * request.search.budget
    with closing(clock):
        with closing(workers):
            search = Search.resumed(request, writer, found, deadline, verification)
            yield search
            alone = partial(LocalProcesses, UnitMaker(request), 1, request.resources.threads)
            units = OrderedUnits(writer.folder, workers, search.limit, alone if isinstance(workers, Here) else None)
            with closing(units), units.note:
                yield from _of_units(search, units, clock)
        search.await_verdicts(clock, to_the_end=True)
        while search.fill_up() and not search.late:
            yield search
            search.await_verdicts(clock, to_the_end=True)
        search.dismiss()
        _conclude(search)
        yield search
    given_up = tuple(sorted(units.given_up))
    if given_up:
        writer.note("given_up", given_up)
        writer.note("reasons", {str(number): units.given_up[number] for number in given_up})
    outcome = search.outcome(writer.folder, time.perf_counter() - started, given_up)
    return replace(outcome, reasons=units.given_up)


def _of_units(search: Search, units: OrderedUnits, clock: "StageClock") -> Generator[Search]:
    """Take units in order until the search is over."""
    while True:
        search.await_verdicts(clock)
        if search.over or units.spent:
            return
        search.report(clock, units.at_work)
        unit = units.next(search.ahead, min(search.deadline - time.perf_counter(), LONGEST_WAIT))
        if unit is not None:
            yield from search.taking(unit, clock)
            clock.add(unit.seconds)
            search.report(clock, units.at_work)


class StageClock:
    """Forwards progress reports, and records time and last counts of each stage in run.json."""

    def __init__(self, writer: CandidateWriter, report: Report) -> None:
        self._writer, self._report = writer, report
        self._stage, self._since = "", 0.0
        self._counts: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Record and forward a report."""
        if stage != self._stage:
            self.close()
            self._stage, self._since = stage, time.perf_counter()
        self._counts = {"done": done, "total": total, **counts}
        self._report(stage, done, total, **counts)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Record the times of the stages of a unit, wherever it was made."""
        self._writer.stages((stage, time, {}) for stage, time in seconds.items())

    def close(self) -> None:
        """End the current stage."""
        if self._stage:
            self._writer.stage(self._stage, time.perf_counter() - self._since, **self._counts)
        self._stage = ""


def _conclude(search: Search) -> None:
    """Record the best candidate of each family, and in run.json the shares of the candidates."""
    writer = search.writer
    writer.revise([replace(one, family=search.families.best(one.name)) for one in writer.candidates])
    if writer.kind == "crystal":
        found = shares_of_structures((one.crystal for one in writer.candidates), "the candidates of this run")
        writer.note("shares", {"found": asdict(found), "training": asdict(training_shares())})


def to_the_end(generator: Generator[Search, None, Outcome]) -> Outcome:
    """Take all steps, and return what the run came to."""
    with closing(generator):
        while True:
            try:
                next(generator)
            except StopIteration as end:
                return end.value
