"""Checks of a candidate: run them by name, and combine their verdicts.

A check is a function that returns a `Verdict`. A set of checks is a dictionary name → function, in the order in which
they run; add your own by adding an entry. An invalid material is not an error but a verdict with a reason.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

from matgen.runtime.failures import guarded
from matgen.structures.candidate import Candidate, Verdict

Check = Callable[[Candidate], Verdict]


def converged(candidate: Candidate) -> Verdict:
    """The relaxation ended with forces and stress below their thresholds."""
    report = candidate.relaxation
    if report is None:
        return Verdict("relaxed", passed=False, value=math.nan, unit="eV/Å", reason="not relaxed")
    reason = f"{report.reason} after {report.steps} steps of {report.potential}"
    return Verdict("relaxed", report.converged, report.max_force, "eV/Å", reason)


def validate(candidate: Candidate, checks: Mapping[str, Check]) -> dict[str, Verdict]:
    """Return the verdict of every check by its name, in the order of the checks; an exception of one fails that one."""
    return {name: guarded(check, candidate, partial(_unmade, name)) for name, check in checks.items()}


def _unmade(name: str, _: Candidate, reason: str) -> Verdict:
    return Verdict(name, passed=False, value=math.nan, unit="", reason=f"not assessed: {reason}")


def survives(verdicts: Mapping[str, Verdict]) -> bool:
    """Return whether all checks passed."""
    return all(verdict.passed for verdict in verdicts.values())
