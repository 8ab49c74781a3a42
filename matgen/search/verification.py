"""First principles beside a search: candidates are calculated while others are looked for."""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from matgen.checks.crystals import Interval, target_met
from matgen.first_principles.calculations import CalculationFile, Plan
from matgen.first_principles.gpaw import (
    FirstPrinciples,
    FirstPrinciplesConfig,
    Processes,
    calculated_by,
    find_interpreter,
    log_name,
)
from matgen.first_principles.subjects import RESULTS
from matgen.generation.request import Request, intervals
from matgen.runtime.output import writing
from matgen.structures.candidate import Candidate, Prediction, Verdict

UNVERIFIED, REFUTED = 1, 2
"""Places among candidates; confirmed ones come before both."""

CONFIRMED, GAP = "confirmed", "gpaw_gap"
"""Name of the verdict, and of the calculated gap among the properties."""


@dataclass
class Verification:
    """Calculations at work; each result is on disk before anyone hears of it.

    Attributes:
        plan: how crystals are calculated.
        folder: of the run; `verified.jsonl` in it is as `matgen verify` writes it, which may go on with it.
        target: gaps that confirm a candidate.
        wanted: how many are to be confirmed.
    """

    plan: Plan
    folder: Path
    target: Interval
    wanted: int
    _at_work: dict[Future[FirstPrinciples], str] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, request: Request, folder: Path) -> "Verification | None":
        """As a request asks for it; None where it does not.

        Raises:
            MissingGpawError: GPAW cannot be found; says what to install.
        """
        if not request.verify:
            return None
        plan = Plan(find_interpreter(), FirstPrinciplesConfig(), request.verify_minutes, request.processes)
        return cls(plan, folder, intervals(request.targets)["band_gap"], request.verify)

    def __enter__(self) -> Self:
        with writing(self.folder):
            (self.folder / "gpaw").mkdir(parents=True, exist_ok=True)
        self._file = CalculationFile(self.folder / f"{RESULTS}.jsonl")
        self._known, self._lock, self._closed = self._file.read(), Lock(), False
        self._processes, self._threads = Processes(), ThreadPoolExecutor(self.plan.jobs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
        self._processes.__exit__(kind, error, trace)
        self._threads.shutdown(cancel_futures=True)

    @property
    def at_work(self) -> int:
        """How many candidates were submitted and have no result that was handed out."""
        return len(self._at_work)

    def knows(self, candidate: Candidate) -> bool:
        """Whether an earlier call has calculated it."""
        return self._earlier(candidate) is not None

    def submit(self, candidate: Candidate) -> None:
        """Have a candidate calculated, once; a result of an earlier call is taken from the disk."""
        if candidate.name not in self._asked:
            self._asked.add(candidate.name)
            self._at_work[self._threads.submit(self._result, candidate)] = candidate.name

    def finished(self) -> list[tuple[str, FirstPrinciples]]:
        """Names and results that came since the last call."""
        done = [future for future in self._at_work if future.done()]
        return [(self._at_work.pop(future), future.result()) for future in done]

    def wait(self, seconds: float) -> None:
        """Wait until there is another result, or time is up."""
        wait(self._at_work, max(0.0, seconds), FIRST_COMPLETED)

    def _result(self, candidate: Candidate) -> FirstPrinciples:
        earlier = self._earlier(candidate)
        if earlier is not None:
            return earlier
        log = self.folder / "gpaw" / f"{log_name(candidate.name)}.txt"
        call = (candidate.crystal, self.plan.interpreter, self.plan.config, 60 * self.plan.minutes, log)
        found = calculated_by(self._processes, *call)
        with self._lock:
            if not self._closed:  # else it was stopped, and says nothing
                self._file.append(candidate.name, self.plan.key(candidate.structure), found, candidate.structure)
        return found

    def _earlier(self, candidate: Candidate) -> FirstPrinciples | None:
        known = self._known.get(self.plan.key(candidate.structure))
        return known if isinstance(known, FirstPrinciples) and self.plan.stands(known) else None


def with_result(candidate: Candidate, result: FirstPrinciples, target: Interval) -> Candidate:
    """A candidate with its calculated gap and the verdict on it; as it was where there is no result."""
    if not result.converged:
        return candidate
    gap = replace(candidate, properties=candidate.properties | {GAP: Prediction(result.gap, 0.0, "eV")})
    found = target_met(gap, GAP, target)
    reason = f"by GPAW: {result.gap:.3g} eV {'is' if found.passed else 'is not'} {target}"
    return replace(gap, verdicts=gap.verdicts | {CONFIRMED: Verdict(CONFIRMED, found.passed, result.gap, "eV", reason)})


def rank(candidate: Candidate) -> int:
    """0 of a confirmed candidate, 1 where nothing was calculated, 2 of a refuted one."""
    verdict = candidate.verdicts.get(CONFIRMED)
    if verdict is None:
        return UNVERIFIED
    return 0 if verdict.passed else REFUTED
