"""Rows of a screening as its folder holds them: all of them quickly, and some of them whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matgen.report.lines import UNREADABLE, Lines, left_out, read_lines
from matgen.screening.files import ROWS
from matgen.screening.ranking import merit_of
from matgen.screening.row import DENSITY_ENERGY, Row, decides_against, row_of
from matgen.screening.run_rows import last_of_each, newest_rows


@dataclass(frozen=True)
class Screened:
    """A row as its record holds it; making a structure of each would take longer than all else.

    Attributes:
        record: of the row.
    """

    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.record["name"])

    @property
    def candidate(self) -> Mapping[str, Any] | None:
        """The record of its structure; None for a broken file."""
        return self.record["candidate"]

    @property
    def formula(self) -> str:
        """Reduced formula; empty for a broken file."""
        return str(self.candidate["formula"]) if self.candidate else ""

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the failed checks that decide, as `Row.failed`."""
        if self.candidate is None:
            return ("reads",)
        verdicts = self.candidate["verdicts"].items()
        return tuple(name for name, one in verdicts if decides_against(name, passed=one["passed"]))

    @property
    def passed(self) -> bool:
        """Whether no deciding check fails."""
        return not self.failed

    def check_value(self, name: str) -> float | None:
        """Return the value of a check; None where there is none."""
        verdict = self.candidate["verdicts"].get(name) if self.candidate else None
        return verdict["value"] if verdict else None

    def property_value(self, name: str) -> float | None:
        """Return the predicted value of a property; None where there is none."""
        predicted = self.candidate["properties"].get(name) if self.candidate else None
        return predicted["value"] if predicted else None

    @property
    def merit(self) -> tuple[bool, int, float, float]:
        """Key by which rows are sorted before the screening ranks them, as `matgen.screening.ranking.merit`."""
        if self.candidate is None:
            return True, 0, 0.0, 0.0
        return merit_of(self.failed, self.check_value("hull"), self.candidate["energies"].get(DENSITY_ENERGY))

    def whole(self) -> Row:
        """Return the row with its structure."""
        return row_of(dict(self.record))


def screened_rows(folder: Path) -> tuple[Lines[Screened], bool]:
    """Return the rows of a screening, best first, and whether they are those of the final ranking."""
    path, final = newest_rows(folder)
    found = read_lines(path, _screened)
    if not final:
        found.values = sorted(last_of_each(found.values), key=lambda row: row.merit)
    return found, final


def whole_rows(rows: Sequence[Screened], most: int) -> tuple[list[Row], list[Screened], list[str]]:
    """Return the first rows with their structures, all rows but damaged ones among these, and notes on the damaged."""
    whole: list[Row] = []
    damaged: set[str] = set()
    reason = ""
    for row in rows[:most]:
        try:
            whole.append(row.whole())
        except UNREADABLE as error:
            damaged.add(row.name)
            reason = reason or f"{type(error).__name__}: {error}"
    kept = [row for row in rows if row.name not in damaged]
    return whole, kept, [left_out(len(damaged), ROWS, reason)] if damaged else []


def _screened(record: dict[str, Any]) -> Screened:
    row = Screened(record)
    _ = row.name, row.merit, row.formula  # which say at once whether the record is one
    if row.candidate is not None:
        _ = row.candidate["structure"], row.candidate["properties"]
    return row
