"""The search among proposals: relax best first, check, keep what is new, note why the rest is not."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from matgen.checks.crystals import validate
from matgen.generation.predictors import EVALUATOR
from matgen.generation.request import Request, confidence_of_round
from matgen.runtime.progress import Report
from matgen.search.assessment import Assessment, assessment_of
from matgen.search.selection import Uniqueness, worthwhile
from matgen.search.variety import VARIETY, WORTH_A_STOP, Families, Variety, layout_of
from matgen.search.verification import REFUTED, UNVERIFIED, Verification, rank, with_result
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.export import CandidateWriter
from matgen.templates.prototypes import Layout
from matgen.templates.symmetry import NoTemplateError

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


NOT_NEEDED = Verdict("surer", passed=False, value=math.nan, unit="", reason="enough surer candidates were found")
"""Of a candidate that was not sure enough, and never needed."""


def probability(candidate: Candidate) -> float:
    """That the wish that is least likely to be met is met; 1 where nothing is wished for."""
    told = [p.probability for name, p in candidate.properties.items() if not name.startswith(EVALUATOR)]
    return min((p for p in told if not math.isnan(p)), default=1.0)


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
        assessment: relaxes and judges.
        rejects: keeps the others.
        unique: structures of the candidates.
        proposed: structures of all proposals so far, unrelaxed.
        variety: how many of each layout are found, and who waits because of it.
        families: candidates by chemistry.
        settled: names on which the decision has fallen.
        tally: how many each check turned away.
        doubtful: candidates whose wishes are not sure enough of being met, for the time being.
        confidence: least probability for the time being.
        verification: calculates candidates meanwhile; None where none is asked for.
        deadline: on the clock of `time.perf_counter`, when the budget is spent.
        rounds: how many were begun.
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
    doubtful: list[Candidate] = field(default_factory=list)
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
        """With everything that an earlier call left in the folder."""
        assessment = assessment_of(request)
        names = {candidate.name for candidate in writer.candidates}
        rejected = [candidate for candidate in rejected_file(writer.folder).read() if candidate.name not in names]
        variety = Variety.of(request)
        search = cls(
            request,
            writer,
            found,
            assessment,
            rejects=rejected_file(writer.folder),
            unique=assessment.uniqueness(),
            proposed=assessment.uniqueness(),
            variety=variety,
            families=Families(writer.candidates),
            deadline=deadline,
            verification=verification,
        )
        for candidate in writer.candidates:
            search.settled.add(candidate.name)
            variety.found(candidate)
            found(candidate)
        variety.refuted = search.refuted
        for candidate in rejected:
            search._turned_away_before(candidate)
        if search.doubtful:
            search.rejects.write(one for one in rejected if one.name in search.settled)
        search.unique = assessment.uniqueness([*writer.candidates, *variety.waiting, *search.doubtful])
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
        """Whether enough are found, other layouts were looked for long enough, or the budget is spent."""
        return self.complete or self.variety.exhausted or self.late

    @property
    def late(self) -> bool:
        """Whether the budget is spent."""
        return time.perf_counter() > self.deadline

    @property
    def asked(self) -> int:
        """Candidates that the next round is to propose for: those missing, but neither few nor many at once."""
        return min(MOST_AT_ONCE, max(self._lacking, min(self.request.wanted, LEAST_AT_ONCE)))

    def begin_round(self, number: int) -> None:
        """Ask for less confidence than before, and take who was not sure enough then and is now, the surest first."""
        self.rounds = number + 1
        self.confidence = confidence_of_round(self.request, number)
        self._take_doubtful(self._lacking)

    def _take_doubtful(self, lacking: int) -> int:
        """Decide on the surest until so many are kept; how many were."""
        sure = sorted((one for one in self.doubtful if probability(one) >= self.confidence), key=probability)
        names = {one.name for one in sure}
        self.doubtful = [one for one in self.doubtful if one.name not in names]
        before = len(self.writer.candidates)
        while sure and len(self.writer.candidates) - before < lacking:
            self._decide(sure.pop())
        self.doubtful += sure
        return len(self.writer.candidates) - before

    def settle(self, proposals: list[Candidate], report: Report) -> None:
        """Relax and judge proposals, best first, until enough are found or the budget is spent."""
        if self.assessment.another_try:
            self.proposed = self.assessment.uniqueness(self.writer.candidates)
        kept, dropped = worthwhile(proposals, self.assessment.rulebook.before_relaxing(), self.proposed)
        for candidate in dropped:
            self._reject(candidate)
        met = self.settled.union(one.name for one in self.doubtful)
        waiting = [candidate for candidate in kept if candidate.name not in met]
        self._tell(report)
        layouts = {one.name: layout_of(one) for one in waiting} if self.variety.limited else {}
        while waiting and not self.over:
            waiting = self._worked_off(waiting, layouts, report)

    def _worked_off(
        self, waiting: list[Candidate], layouts: Mapping[str, Layout | None], report: Report
    ) -> list[Candidate]:
        """What is left of the proposals when it pays to begin anew without those that became superfluous."""

        def superfluous(one: Candidate) -> bool:
            return self.variety.superfluous(layouts.get(one.name))

        idle = {one.name for one in waiting if superfluous(one)}
        with closing(self.assessment.relaxed([one for one in waiting if one.name not in idle])) as relaxed:
            for place, proposal in enumerate(waiting, 1):
                candidate = proposal if proposal.name in idle else next(relaxed)
                if proposal.name in idle or superfluous(proposal):
                    self._reject(replace(proposal, verdicts=self.variety.verdicts(layouts.get(proposal.name))))
                else:
                    self._evaluator(candidate)
                self._tell(report)
                self.await_verdicts(report)
                if self.over:
                    return []
                rest = waiting[place:]
                if sum(superfluous(one) and one.name not in idle for one in rest) >= WORTH_A_STOP:
                    return rest
        return []

    def fill_up(self) -> int:
        """Keep the best of those that wait: who is less sure, then who waits for variety's sake, as many as lack.

        Returns:
            How many were kept; once they are calculated, others may lack.
        """
        self.confidence, lacking = 0.0, self._lacking
        kept = self._take_doubtful(lacking)
        chosen = self.variety.best_waiting(lacking - kept)
        for candidate in chosen:
            self._keep(candidate)
        if chosen:
            self.tally[VARIETY] -= len(chosen)
            self.tally += Counter()  # without zeros
            names = {candidate.name for candidate in chosen}
            self.rejects.write(one for one in self.rejects.read() if one.name not in names)
        return kept + len(chosen)

    def dismiss(self) -> None:
        """Turn away who was not sure enough, and never needed."""
        for candidate in self.doubtful:
            self._reject(replace(candidate, verdicts=candidate.verdicts | {NOT_NEEDED.name: NOT_NEEDED}))
        self.doubtful = []

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
        while self.verification.at_work and (to_the_end or self._enough()) and not (self.complete or self.late):
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
            self.writer.revise(told)
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
        """How many more are needed if all at work are confirmed; when it is late, nothing more is calculated."""
        at_work = self.verification.at_work if self.verification else 0
        unconfirmed = 0 if self.late else self.request.verify - self.confirmed - at_work
        return max(0, self.request.wanted - self._standing, unconfirmed)

    def _enough(self) -> bool:
        return not self._lacking

    def outcome(self, folder: Path, seconds: float) -> Outcome:
        """What it all came to."""
        found, wanted = len(self.writer.candidates), self.request.wanted
        proposals = found + sum(self.tally.values())
        reason = f"found all {wanted}" if self._standing >= wanted else f"found {self._standing} of {wanted}"
        if not self.complete:
            if self.confirmed < self.request.verify:
                reason += f" and confirmed {self.confirmed} of {self.request.verify}"
            most = ", ".join(f"{name} {count}" for name, count in self.tally.most_common(3))
            spent, advice = self._why_not()
            reason += f": {spent} ({proposals} looked at; turned away by {most or 'nothing'}); {advice}"
        if self.request.verify:
            self.writer.arrange(rank)
            reason += f"; first principles confirm {self.confirmed} and refute {self.refuted}"
        candidates = tuple(self.writer.candidates)
        beyond = sum(not one.verdicts[VARIETY].passed for one in candidates if VARIETY in one.verdicts)
        if beyond:
            reason += f"; {beyond} are beyond the {self.variety.most} of one layout, for want of others"
        return Outcome(folder, wanted, candidates, proposals, dict(self.tally.most_common()), reason, seconds)

    def _why_not(self) -> tuple[str, str]:
        """Why a search ended before enough were found, and what to do."""
        if self.late:
            minutes = self.request.budget
            return f"the budget of {minutes:g} minutes is spent", "widen the wish, or raise the budget"
        if self.variety.exhausted or self.rounds < self.request.rounds:
            away = self.variety.turned_away
            return f"other layouts were looked for in vain, {away} times", "widen the wish, or lower the variety"
        rounds = self.request.rounds
        return f"{rounds} rounds of proposals are used up", "widen the wish, or raise rounds in the configuration"

    def _tell(self, report: Report) -> None:
        away = {f"not_{name}": count for name, count in self.tally.most_common()}
        if self.verification is not None:
            away |= {"confirmed": self.confirmed, "refuted": self.refuted}
        report("relax and check", len(self.writer.candidates), self.request.wanted, **away)

    def _evaluator(self, candidate: Candidate) -> None:
        unfit = self.assessment.unfit(candidate)
        if unfit is not None:
            self._reject(replace(candidate, verdicts={unfit.name: unfit}))
            return
        try:
            candidate = replace(candidate, properties=self.assessment.opinions(candidate))
        except NoTemplateError as error:
            unseen = Verdict("symmetry", passed=False, value=math.nan, unit="", reason=str(error))
            self._reject(replace(candidate, verdicts={unseen.name: unseen}))
            return
        verdicts = validate(candidate, self.assessment.rulebook.checks)
        if not self.assessment.rulebook.objection(verdicts):
            verdicts["unique"] = self.unique.verdict(candidate)
        candidate = replace(candidate, verdicts=verdicts)
        if self.assessment.rulebook.objection(verdicts):
            self._reject(candidate)
        elif probability(candidate) < self.confidence:
            self.doubtful.append(candidate)
        else:
            self._decide(candidate)

    def _decide(self, candidate: Candidate) -> None:
        """Keep one that no check speaks against, unless there are enough of its layout."""
        verdicts = candidate.verdicts | self.variety.verdicts(layout_of(candidate))
        candidate = replace(candidate, verdicts=verdicts)
        if self.assessment.rulebook.objection(verdicts):
            self._reject(candidate)
            return
        self._keep(candidate)

    def _keep(self, candidate: Candidate) -> None:
        candidate = self.assessment.afterwards(candidate)
        candidate = replace(candidate, family=self.families.add(candidate))
        self.settled.add(candidate.name)
        self.variety.found(candidate)
        self.found(self.writer.write(candidate))

    def _reject(self, candidate: Candidate) -> None:
        if candidate.name in self.settled:
            return
        self._count(candidate)
        self.rejects.append(candidate)

    def _turned_away_before(self, candidate: Candidate) -> None:
        """Count one of an earlier call; if it merely was not needed, and more are asked for now, it waits again."""
        others = {name: verdict for name, verdict in candidate.verdicts.items() if name != NOT_NEEDED.name}
        not_needed = NOT_NEEDED.name in candidate.verdicts and not self.assessment.rulebook.objection(others)
        if not_needed and not self.complete:
            self.doubtful.append(replace(candidate, verdicts=others))
        else:
            self._count(candidate)

    def _count(self, candidate: Candidate) -> None:
        self.settled.add(candidate.name)
        blamed = self._blamed(candidate)
        self.tally[blamed] += 1
        if blamed == VARIETY:
            self.variety.rejected(candidate)

    def _blamed(self, candidate: Candidate) -> str:
        return self.assessment.rulebook.objection(candidate.verdicts)
