"""What a run came to, and why it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from matgen.generation.request import Request
from matgen.search.variety import Variety
from matgen.structures.candidate import Candidate


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: of the run.
        requested: number of candidates requested.
        candidates: in the order in which they were found.
        proposals: number of proposals assessed.
        rejected: number rejected by each check, the most frequent first.
        reason: why the run ended.
        seconds: wall time of this call.
        given_up: numbers of the units of work that were given up.
        reasons: why they were, by number.
    """

    folder: Path
    requested: int
    candidates: tuple[Candidate, ...]
    proposals: int
    rejected: dict[str, int]
    reason: str
    seconds: float
    given_up: tuple[int, ...] = ()
    reasons: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """The state in which a search ended, from which its reason is worded.

    Attributes:
        request: of the run.
        variety: limits on Wyckoff layouts.
        standing: candidates that first principles do not refute.
        confirmed: candidates that first principles confirm.
        refuted: candidates that first principles refute.
        proposals: number of proposals assessed.
        rejected: number rejected by each check, the most frequent first.
        beyond: candidates beyond the limit on their layout.
        units: number of units of work decided on.
        limit: number of units after which there are no more.
        complete: whether enough were found and confirmed.
        late: whether the budget is spent.
    """

    request: Request
    variety: Variety
    standing: int
    confirmed: int
    refuted: int
    proposals: int
    rejected: Mapping[str, int]
    beyond: int
    units: int
    limit: int
    complete: bool
    late: bool

    @property
    def reason(self) -> str:
        """Why the search ended, in words."""
        wanted, to_confirm = self.request.wanted, self.request.verification.n
        reason = f"found all {wanted}" if self.standing >= wanted else f"found {self.standing} of {wanted}"
        if unknown := self.request.unknown_chemistry:
            reason += f", of a composition that no known chemistry forms: {unknown}"
        if not self.complete:
            if self.confirmed < to_confirm:
                reason += f" and confirmed {self.confirmed} of {to_confirm}"
            most = ", ".join(f"{name} {count}" for name, count in list(self.rejected.items())[:3])
            spent, advice = self._spent()
            reason += f": {spent} ({self.proposals} assessed; rejected by {most or 'nothing'}); {advice}"
        if to_confirm:
            reason += f"; first principles confirm {self.confirmed} and refute {self.refuted}"
        if self.beyond:
            reason += f"; {self.beyond} are beyond the {self.variety.most} of one Wyckoff layout, for lack of others"
        return reason

    def _spent(self) -> tuple[str, str]:
        """Say what was used up before enough were found, and what to do."""
        if self.late:
            minutes = self.request.search.budget
            return f"the budget of {minutes:g} minutes is spent", "widen the target, or raise the budget"
        if self.variety.exhausted or self.units < self.limit:
            count = self.variety.turned_away
            return f"no other Wyckoff layouts were found in {count} tries", "widen the target, or lower the variety"
        if self.request.possible and self.units >= self.limit:
            spent = f"all {self.request.possible} that can be made of the host are assessed"
            return spent, f"{'widen the target, or ' if self.request.targets else ''}allow other changes of the host"
        rounds = self.request.search.rounds
        return f"{rounds} rounds of proposals are used up", "widen the target, or raise rounds in the configuration"
