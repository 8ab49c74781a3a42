"""Uniqueness of proposals: compared with each other, or known from how they are listed."""

from matgen.generation.host_plan import DefectPlan
from matgen.generation.request import Request
from matgen.screening.uniqueness import Uniqueness
from matgen.structures.candidate import Candidate, Verdict


class Distinct:
    """Proposals that differ by symmetry: dilute defects at different sites look alike to a comparison of structures."""

    def verdict(self, candidate: Candidate) -> Verdict:
        """Return that a proposal is unique."""
        del candidate
        reason = "no symmetry of the host maps it onto another one of this run"
        return Verdict("unique", passed=True, value=0.0, unit="", reason=reason)


def uniqueness_of(request: Request) -> Uniqueness | Distinct:
    """Return what decides whether proposals of a request are unique."""
    plan = request.host_plan
    return Distinct() if isinstance(plan, DefectPlan) and plan.supercell > 0 else Uniqueness()
