"""The search among proposals: relax the best first, check, keep what is new, record why the rest is rejected."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from matgen.checks.verdicts import validate
from matgen.generation.acceptance import confidence_of_round
from matgen.generation.request import Request
from matgen.runtime.progress import Report
from matgen.screening.uniqueness import Uniqueness
from matgen.search.assessment import Assessment, assessment_of
from matgen.search.deferred import deferred_again, dismissed, probability, split_by_confidence
from matgen.search.outcome import Ending, Outcome
from matgen.search.rejected import rejected_file
from matgen.search.selection import checked_before_relaxation
from matgen.search.variety import VARIETY, WORTH_A_STOP, Families, Variety, layout_of
from matgen.search.verification import REFUTED, UNVERIFIED, Verification, rank, with_results
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.export import CandidateWriter
from matgen.templates.prototypes import Layout
from matgen.templates.symmetry import NoTemplateError

LONGEST_WAIT = 5.0
"""Seconds between progress reports while calculations are awaited."""

LEAST_AT_ONCE, MOST_AT_ONCE = 5, 25
"""Least and most candidates that one round proposes for."""


@dataclass
class Search:
    """The state of a run: what was found, what was rejected, and the means to decide.

    Attributes:
        request: of the run.
        writer: stores the candidates.
        found: receives each candidate.
        assessment: relaxes and evaluates proposals.
        rejects: stores the rejected proposals.
        unique: structures of the candidates.
        proposed: structures of all proposals so far, unrelaxed.
        variety: how many candidates of each Wyckoff layout are found, and which wait because of it.
        families: candidates by chemistry.
        settled: names of the candidates and the rejected proposals.
        tally: number rejected by each check.
        deferred: candidates whose targets are not yet likely enough to be met.
        confidence: least probability in the current round.
        verification: calculates candidates in parallel; None if the request does not ask for it.
        deadline: end of the budget on the clock of `time.perf_counter`.
        rounds: number of rounds begun.
    """

    request: Request
    writer: CandidateWriter
    found: Callable[[Candidate], None]
    assessment: Assessment
    rejects: CandidateFile
    unique: Uniqueness
    proposed: Uniqueness
    variety: Variety
    families: Families
    settled: set[str] = field(default_factory=set)
    tally: Counter[str] = field(default_factory=Counter)
    deferred: list[Candidate] = field(default_factory=list)
    confidence: float = 0.0
    deadline: float = math.inf
    verification: Verification | None = None
    rounds: int = 0

    @classmethod
    def resumed(
        cls,
        request: Request,
        writer: CandidateWriter,
        found: Callable[[Candidate], None],
        deadline: float = math.inf,
        verification: Verification | None = None,
    ) -> "Search":
        """Make a search with everything that an earlier call left in the folder."""
        assessment = assessment_of(request)
        names = {one.name for one in writer.candidates}
        rejected = [one for one in rejected_file(writer.folder).read() if one.name not in names]
        search = cls(
            request,
            writer,
            found,
            assessment,
            rejects=rejected_file(writer.folder, assessment.candidate_checks),
            unique=Uniqueness(),
            proposed=Uniqueness(),
            variety=Variety.of(request),
            families=Families(writer.candidates),
            deadline=deadline,
            verification=verification,
        )
        for candidate in writer.candidates:
            search.settled.add(candidate.name)
            search.variety.found(candidate)
            found(candidate)
        search.variety.refuted = search.refuted
        for candidate in rejected:
            search._rejected_before(candidate)
        if search.deferred:
            search.rejects.write(one for one in rejected if one.name in search.settled)
        search.unique = Uniqueness([*writer.candidates, *search.variety.waiting, *search.deferred])
        return search

    @property
    def complete(self) -> bool:
        """Whether enough are found, and enough of them confirmed."""
        return not self._lacking and self.confirmed >= self.request.verification.n

    @property
    def confirmed(self) -> int:
        """Number of candidates that first principles confirm."""
        return sum(rank(candidate) == 0 for candidate in self.writer.candidates)

    @property
    def refuted(self) -> int:
        """Number of candidates that first principles refute, each of which needs a replacement."""
        return sum(rank(candidate) == REFUTED for candidate in self.writer.candidates)

    @property
    def over(self) -> bool:
        """Whether enough are found, no other Wyckoff layouts are found, or the budget is spent."""
        return self.complete or self.variety.exhausted or self.late

    @property
    def late(self) -> bool:
        """Whether the budget is spent."""
        return time.perf_counter() > self.deadline

    @property
    def asked(self) -> int:
        """Number of candidates that the next round proposes for: those missing, within limits."""
        return min(MOST_AT_ONCE, max(self._lacking, min(self.request.wanted, LEAST_AT_ONCE)))

    def begin_round(self, number: int) -> None:
        """Lower the confidence, and take the deferred candidates that reach it now, the most probable first."""
        self.rounds, self.confidence = number + 1, confidence_of_round(self.request, number)
        self._take_deferred(self._lacking)

    def _take_deferred(self, lacking: int) -> int:
        """Decide on the most probable until `lacking` of them are kept, and return how many were."""
        likely, self.deferred = split_by_confidence(self.deferred, self.confidence)
        before = len(self.writer.candidates)
        while likely and len(self.writer.candidates) - before < lacking:
            self._decide(likely.pop())
        self.deferred += likely
        return len(self.writer.candidates) - before

    def settle(self, proposals: list[Candidate], report: Report) -> None:
        """Relax and assess proposals, best first, until enough are found or the budget is spent."""
        if self.assessment.another_try:
            self.proposed = Uniqueness(self.writer.candidates)
        kept, dropped = checked_before_relaxation(
            proposals, self.assessment.candidate_checks.before_relaxing(), self.proposed
        )
        for candidate in dropped:
            self._reject(candidate)
        met = self.settled.union(one.name for one in self.deferred)
        waiting = [candidate for candidate in kept if candidate.name not in met]
        self._report(report)
        layouts = {one.name: layout_of(one) for one in waiting} if self.variety.limited else {}
        while waiting and not self.over:
            waiting = self._relax_and_assess(waiting, layouts, report)

    def _relax_and_assess(
        self, waiting: list[Candidate], layouts: Mapping[str, Layout | None], report: Report
    ) -> list[Candidate]:
        """Relax and assess proposals in order; return the rest once restarting without superfluous ones pays."""

        def superfluous(one: Candidate) -> bool:
            return self.variety.superfluous(layouts.get(one.name))

        skipped = {one.name for one in waiting if superfluous(one)}
        with closing(self.assessment.relaxed([one for one in waiting if one.name not in skipped])) as relaxed:
            for place, proposal in enumerate(waiting, 1):
                candidate = proposal if proposal.name in skipped else next(relaxed)
                if proposal.name in skipped or superfluous(proposal):
                    self._reject(replace(proposal, verdicts=self.variety.verdicts(layouts.get(proposal.name))))
                else:
                    self._assess(candidate)
                self._report(report)
                self.await_verdicts(report)
                if self.over:
                    return []
                rest = waiting[place:]
                if sum(superfluous(one) and one.name not in skipped for one in rest) >= WORTH_A_STOP:
                    return rest
        return []

    def fill_up(self) -> int:
        """Keep the best of those that wait, deferred ones first, then those beyond the variety, as many as lack.

        Returns:
            Number kept; once they are calculated, others may lack.
        """
        self.confidence, lacking = 0.0, self._lacking
        kept = self._take_deferred(lacking)
        chosen = self.variety.best_waiting(lacking - kept)
        for candidate in chosen:
            self._keep(candidate)
        if chosen:
            self.tally[VARIETY] -= len(chosen)
            self.tally += Counter()  # drops zeros
            names = {candidate.name for candidate in chosen}
            self.rejects.write(one for one in self.rejects.read() if one.name not in names)
        return kept + len(chosen)

    def dismiss(self) -> None:
        """Reject the deferred candidates that were never needed."""
        for candidate in self.deferred:
            self._reject(dismissed(candidate))
        self.deferred = []

    def await_verdicts(self, report: Report, *, to_the_end: bool = False) -> None:
        """Submit candidates for calculation, and wait while running calculations may complete the search.

        A refuted candidate is replaced: the search goes on.

        Args:
            report: hears the progress.
            to_the_end: wait in any case, until the budget is spent.
        """
        if self.verification is None:
            return
        self._take_results(self.verification)
        while self.verification.at_work and (to_the_end or not self._lacking) and not (self.complete or self.late):
            self.verification.wait(min(self.deadline - time.perf_counter(), LONGEST_WAIT))
            self._take_results(self.verification)
            at_work, to_confirm = self.verification.at_work, self.request.verification.n
            report("verify", self.confirmed, to_confirm, refuted=self.refuted, at_work=at_work)

    def _take_results(self, verification: Verification) -> None:
        """Take results, and submit as many candidates as may still be needed, in the order of their finding."""
        if results := dict(verification.finished()):
            self.writer.revise(with_results(self.writer.candidates, results, verification.target))
            self.variety.refuted = self.refuted
        for candidate in self.writer.candidates:
            needed = self.confirmed + verification.at_work < verification.wanted
            if rank(candidate) == UNVERIFIED and (needed or verification.knows(candidate)):
                verification.submit(candidate)

    @property
    def _standing(self) -> int:
        return len(self.writer.candidates) - self.refuted

    @property
    def _lacking(self) -> int:
        """Number still needed if all running calculations confirm; once it is late, none are calculated any more."""
        at_work = self.verification.at_work if self.verification else 0
        unconfirmed = 0 if self.late else self.request.verification.n - self.confirmed - at_work
        return max(0, self.request.wanted - self._standing, unconfirmed)

    def outcome(self, folder: Path, seconds: float) -> Outcome:
        """Return what the run came to; with verification, rank the candidates by its verdicts."""
        if self.request.verification.n:
            self.writer.arrange(rank)
        candidates, rejected = tuple(self.writer.candidates), dict(self.tally.most_common())
        proposals = len(candidates) + sum(rejected.values())
        ending = Ending(
            self.request,
            self.variety,
            standing=self._standing,
            confirmed=self.confirmed,
            refuted=self.refuted,
            proposals=proposals,
            rejected=rejected,
            beyond=sum(not one.verdicts[VARIETY].passed for one in candidates if VARIETY in one.verdicts),
            rounds=self.rounds,
            complete=self.complete,
            late=self.late,
        )
        return Outcome(folder, self.request.wanted, candidates, proposals, rejected, ending.reason, seconds)

    def _report(self, report: Report) -> None:
        counts = {f"not_{name}": count for name, count in self.tally.most_common()}
        if self.verification is not None:
            counts |= {"confirmed": self.confirmed, "refuted": self.refuted}
        report("relax and check", len(self.writer.candidates), self.request.wanted, **counts)

    def _assess(self, candidate: Candidate) -> None:
        """Predict and check a relaxed proposal; keep, defer or reject it."""
        unfit = self.assessment.unfit(candidate)
        if unfit is not None:
            self._reject(replace(candidate, verdicts={unfit.name: unfit}))
            return
        try:
            candidate = replace(candidate, properties=self.assessment.predicted(candidate))
        except NoTemplateError as error:
            unseen = Verdict("symmetry", passed=False, value=math.nan, unit="", reason=str(error))
            self._reject(replace(candidate, verdicts={unseen.name: unseen}))
            return
        verdicts = validate(candidate, self.assessment.candidate_checks.checks)
        if not self.assessment.candidate_checks.deciding_failure(verdicts):
            verdicts["unique"] = self.unique.verdict(candidate)
        candidate = replace(candidate, verdicts=verdicts)
        if self.assessment.candidate_checks.deciding_failure(verdicts):
            self._reject(candidate)
        elif probability(candidate) < self.confidence:
            self.deferred.append(candidate)
        else:
            self._decide(candidate)

    def _decide(self, candidate: Candidate) -> None:
        """Keep a candidate that passes every check, unless there are enough of its Wyckoff layout."""
        candidate = replace(candidate, verdicts=candidate.verdicts | self.variety.verdicts(layout_of(candidate)))
        if self.assessment.candidate_checks.deciding_failure(candidate.verdicts):
            self._reject(candidate)
        else:
            self._keep(candidate)

    def _keep(self, candidate: Candidate) -> None:
        candidate = self.assessment.afterwards(candidate)
        candidate = replace(candidate, family=self.families.add(candidate))
        self.settled.add(candidate.name)
        self.variety.found(candidate)
        self.found(self.writer.write(candidate))

    def _reject(self, candidate: Candidate) -> None:
        if candidate.name not in self.settled:
            self._count_rejected(candidate)
            self.rejects.append(candidate)

    def _rejected_before(self, candidate: Candidate) -> None:
        """Count a proposal rejected by an earlier call; defer it again if it was not needed then, and may be now."""
        waiting = None if self.complete else deferred_again(candidate, self.assessment.candidate_checks)
        if waiting is None:
            self._count_rejected(candidate)
        else:
            self.deferred.append(waiting)

    def _count_rejected(self, candidate: Candidate) -> None:
        self.settled.add(candidate.name)
        failed = self.assessment.candidate_checks.deciding_failure(candidate.verdicts)
        self.tally[failed] += 1
        if failed == VARIETY:
            self.variety.rejected(candidate)
