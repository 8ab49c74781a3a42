"""The text of a finished unit of work, as a worker returns it and as it lies on disk.

One JSON object per line: first what the unit took, then each proposal, best first, as a record of `structures.record`
with the check that rejects it. A proposal that passes every check of its own also holds what the decisions on it need
(`Passed`), so that whoever decides analyses no structure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from matgen.runtime.json_lines import json_line, read_json_lines
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.record import Record, from_record, to_record
from matgen.structures.run_report import ADVICE, ResumeError
from matgen.templates.prototypes import Layout

REJECTED_BY = "rejected_by"
"""Field of a record: the first failed check that decides; empty if there is none."""

_DECISION = "decision"
"""Field of a record: the rest of `Passed`."""


@dataclass(frozen=True)
class Passed:
    """A proposal that passes every check of its own; whether it is kept depends on others.

    Attributes:
        candidate: relaxed, with its predictions and verdicts.
        layout: its Wyckoff layout; None for a molecule, or if its symmetry cannot be found.
        likeness: what it shares with its repetitions, as text: the layout, or the rings of a molecule.
        family: the same of its family; empty for a molecule.
        file: text of its CIF or SDF, and the verdict on that.
    """

    candidate: Candidate
    layout: Layout | None
    likeness: str
    family: str
    file: tuple[str, Verdict]

    @property
    def name(self) -> str:
        """Its name."""
        return self.candidate.name

    def with_verdicts(self, verdicts: Mapping[str, Verdict]) -> "Passed":
        """Return it with further verdicts."""
        return replace(self, candidate=replace(self.candidate, verdicts=self.candidate.verdicts | dict(verdicts)))

    def without_verdict(self, name: str) -> "Passed":
        """Return it without a verdict."""
        others = {key: verdict for key, verdict in self.candidate.verdicts.items() if key != name}
        return replace(self, candidate=replace(self.candidate, verdicts=others))

    def record(self, rejected_by: str = "") -> Record:
        """Return it as JSON types."""
        text, verdict = self.file
        value = None if math.isnan(verdict.value) else verdict.value
        decision = {
            "layout": None if self.layout is None else list(self.layout),
            "likeness": self.likeness,
            "family": self.family,
            "text": text,
            "verdict": asdict(verdict) | {"value": value},
        }
        return to_record(self.candidate) | {REJECTED_BY: rejected_by, _DECISION: decision}


def passed_of(record: Record) -> Passed | None:
    """Return what a record holds of a proposal that passed; None if it holds another.

    Raises:
        KeyError, TypeError, ValueError: the record is not valid.
    """
    decision = record.get(_DECISION)
    if decision is None:
        return None
    fields = decision["verdict"]
    value = math.nan if fields["value"] is None else fields["value"]
    return Passed(
        from_record(record),
        None if decision["layout"] is None else tuple(decision["layout"]),
        decision["likeness"],
        decision["family"],
        (decision["text"], Verdict(**(fields | {"value": value}))),
    )


def rejected_record(candidate: Candidate, rejected_by: str) -> Record:
    """Return a rejected proposal as JSON types."""
    return to_record(candidate) | {REJECTED_BY: rejected_by}


@dataclass(frozen=True)
class Unit:
    """A finished unit of work.

    Attributes:
        number: of the unit, from 0.
        seconds: wall time of each stage.
        proposals: records, best first.
        cpu: CPU time of the process that made it, s, without that of loading models.
    """

    number: int
    seconds: Mapping[str, float]
    proposals: Sequence[Record]
    cpu: float = 0.0

    @property
    def text(self) -> str:
        """The unit as text."""
        head = {"unit": self.number, "seconds": dict(self.seconds), "cpu": self.cpu}
        return "".join(map(json_line, [head, *self.proposals]))


def read_unit(path: Path) -> Unit:
    """Read a unit.

    Raises:
        ResumeError: the file is damaged.
    """
    lines: list[Any] = read_json_lines(path, dict, error=ResumeError, advice=ADVICE)
    if not lines or "unit" not in lines[0]:
        raise ResumeError(f"{path} is damaged (it does not begin with its unit); {ADVICE}")
    return Unit(lines[0]["unit"], lines[0]["seconds"], lines[1:], lines[0]["cpu"])
