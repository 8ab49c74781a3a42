"""First-principles calculations in parallel to a search: candidates are calculated while others are looked for."""

from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from matgen.checks.targets import Interval, target_met
from matgen.first_principles.calculations import CalculationFile, Plan
from matgen.first_principles.gpaw import FirstPrinciples, FirstPrinciplesConfig
from matgen.first_principles.gpaw_interpreter import find_interpreter
from matgen.first_principles.gpaw_processes import Processes, calculated_by
from matgen.first_principles.subjects import RESULTS
from matgen.generation.acceptance import intervals
from matgen.generation.request import Request
from matgen.runtime.file_names import file_name
from matgen.runtime.folder_lock import FolderLock
from matgen.runtime.output import writing
from matgen.structures.candidate import Candidate, Prediction, Verdict

UNVERIFIED, REFUTED = 1, 2
"""Ranks of candidates; confirmed ones have rank 0."""

CONFIRMED, GAP = "confirmed", "gpaw_gap"
"""Names of the verdict, and of the calculated gap among the properties."""


@dataclass
class Verification:
    """Running calculations; each result is on disk before it is returned.

    Attributes:
        plan: how crystals are calculated.
        folder: of the run; its `verified.jsonl` has the format of `matgen verify`, which may continue it.
        target: gaps that confirm a candidate.
        wanted: number of candidates to confirm.
    """

    plan: Plan
    folder: Path
    target: Interval
    wanted: int
    _at_work: dict[Future[FirstPrinciples], str] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, request: Request, folder: Path) -> "Verification | None":
        """Make the verification that a request asks for; None if it asks for none.

        Raises:
            MissingGpawError: GPAW cannot be found.
        """
        if not request.verification.n:
            return None
        plan = Plan(
            find_interpreter(), FirstPrinciplesConfig(), request.verification.minutes, request.resources.processes
        )
        return cls(plan, folder, intervals(request.property_targets)["band_gap"], request.verification.n)

    def __enter__(self) -> Self:
        self._own = FolderLock(self.folder, of=RESULTS)
        self._own.__enter__()
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
        self._processes.close()
        self._threads.shutdown(cancel_futures=True)
        self._own.__exit__(kind, error, trace)

    @property
    def at_work(self) -> int:
        """Number of submitted candidates whose result was not returned yet."""
        return len(self._at_work)

    def knows(self, candidate: Candidate) -> bool:
        """Whether an earlier call calculated the candidate."""
        return self._earlier(candidate) is not None

    def submit(self, candidate: Candidate) -> None:
        """Submit a candidate for calculation, once; a result of an earlier call is taken from disk."""
        if candidate.name not in self._asked:
            self._asked.add(candidate.name)
            self._at_work[self._threads.submit(self._result, candidate)] = candidate.name

    def finished(self) -> list[tuple[str, FirstPrinciples]]:
        """Return names and results that arrived since the last call."""
        done = [future for future in self._at_work if future.done()]
        return [(self._at_work.pop(future), future.result()) for future in done]

    def wait(self, seconds: float) -> None:
        """Wait for another result, at most this long."""
        wait(self._at_work, max(0.0, seconds), FIRST_COMPLETED)

    def _result(self, candidate: Candidate) -> FirstPrinciples:
        earlier = self._earlier(candidate)
        if earlier is not None:
            return earlier
        log = self.folder / "gpaw" / f"{file_name(candidate.name)}.txt"
        call = (candidate.crystal, self.plan.interpreter, self.plan.config, 60 * self.plan.minutes, log)
        found = calculated_by(self._processes, *call)
        with self._lock:
            if not self._closed:  # otherwise it was stopped, and has no result
                self._file.append(candidate.name, self.plan.key(candidate.structure), found, candidate.structure)
        return found

    def _earlier(self, candidate: Candidate) -> FirstPrinciples | None:
        known = self._known.get(self.plan.key(candidate.structure))
        return known if isinstance(known, FirstPrinciples) and self.plan.stands(known) else None


def with_result(candidate: Candidate, result: FirstPrinciples, target: Interval) -> Candidate:
    """Add the calculated gap and its verdict; return the candidate unchanged if the calculation did not converge."""
    if not result.converged:
        return candidate
    gap = replace(candidate, properties=candidate.properties | {GAP: Prediction(result.gap, 0.0, "eV")})
    found = target_met(gap, GAP, target)
    reason = f"by GPAW: {result.gap:.3g} eV {'is' if found.passed else 'is not'} {target}"
    return replace(gap, verdicts=gap.verdicts | {CONFIRMED: Verdict(CONFIRMED, found.passed, result.gap, "eV", reason)})


def with_results(
    candidates: Iterable[Candidate], results: Mapping[str, FirstPrinciples], target: Interval
) -> list[Candidate]:
    """Add calculated gaps and their verdicts to the candidates that have results, by name."""
    return [with_result(one, results[one.name], target) if one.name in results else one for one in candidates]


def rank(candidate: Candidate) -> int:
    """Return 0 for a confirmed candidate, 1 for one without a result, 2 for a refuted one."""
    verdict = candidate.verdicts.get(CONFIRMED)
    if verdict is None:
        return UNVERIFIED
    return 0 if verdict.passed else REFUTED
