"""The decisions of a search: which proposals of finished units are kept, in the order of units.

Everything that depends on more than one unit is decided here: uniqueness, variety, confidence, verification. Units are
decided on in the order of their numbers, so that the candidates do not depend on which unit was finished first.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from matgen.generation.acceptance import confidence_of_round
from matgen.generation.host_plan import DefectPlan
from matgen.generation.request import Request
from matgen.runtime.progress import Report
from matgen.screening.uniqueness import Uniqueness
from matgen.search.by_energy import order_of
from matgen.search.deferred import NOT_NEEDED, Deferred, deferred_again, probability
from matgen.search.distinct import Distinct, uniqueness_of
from matgen.search.host_energy import order_by_host
from matgen.search.outcome import Ending, Outcome
from matgen.search.rejected import RejectedFile
from matgen.search.unit_format import REJECTED_BY, Passed, Unit, passed_of
from matgen.search.units import most_units, units_per_round
from matgen.search.variety import VARIETY, Families, Variety, likeness_and_family
from matgen.search.verification import REFUTED, UNVERIFIED, Verification, rank, with_results
from matgen.structures.candidate import Candidate
from matgen.structures.export import CandidateWriter
from matgen.structures.record import Record

LONGEST_WAIT = 5.0
"""Seconds between progress reports while calculations are awaited."""

AMPLE = 2
"""Units begun per unit that is likely to be needed."""


@dataclass
class Search:
    """The state of a run: what was found, what was rejected.

    Attributes:
        request: of the run.
        writer: stores the candidates.
        found: receives each candidate.
        rejects: stores the rejected proposals.
        variety: how many candidates of each Wyckoff layout are found, and which wait because of it.
        deadline: end of the budget on the clock of `time.perf_counter`.
        verification: calculates candidates in parallel; None if the request does not ask for it.
        unique: structures of the proposals that pass every check of their own.
        families: candidates by chemistry.
        settled: names of the candidates and the rejected proposals.
        tally: number rejected by each check.
        deferred: proposals whose targets are not yet likely enough to be met.
        confidence: least probability in the current round.
        units: number of units decided on.
    """

    request: Request
    writer: CandidateWriter
    found: Callable[[Candidate], None]
    rejects: RejectedFile
    variety: Variety
    deadline: float = math.inf
    verification: Verification | None = None
    unique: Uniqueness | Distinct = field(default_factory=Uniqueness)
    families: Families = field(default_factory=Families)
    settled: set[str] = field(default_factory=set)
    tally: Counter[str] = field(default_factory=Counter)
    deferred: Deferred = field(default_factory=Deferred)
    confidence: float = 0.0
    units: int = 0
    _units_per_round: int = field(init=False)
    _revived: set[str] = field(default_factory=set)
    _ranks: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Note what hangs on the request alone."""
        self._units_per_round = units_per_round(self.request)

    @classmethod
    def resumed(
        cls,
        request: Request,
        writer: CandidateWriter,
        found: Callable[[Candidate], None],
        deadline: float = math.inf,
        verification: Verification | None = None,
    ) -> "Search":
        """Make a search with everything that an earlier call left in the folder.

        The units of that call are to be taken again: what it decided stays as it is.
        """
        search = cls(
            request,
            writer,
            found,
            RejectedFile(writer.folder),
            Variety.of(request),
            deadline=deadline,
            verification=verification,
            unique=uniqueness_of(request),
        )
        search._rank()
        for candidate in writer.candidates:
            search.settled.add(candidate.name)
            _, likeness, family = likeness_and_family(candidate)
            search.families.add(candidate, family)
            search.variety.counts[likeness] += 1
            found(candidate)
        search._take_rejected([one for one in search.rejects.records() if one["name"] not in search.settled])
        return search

    @property
    def complete(self) -> bool:
        """Whether enough are found, and enough of them confirmed."""
        return not self._lacking and self.confirmed >= self.request.verification.n

    @property
    def confirmed(self) -> int:
        """Number of candidates that first principles confirm."""
        return self._ranks[0]

    @property
    def refuted(self) -> int:
        """Number of candidates that first principles refute, each of which needs a replacement."""
        return self._ranks[REFUTED]

    @property
    def over(self) -> bool:
        """Whether enough are found, no other Wyckoff layouts are found, or the budget is spent."""
        return self.complete or self.variety.exhausted or self.late

    @property
    def late(self) -> bool:
        """Whether the budget is spent."""
        return time.perf_counter() > self.deadline

    @property
    def ahead(self) -> int:
        """Number of units that are likely to be needed, `AMPLE` times over; it decides nothing but work."""
        return max(1, -(-AMPLE * self._lacking * (self.units + 1) // (len(self.writer.candidates) + 1)))

    @property
    def limit(self) -> int:
        """Number of units after which there are no more."""
        return most_units(self.request)

    def take(self, unit: Unit, report: Report) -> None:
        """Decide on the proposals of the next unit, best first, until enough are found."""
        deque(self.taking(unit, report), maxlen=0)

    def taking(self, unit: Unit, report: Report) -> Generator[Self]:
        """Do as `take`, and yield this search after each decision; `report` hears of calculations that are awaited."""
        self.begin(unit.number)
        yield self
        for record in unit.proposals:
            if self.complete or self.variety.exhausted:
                break
            self._take(record)
            yield self
            self.await_verdicts(report)
        self._wait_for_disk()

    def begin(self, number: int) -> None:
        """Lower the confidence to that of a unit, and take the deferred proposals that reach it now."""
        self.units = number + 1
        self.confidence = confidence_of_round(self.request, number // self._units_per_round)
        self._take_deferred(self._lacking)

    def _take(self, record: Record) -> None:
        """Decide on a proposal, unless an earlier call did."""
        one = passed_of(record)
        if record["name"] in self.settled or record["name"] in self._revived:
            if one is not None:
                self.unique.verdict(one.candidate)
        elif one is None:
            self._reject(record)
        else:
            one = one.with_verdicts({"unique": self.unique.verdict(one.candidate)})
            if not one.candidate.verdicts["unique"].passed:
                self._reject(one.record("unique"))
            elif probability(one) < self.confidence:
                self.deferred.add(one)
            else:
                self._decide(one)

    def _take_deferred(self, lacking: int) -> int:
        """Decide on the most probable until `lacking` of them are kept; return how many were."""
        before = len(self.writer.candidates)
        while len(self.writer.candidates) - before < lacking:
            one = self.deferred.most_probable(self.confidence)
            if one is None:
                break
            self._decide(one)
        return len(self.writer.candidates) - before

    def fill_up(self) -> int:
        """Keep the best of those that wait, deferred ones first, then those beyond the variety, as many as lack.

        Returns:
            Number kept; once they are calculated, others may lack.
        """
        self.confidence, lacking = 0.0, self._lacking
        kept = self._take_deferred(lacking)
        self.rejects.flush()
        chosen = self.variety.best_waiting(lacking - kept)
        for one in chosen:
            self._keep(one)
        if chosen:
            self.tally[VARIETY] -= len(chosen)
            self.tally += Counter()  # drops zeros
            names = {one.name for one in chosen}
            self.rejects.write(one for one in self.rejects.records() if one["name"] not in names)
        self._wait_for_disk()
        return kept + len(chosen)

    def dismiss(self) -> None:
        """Reject the deferred proposals that were never needed."""
        for one in self.deferred.dismissed():
            self._reject(one.record(NOT_NEEDED.name))
        self._wait_for_disk()

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
            self._rank()
        for candidate in self.writer.candidates:
            needed = self.confirmed + verification.at_work < verification.wanted
            if rank(candidate) == UNVERIFIED and (needed or verification.knows(candidate)):
                verification.submit(candidate)

    def _rank(self) -> None:
        """Count the candidates that first principles confirm and refute."""
        self._ranks = Counter(map(rank, self.writer.candidates))
        self.variety.refuted = self.refuted

    @property
    def _standing(self) -> int:
        return len(self.writer.candidates) - self.refuted

    @property
    def _lacking(self) -> int:
        """Number still needed if all running calculations confirm; once it is late, none are calculated any more."""
        at_work = self.verification.at_work if self.verification else 0
        unconfirmed = 0 if self.late else self.request.verification.n - self.confirmed - at_work
        return max(0, self.request.wanted - self._standing, unconfirmed)

    def outcome(self, folder: Path, seconds: float, given_up: tuple[int, ...] = ()) -> Outcome:
        """Return what the run came to; crystals of a formula are ranked by energy, verified ones by verdict first."""
        if self.request.kind == "crystal" and self.request.composition.formula:
            self.writer.arrange(order_of)
        if isinstance(self.request.host_plan, DefectPlan):
            self.writer.arrange(order_by_host)
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
            units=self.units,
            limit=self.limit,
            complete=self.complete,
            late=self.late,
        )
        return Outcome(folder, self.request.wanted, candidates, proposals, rejected, ending.reason, seconds, given_up)

    def report(self, report: Report, at_work: int) -> None:
        """Report the progress, and the number of units that workers are making."""
        counts = {"units": self.units, "at_work": at_work, "waiting": len(self.deferred)}
        counts |= {f"not_{name}": count for name, count in self.tally.most_common()}
        if self.verification is not None:
            counts |= {"confirmed": self.confirmed, "refuted": self.refuted}
        report("search", len(self.writer.candidates), self.request.wanted, **counts)

    def _decide(self, one: Passed) -> None:
        """Keep a proposal that passes every check, unless there are enough of its Wyckoff layout."""
        verdicts = self.variety.verdicts(one)
        one = one.with_verdicts(verdicts)
        if all(verdict.passed for verdict in verdicts.values()):
            self._keep(one)
        else:
            self._reject(one.record(VARIETY))
            self.variety.rejected(one)

    def _keep(self, one: Passed) -> None:
        self.rejects.flush()
        candidate = replace(one.candidate, family=self.families.add(one.candidate, one.family))
        self.settled.add(one.name)
        self.variety.counts[one.likeness] += 1
        self.found(self.writer.write(candidate, one.file, wait=False))

    def _wait_for_disk(self) -> None:
        """Wait for the decisions on a unit; until then, the unit itself is on the disk, and decides the same again."""
        self.writer.wait_for_disk()
        self.rejects.wait_for_disk()

    def _reject(self, record: Record) -> None:
        self.settled.add(record["name"])
        self.tally[record[REJECTED_BY]] += 1
        self.rejects.add(record)

    def _take_rejected(self, records: list[Record]) -> None:
        """Count proposals rejected by an earlier call; defer those again that were not needed then, and may be now."""
        complete, kept = self.complete, []
        for record in records:
            one = passed_of(record) if record[REJECTED_BY] in {NOT_NEEDED.name, VARIETY} else None
            if one is not None and record[REJECTED_BY] == NOT_NEEDED.name and not complete:
                self.deferred.add(deferred_again(one))
                self._revived.add(one.name)
                continue
            kept.append(record)
            self.settled.add(record["name"])
            self.tally[record[REJECTED_BY]] += 1
            if one is not None and record[REJECTED_BY] == VARIETY:
                self.variety.rejected(one)
        if self._revived:
            self.rejects.write(kept)
