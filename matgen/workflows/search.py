"""The search among proposals: relax best first, check, keep what is new, note why the rest is not."""

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from matgen.candidate import Candidate, Verdict
from matgen.export import CandidateWriter
from matgen.progress import Report
from matgen.request import Request
from matgen.templates.symmetry import NoTemplateError
from matgen.validation.checks import validate
from matgen.workflows.assay import Assay, assay_of
from matgen.workflows.candidate_files import CandidateFile
from matgen.workflows.selection import Uniqueness, worthwhile
from matgen.workflows.verification import REFUTED, UNVERIFIED, Verification, in_order, rank, with_result

LONGEST_WAIT = 5.0
"""Seconds after which one who waits for a calculation says how far it is."""

LEAST_AT_ONCE, MOST_AT_ONCE = 5, 25
"""Candidates that one round proposes for."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: where everything lies.
        requested: candidates asked for.
        candidates: found ones, in the order in which they were found.
        proposals: how many were looked at.
        rejected: how many each check turned away, the most frequent first.
        reason: why the run ended.
        seconds: wall time of this call.
    """

    folder: Path
    requested: int
    candidates: tuple[Candidate, ...]
    proposals: int
    rejected: dict[str, int]
    reason: str
    seconds: float


def rejected_file(folder: Path) -> CandidateFile:
    """Where a run notes what it turned away."""
    return CandidateFile(folder / "rejected.jsonl")


