"""Names of the files in the folder of a design run."""

from pathlib import Path

CANDIDATES, CANDIDATES_TABLE, CANDIDATES_FRAMES = "candidates.jsonl", "candidates.csv", "candidates.extxyz"
"""All candidates: every field, as a table, and as frames."""

REJECTED = "rejected.jsonl"
"""Rejected proposals."""

ENDS = "ends.jsonl"
"""Examples of the two requests that a run lies between."""

PAGE = "report.html"
"""Name of the page for people in the folder of a run."""

REPORT = "run.json"
"""Report of a run; a screening writes one too."""

_UNITS = "units"
_ROUNDS = "proposals-*.jsonl"


def unit_file(folder: Path, number: int) -> Path:
    """Return the path of a finished unit of work, numbered from 0."""
    return folder / _UNITS / f"{number}.jsonl"


def all_units(folder: Path) -> list[Path]:
    """Return the paths of all finished units."""
    return list((folder / _UNITS).glob("*.jsonl"))


def all_rounds(folder: Path) -> list[Path]:
    """Return the paths of the rounds of proposals that versions up to 0.2 wrote."""
    return list(folder.glob(_ROUNDS))
