"""What a design will do and how long it takes, said before it begins."""

import math
import time
from pathlib import Path
from typing import Any

from matgen.report.targets import asked
from matgen.search.expected_time import expected_time
from matgen.structures.run_folder import CANDIDATES

FEWEST = 3
"""New candidates from which the pace is estimated."""


def announcement(request: Any, folder: Path, cores: int, *, anew: bool = False) -> str:
    """Return what a design will do, in two lines.

    Args:
        request: what is asked.
        folder: of the run.
        cores: that may be used.
        anew: whether what the folder holds is replaced.
    """
    found = 0 if anew else candidates_in(folder)
    expected = expected_time(request, cores, found)
    n, processes, minutes = request.search.n, expected.processes, request.search.budget
    what = asked(f"{n} {request.kind}{'s' if n > 1 else ''}", request.property_targets)
    if found:
        what += f", of which {found} are there"
    workers = f"{processes} process{'es' if processes > 1 else ''}"
    if processes > cores:
        workers += f" and {cores} core{'s' if cores > 1 else ''}"
    known = (
        f"about {remaining_text(expected.seconds)} (an estimate)" if math.isfinite(expected.seconds) else "no estimate"
    )
    late = "stops" if expected.seconds > expected.at_most else "at most"
    return (
        f"{what}; {known} on {workers}, {late} {'after ' if late == 'stops' else ''}{minutes:g} minutes (--budget)\n"
        f"results stream to {folder}; Ctrl-C keeps what was found, the same command resumes"
    )


def remaining_text(seconds: float) -> str:
    """Return a duration in words, roughly: 40 seconds, 2 minutes, 3 hours."""
    for unit, length in (("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 1.5 * length:
            return f"{round(seconds / length)} {unit}s"
    return "1 minute" if seconds >= 50 else f"{max(10, 10 * round(seconds / 10))} seconds"


class Remaining:
    """The time that is left until enough are found, by the pace of those that this call has found.

    Args:
        wanted: number of candidates.
        there: how many an earlier call had found.
    """

    def __init__(self, wanted: int, there: int) -> None:
        self._wanted, self._there, self._found = wanted, there, 0
        self._started = time.perf_counter()

    def __call__(self) -> str:
        """Count one more, and return how many there are and how long the rest takes."""
        self._found += 1
        new, left = self._found - self._there, self._wanted - self._found
        text = f"{self._found} of {self._wanted}"
        if new < FEWEST or left < 1:
            return text
        return f"{text}, about {remaining_text(left * (time.perf_counter() - self._started) / new)} left"


def candidates_in(folder: Path) -> int:
    """Return the number of candidates in a folder; 0 if there is no such folder."""
    try:
        return (folder / CANDIDATES).read_text(encoding="utf-8").count("\n")
    except (OSError, UnicodeDecodeError):  # which the run tells
        return 0
