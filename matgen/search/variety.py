"""Variety among the candidates of a run: a limit on each Wyckoff layout, and families of near-repeats."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from pymatgen.core.structure import Structure

from matgen.generation.request import Request
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.conversion import template_of
from matgen.templates.families import family
from matgen.templates.molecule import MoleculeTemplate, scaffold
from matgen.templates.prototypes import Layout, layout, layout_label

VARIETY = "variety"
"""Name of the verdict."""

PATIENCE = 10
"""Proposals rejected for variety alone, per candidate wanted, after which the search for other layouts ends."""

WORTH_A_STOP = 16
"""Number of superfluous proposals from which on restarting the relaxations without them pays."""


@dataclass
class Variety:
    """The candidates of a run by likeness, and those that wait because enough of their likeness are found.

    While fewer candidates are found and waiting than are wanted, proposals beyond the limit are relaxed and assessed
    like all others, and wait: if no other layouts are found in time, the best of them are kept. After that they are
    rejected before relaxation. Molecules have no limit (`Request.most_alike`): they are only counted.

    Attributes:
        wanted: number of candidates.
        most: number of one layout.
        counts: candidates found by likeness, which proposals that repeat them are charged for.
        waiting: candidates that fail the check of variety only.
        turned_away: number of proposals that fail the check of variety only, relaxed or not.
        refuted: number of candidates that first principles refute, which do not count.
    """

    wanted: int
    most: int
    counts: Counter[Hashable] = field(default_factory=Counter)
    waiting: list[Candidate] = field(default_factory=list)
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
        return self.limited and self.enough and self.turned_away >= PATIENCE * self.wanted

    def superfluous(self, one: Layout | None) -> bool:
        """Whether no more proposals of this layout need be relaxed; this never reverts."""
        return self.limited and self.enough and self.counts[one] >= self.most

    def verdicts(self, one: Layout | None) -> dict[str, Verdict]:
        """Return the verdict on one more candidate of this layout; empty without a limit."""
        if not self.limited or one is None:
            return {}
        count, name = self.counts[one], layout_label(one)
        passed = count < self.most
        reason = f"number {count + 1} of at most {self.most} of the Wyckoff layout {name}"
        if not passed:
            reason = f"{self.most} of {self.wanted} have the Wyckoff layout {name} already"
        return {VARIETY: Verdict(VARIETY, passed=passed, value=float(count), unit="", reason=reason)}

    def found(self, candidate: Candidate) -> None:
        """Count a candidate."""
        self.counts[likeness_of(candidate)] += 1

    def rejected(self, candidate: Candidate) -> None:
        """Count a proposal that fails the check of variety only; it waits if it was assessed."""
        self.turned_away += 1
        if len(candidate.verdicts) > 1:
            self.waiting.append(candidate)

    def best_waiting(self, missing: int) -> list[Candidate]:
        """Remove and return at most `missing` waiting candidates, the lowest energy first."""
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
        """Add a candidate, and return the name of the best of its family so far; empty for a molecule."""
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
        """Return the name of the best of the family of an added candidate; empty without a family."""
        return self._best[self._family[name]].name if name in self._family else ""


def total_energy(candidate: Candidate) -> float:
    """Return the sum of all terms, before relaxation."""
    return sum(candidate.energies.values())


def layout_of(candidate: Candidate) -> Layout | None:
    """Return the Wyckoff layout of a structure; None for a molecule, or if its symmetry cannot be found."""
    template = template_of(candidate.structure) if isinstance(candidate.structure, Structure) else None
    return None if template is None else layout(template)


def likeness_of(candidate: Candidate) -> Hashable:
    """Return what a candidate shares with its repetitions, as `Kind.likeness` does for proposals.

    That is the Wyckoff layout, or a molecule's rings and their connections; a crystal whose symmetry cannot be found
    is unlike any other.
    """
    if isinstance(candidate.structure, Structure):
        return layout_of(candidate) or candidate.name
    return scaffold(MoleculeTemplate.of(candidate.template))
