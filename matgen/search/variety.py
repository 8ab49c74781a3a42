"""How much alike the candidates of a run may be: a limit on each layout, and families of near-repeats."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from pymatgen.core.structure import Structure

from matgen.generation.request import Request
from matgen.metrics.shares import template_of
from matgen.structures.candidate import Candidate, Verdict
from matgen.templates.families import family
from matgen.templates.molecule import MoleculeTemplate, scaffold
from matgen.templates.prototypes import Layout, layout, layout_label

VARIETY = "variety"
"""Name of the verdict."""

PATIENCE = 10
"""Proposals turned away for variety alone, for each candidate wanted, after which no other layout is looked for."""

WORTH_A_STOP = 16
"""Proposals at work that are not needed any more, from which on it pays to begin the relaxations anew without them."""


@dataclass
class Variety:
    """The candidates of a run by likeness, and those that wait because there are enough of theirs.

    As long as too few are found and waiting together, whoever is over the limit is relaxed and judged like all others,
    and waits: if other layouts are not found in time, the best of them fill up the number. After that they are turned
    away before they are relaxed. Molecules have no limit (`Request.most_alike`): they are counted, and nothing else.

    Attributes:
        wanted: candidates.
        most: of one layout.
        counts: candidates found by likeness, for which proposals that repeat them pay.
        waiting: those that nothing but variety speaks against.
        turned_away: how many nothing else spoke against, relaxed or not.
        refuted: how many of those found do not count, since first principles speak against them.
    """

    wanted: int
    most: int
    counts: Counter[Hashable] = field(default_factory=Counter)
    waiting: list[Candidate] = field(default_factory=list)
    turned_away: int = 0
    refuted: int = 0

    @classmethod
    def of(cls, request: Request) -> "Variety":
        """As a request asks for it."""
        return cls(request.wanted, request.most_alike)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.most < self.wanted

    @property
    def enough(self) -> bool:
        """Whether those found and those that wait are as many as are wanted."""
        return self.counts.total() - self.refuted + len(self.waiting) >= self.wanted

    @property
    def exhausted(self) -> bool:
        """Whether enough wait, and other layouts were looked for long enough."""
        return self.limited and self.enough and self.turned_away >= PATIENCE * self.wanted

    def superfluous(self, one: Layout | None) -> bool:
        """Whether no more proposals of this layout need be relaxed; what is superfluous once stays so."""
        return self.limited and self.enough and self.counts[one] >= self.most

    def verdicts(self, one: Layout | None) -> dict[str, Verdict]:
        """The verdict on one more candidate of this layout; none where there is no limit."""
        if not self.limited or one is None:
            return {}
        count, name = self.counts[one], layout_label(one)
        passed = count < self.most
        reason = f"number {count + 1} of at most {self.most} of the layout {name}"
        if not passed:
            reason = f"{self.most} of {self.wanted} have the layout {name} already"
        return {VARIETY: Verdict(VARIETY, passed=passed, value=float(count), unit="", reason=reason)}

    def found(self, candidate: Candidate) -> None:
        """Count a candidate."""
        self.counts[likeness_of(candidate)] += 1

    def rejected(self, candidate: Candidate) -> None:
        """Count one that variety alone speaks against; it waits if it was judged."""
        self.turned_away += 1
        if len(candidate.verdicts) > 1:
            self.waiting.append(candidate)

    def best_waiting(self, missing: int) -> list[Candidate]:
        """At most so many of those that wait, the lowest energy first; they wait no longer."""
        chosen = sorted(self.waiting, key=total_energy)[:missing]
        names = {one.name for one in chosen}
        self.waiting = [one for one in self.waiting if one.name not in names]
        return chosen


class Families:
    """Candidates by chemistry, and the best of each family.

    Args:
        known: candidates to begin with.
    """

    def __init__(self, known: Sequence[Candidate] = ()) -> None:
        self._family: dict[str, Hashable] = {}
        self._best: dict[Hashable, Candidate] = {}
        for candidate in known:
            self.add(candidate)

    def add(self, candidate: Candidate) -> str:
        """Remember a candidate, and tell the name of the best of its family so far; empty for a molecule."""
        if not isinstance(candidate.structure, Structure):
            return ""
        template = template_of(candidate.structure)
        key: Hashable = candidate.name if template is None else family(template)
        self._family[candidate.name] = key
        best = self._best.setdefault(key, candidate)
        if total_energy(candidate) < total_energy(best):
            self._best[key] = candidate
        return self._best[key].name

    def best(self, name: str) -> str:
        """Name of the best of the family of a candidate that was added; empty where it has none."""
        return self._best[self._family[name]].name if name in self._family else ""


def total_energy(candidate: Candidate) -> float:
    """The sum of all terms, before relaxation."""
    return sum(candidate.energies.values())


def layout_of(candidate: Candidate) -> Layout | None:
    """The layout of a structure as it is now; None for a molecule, and where its symmetry cannot be found."""
    template = template_of(candidate.structure) if isinstance(candidate.structure, Structure) else None
    return None if template is None else layout(template)


def likeness_of(candidate: Candidate) -> Hashable:
    """What a candidate has in common with its repetitions, as `Kind.likeness` tells it of proposals.

    The layout, or a molecule's rings and what joins them; a crystal whose symmetry cannot be found is like no other.
    """
    if isinstance(candidate.structure, Structure):
        return layout_of(candidate) or candidate.name
    return scaffold(MoleculeTemplate.of(candidate.template))
