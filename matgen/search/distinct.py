"""Uniqueness of proposals: of crystals and molecules by comparison, of dilute defects by energy and place.

Defects are listed so that no symmetry of the host maps one onto another. Two of them may still relax to the same one,
such as an atom that was put into two voids beside each other.
"""

import math

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

from matgen.generation.host_plan import DefectPlan
from matgen.generation.request import Request
from matgen.screening.uniqueness import Uniqueness
from matgen.structures.candidate import Candidate, Verdict

SAME_ENERGY = 0.02
"""Difference of the energies of two cells, eV, up to which their structures are compared."""

SAME_ATOM = 0.3
"""Largest distance between an atom of one defect and its equivalent in another one, Å, if they are the same."""


class Distinct:
    """Dilute defects seen so far. All but one atom lie where those of other defects do, so that the largest counts."""

    def __init__(self) -> None:
        self._seen: list[Candidate] = []

    def verdict(self, candidate: Candidate) -> Verdict:
        """Check that a defect did not relax to an earlier one, and add it; before relaxation all differ."""
        same = next((one for one in self._seen if _same(one, candidate)), None)
        if same is not None:
            return Verdict("unique", passed=False, value=1.0, unit="", reason=f"relaxes to the same as {same.name}")
        if candidate.relaxation is not None:
            self._seen.append(candidate)
        reason = "no symmetry of the host maps it onto another one of this run"
        return Verdict("unique", passed=True, value=0.0, unit="", reason=reason)


def _same(one: Candidate, other: Candidate) -> bool:
    """Return whether two relaxed defects are the same."""
    if one.relaxation is None or other.relaxation is None or one.crystal.composition != other.crystal.composition:
        return False
    apart = abs(one.relaxation.energy - other.relaxation.energy) * len(one.crystal)
    return apart < SAME_ENERGY and largest_distance(one.crystal, other.crystal) < SAME_ATOM


def largest_distance(one: Structure, other: Structure) -> float:
    """Return the largest distance, Å, between equivalent atoms of two cells of one size; infinity if they differ."""
    matcher = StructureMatcher(ltol=0.05, stol=0.3, angle_tol=2.0, primitive_cell=False, scale=False)
    found = matcher.get_rms_dist(one, other)
    return math.inf if found is None else float(found[1]) * (one.volume / len(one)) ** (1 / 3)


def uniqueness_of(request: Request) -> Uniqueness | Distinct:
    """Return what decides whether proposals of a request are unique."""
    plan = request.host_plan
    return Distinct() if isinstance(plan, DefectPlan) and plan.supercell > 0 else Uniqueness()
