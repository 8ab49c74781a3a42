"""Variety among the candidates of a run: a limit on each Wyckoff layout, and families of near-repeats."""

from collections import Counter
from dataclasses import dataclass, field

from pymatgen.core.structure import Structure

from matgen.generation.request import Request
from matgen.search.unit_format import Passed
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.conversion import template_of
from matgen.templates.families import family
from matgen.templates.molecule import MoleculeTemplate, scaffold
from matgen.templates.prototypes import Layout, layout, layout_label

VARIETY = "variety"
"""Name of the verdict."""

PATIENCE = 5
"""Proposals rejected for variety alone, per candidate wanted, after which the search for other layouts ends."""


@dataclass
class Variety:
    """The candidates of a run by likeness, and those that wait because enough of their likeness are found.

    If no other layouts are found in time, the best of those that wait are kept. Molecules have no limit
    (`Request.most_alike`): they are only counted.

    Attributes:
        wanted: number of candidates.
        most: number of one layout.
        counts: candidates found by likeness.
        waiting: proposals that fail the check of variety only.
        turned_away: number of them so far.
        refuted: number of candidates that first principles refute, which do not count.
    """

    wanted: int
    most: int
    counts: Counter[str] = field(default_factory=Counter)
    waiting: list[Passed] = field(default_factory=list)
    turned_away: int = 0
    refuted: int = 0

    @classmethod
    def of(cls, request: Request) -> "Variety":
        """Make the variety that a request asks for."""
        return cls(request.wanted, request.most_alike)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.most < self.wanted

    @property
    def enough(self) -> bool:
        """Whether found and waiting candidates together are as many as are wanted."""
        return self.counts.total() - self.refuted + len(self.waiting) >= self.wanted

    @property
    def exhausted(self) -> bool:
        """Whether enough wait, and the search for other layouts may end."""
        return self.limited and self.turned_away >= PATIENCE * self.wanted and self.enough

    def verdicts(self, one: Passed) -> dict[str, Verdict]:
        """Return the verdict on one more candidate of this layout; empty without a limit."""
        if not self.limited or one.layout is None:
            return {}
        count, name = self.counts[one.likeness], layout_label(one.layout)
        passed = count < self.most
        reason = f"number {count + 1} of at most {self.most} of the Wyckoff layout {name}"
        if not passed:
            reason = f"{self.most} of {self.wanted} have the Wyckoff layout {name} already"
        return {VARIETY: Verdict(VARIETY, passed=passed, value=float(count), unit="", reason=reason)}

    def rejected(self, one: Passed) -> None:
        """Have a proposal wait that fails the check of variety only."""
        self.turned_away += 1
        self.waiting.append(one)

    def best_waiting(self, missing: int) -> list[Passed]:
        """Remove and return at most `missing` of those that wait, the lowest energy first."""
        chosen = sorted(self.waiting, key=lambda one: total_energy(one.candidate))[:missing]
        names = {one.name for one in chosen}
        self.waiting = [one for one in self.waiting if one.name not in names]
        return chosen


class Families:
    """Candidates by chemistry, and the best of each family."""

    def __init__(self) -> None:
        self._family: dict[str, str] = {}
        self._best: dict[str, Candidate] = {}

    def add(self, candidate: Candidate, family: str) -> str:
        """Add a candidate of a family, and return the name of its best so far; empty for a molecule."""
        if not family:
            return ""
        self._family[candidate.name] = family
        best = self._best.setdefault(family, candidate)
        if total_energy(candidate) < total_energy(best):
            self._best[family] = candidate
        return self._best[family].name

    def best(self, name: str) -> str:
        """Return the name of the best of the family of an added candidate; empty without a family."""
        return self._best[self._family[name]].name if name in self._family else ""


def total_energy(candidate: Candidate) -> float:
    """Return the sum of all terms, before relaxation."""
    return sum(candidate.energies.values())


def likeness_and_family(candidate: Candidate) -> tuple[Layout | None, str, str]:
    """Return the layout of a candidate, what it shares with its repetitions, and its family, both as text.

    It shares with its repetitions the Wyckoff layout, or a molecule's rings and their connections. A crystal whose
    symmetry cannot be found has no layout and is unlike any other; a molecule has no family.
    """
    if not isinstance(candidate.structure, Structure):
        return None, scaffold(MoleculeTemplate.of(candidate.template)), ""
    template = template_of(candidate.structure)
    if template is None:
        return None, candidate.name, candidate.name
    return layout(template), str(layout(template)), str(family(template))
