"""The log of a training: a line of JSON for each report, with its step."""

import json
import math
from pathlib import Path
from typing import Any

from matgen.runtime.output import append, replace_file, writing


def add_line(log: Path, line: dict[str, Any]) -> None:
    """Append a line.

    Raises:
        OutputError: the disk is full, or the folder was removed.
    """
    with writing(log):
        append(log, json.dumps(line) + "\n", wait=False)


def forget_later(log: Path, step: int) -> None:
    """Remove lines that are later than a checkpoint, which will be written again, and broken ones.

    Args:
        log: which need not exist.
        step: of the checkpoint.

    Raises:
        OutputError: the log cannot be written.
    """
    if not log.exists():
        return
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if _step_of(line) <= step]
    if kept != lines:
        with writing(log):
            replace_file(log, "".join(kept))


def _step_of(line: str) -> float:
    """Return the step of a line; infinity if it is none, such as a part of one."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, TypeError, KeyError):
        return math.inf
