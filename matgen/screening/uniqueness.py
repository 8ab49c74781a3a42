"""Check that a structure is the first of its kind: crystals by `StructureMatcher`, molecules by graph with stereo."""

import math
from collections.abc import Iterable

from matgen.novelty.duplicates import SeenStructures
from matgen.novelty.fingerprint import NoFingerprintError
from matgen.runtime.failures import guarded
from matgen.structures.candidate import Candidate, Verdict


class Uniqueness:
    """The structures seen so far, all crystals or all molecules, by name.

    Args:
        known: structures to begin with.
        new: reason of the verdict on a structure that was not seen before.
    """

    def __init__(self, known: Iterable[Candidate] = (), new: str = "equals no better candidate of this run") -> None:
        self._new = new
        self._names: list[str] = []
        self._crystals = SeenStructures()
        self._graphs: dict[str, int] = {}
        for candidate in known:
            self.verdict(candidate)

    def verdict(self, candidate: Candidate) -> Verdict:
        """Check that no earlier structure equals this one, and add it."""
        self._names.append(candidate.name)
        return guarded(self._compared, candidate, _incomparable)

    def _compared(self, candidate: Candidate) -> Verdict:
        try:
            first = self._first(candidate)
        except NoFingerprintError as error:
            return _incomparable(candidate, str(error))
        if first is None:
            return Verdict("unique", passed=True, value=0.0, unit="", reason=self._new)
        return Verdict("unique", passed=False, value=1.0, unit="", reason=f"the same structure as {self._names[first]}")

    def _first(self, candidate: Candidate) -> int | None:
        """Add a structure, and return the index of the first equal one before it."""
        if candidate.kind == "crystal":
            return self._crystals.add(candidate.crystal)
        index = len(self._names) - 1
        first = self._graphs.setdefault(candidate.template, index)
        return None if first == index else first


def _incomparable(_: Candidate, reason: str) -> Verdict:
    return Verdict("unique", passed=False, value=math.nan, unit="", reason=f"cannot be compared: {reason}")