@dataclass
class Search:
    """The state of a run: what was found, what was turned away, and the means to decide.

    Attributes:
        request: what is wanted.
        writer: keeps the candidates that are found.
        found: is handed each of them.
        assay: relaxes and judges.
        rejects: keeps the others.
        unique: structures of the candidates.
        proposed: structures of all proposals so far, unrelaxed.
        settled: names on which the decision has fallen.
        tally: how many each check turned away.
        verification: calculates candidates meanwhile; None where none is asked for.
        deadline: on the clock of `time.perf_counter`, when the budget is spent.
    """

    request: Request
    writer: CandidateWriter
    found: Callable[[Candidate], None]
    assay: Assay
    rejects: CandidateFile
    unique: Uniqueness
    proposed: Uniqueness
    settled: set[str] = field(default_factory=set)
    tally: Counter[str] = field(default_factory=Counter)
    deadline: float = math.inf
    verification: Verification | None = None

    @classmethod
    def resumed(
        cls,
        request: Request,
        writer: CandidateWriter,
        found: Callable[[Candidate], None],
        deadline: float = math.inf,
        verification: Verification | None = None,
    ) -> "Search":
        """With everything that an earlier call left in the folder."""
        assay = assay_of(request)
        search = cls(
            request,
            writer,
            found,
            assay,
            rejects=rejected_file(writer.folder),
            unique=assay.uniqueness(writer.candidates),
            proposed=assay.uniqueness(),
            deadline=deadline,
            verification=verification,
        )
        for candidate in writer.candidates:
            search.settled.add(candidate.name)
            found(candidate)
        for candidate in search.rejects.read():
            search.settled.add(candidate.name)
            search.tally[search._blamed(candidate)] += 1
        return search

    @property
    def complete(self) -> bool:
        """Whether enough are found, and enough of them confirmed."""
        return self._enough() and self.confirmed >= self.request.verify

    @property
    def confirmed(self) -> int:
        """How many candidates first principles confirm."""
        return sum(rank(candidate) == 0 for candidate in self.writer.candidates)

    @property
    def refuted(self) -> int:
        """How many they refute, so that another is needed."""
        return sum(rank(candidate) == REFUTED for candidate in self.writer.candidates)

    @property
    def over(self) -> bool:
        """Whether enough are found, or the budget is spent."""
        return self.complete or time.perf_counter() > self.deadline

    @property
    def asked(self) -> int:
        """Candidates that the next round is to propose for: those missing, but neither few nor many at once."""
        missing = self.request.wanted - len(self.writer.candidates) + self.refuted
        return min(MOST_AT_ONCE, max(missing, min(self.request.wanted, LEAST_AT_ONCE)))

    def settle(self, proposals: list[Candidate], report: Report) -> None:
        """Relax and judge proposals, best first, until enough are found or the budget is spent."""
        if self.assay.another_try:
            self.proposed = self.assay.uniqueness(self.writer.candidates)
        kept, dropped = worthwhile(proposals, self.assay.rulebook.before_relaxing(), self.proposed)
        for candidate in dropped:
            self._reject(candidate)
        waiting = [candidate for candidate in kept if candidate.name not in self.settled]
        self._tell(report)
        with closing(self.assay.relaxed(waiting)) as relaxed:
            for candidate in relaxed:
                self._judge(candidate)
                self._tell(report)
                self.await_verdicts(report)
                if self.over:
                    return

    def await_verdicts(self, report: Report, *, to_the_end: bool = False) -> None:
        """Have candidates calculated; while enough are found if all at work are confirmed, wait for what comes of them.

        A refuted candidate makes another one needed, and the search go on.

        Args:
            report: hears how far it is.
            to_the_end: there is nothing else to do: wait in any case, until the budget is spent.
        """
        if self.verification is None:
            return
        self._take(self.verification)
        while self.verification.at_work and (to_the_end or self._enough()) and not self.over:
            self.verification.wait(min(self.deadline - time.perf_counter(), LONGEST_WAIT))
            self._take(self.verification)
            counts = {"refuted": self.refuted, "at_work": self.verification.at_work}
            report("verify", self.confirmed, self.request.verify, **counts)

    def _take(self, verification: Verification) -> None:
        """Take results, and submit as many candidates as may still be needed, the first found first."""
        if results := dict(verification.finished()):
            told = [
                with_result(one, results[one.name], verification.target) if one.name in results else one
                for one in self.writer.candidates
            ]
            self.writer.amend(told)
        for candidate in self.writer.candidates:
            needed = self.confirmed + verification.at_work < verification.wanted
            if rank(candidate) == UNVERIFIED and (needed or verification.knows(candidate)):
                verification.submit(candidate)

    def _enough(self) -> bool:
        """Whether enough are found if all that are at work are confirmed."""
        at_work = self.verification.at_work if self.verification else 0
        standing = len(self.writer.candidates) - self.refuted
        return standing >= self.request.wanted and self.confirmed + at_work >= self.request.verify

    def outcome(self, folder: Path, seconds: float) -> Outcome:
        """What it all came to."""
        found, wanted = len(self.writer.candidates), self.request.wanted
        proposals = found + sum(self.tally.values())
        reason = f"found all {wanted}"
        if not self.complete:
            most = ", ".join(f"{name} {count}" for name, count in self.tally.most_common(3))
            rounds, minutes = self.request.rounds, self.request.budget
            spent, more = f"{rounds} rounds of proposals are used up", "rounds in the configuration"
            if self.over:
                spent, more = f"the budget of {minutes:g} minutes is spent", "the budget"
            reason = (
                f"found {found} of {wanted}: {spent} ({proposals} looked at; turned away by {most or 'nothing'}); "
                f"widen the wish, or raise {more}"
            )
        if self.request.verify:
            self.writer.amend(in_order(self.writer.candidates))
            reason += f"; first principles confirm {self.confirmed} and refute {self.refuted}"
        candidates = tuple(self.writer.candidates)
        return Outcome(folder, wanted, candidates, proposals, dict(self.tally.most_common()), reason, seconds)

    def _tell(self, report: Report) -> None:
        away = {f"not_{name}": count for name, count in self.tally.most_common()}
        if self.verification is not None:
            away |= {"confirmed": self.confirmed, "refuted": self.refuted}
        report("relax and check", len(self.writer.candidates), self.request.wanted, **away)

    def _judge(self, candidate: Candidate) -> None:
        unfit = self.assay.unfit(candidate)
        if unfit is not None:
            self._reject(replace(candidate, verdicts={unfit.name: unfit}))
            return
        try:
            candidate = replace(candidate, properties=self.assay.opinions(candidate))
        except NoTemplateError as error:
            unseen = Verdict("symmetry", passed=False, value=math.nan, unit="", reason=str(error))
            self._reject(replace(candidate, verdicts={unseen.name: unseen}))
            return
        verdicts = validate(candidate, self.assay.rulebook.checks)
        if not self.assay.rulebook.objection(verdicts):
            verdicts["unique"] = self.unique.verdict(candidate)
        candidate = replace(candidate, verdicts=verdicts)
        if self.assay.rulebook.objection(verdicts):
            self._reject(candidate)
            return
        candidate = self.assay.afterwards(candidate)
        self.settled.add(candidate.name)
        self.found(self.writer.write(candidate))

    def _reject(self, candidate: Candidate) -> None:
        if candidate.name in self.settled:
            return
        self.settled.add(candidate.name)
        self.tally[self._blamed(candidate)] += 1
        self.rejects.append(candidate)

    def _blamed(self, candidate: Candidate) -> str:
        return self.assay.rulebook.objection(candidate.verdicts)
