"""Names of the files in the folder of a design run."""

from pathlib import Path

CANDIDATES, CANDIDATES_TABLE, CANDIDATES_FRAMES = "candidates.jsonl", "candidates.csv", "candidates.extxyz"
"""All candidates: every field, as a table, and as frames."""

REJECTED = "rejected.jsonl"
"""Rejected proposals."""

REPORT = "run.json"
"""Report of a run; a screening writes one too."""

_PROPOSALS = "proposals-{}.jsonl"


def proposals_file(folder: Path, number: int) -> Path:
    """Return the path of the proposals of a round, numbered from 0."""
    return folder / _PROPOSALS.format(number)


def all_proposals(folder: Path) -> list[Path]:
    """Return the paths of the proposals of all rounds."""
    return list(folder.glob(_PROPOSALS.format("*")))
