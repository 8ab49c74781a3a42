"""Lines of JSON of a run that may be unfinished, damaged, or of an older version: what can be read, and what cannot."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
"""Exceptions of a record of another format."""


@dataclass
class Lines(Generic[T]):
    """What a file of JSON lines holds.

    Attributes:
        values: that can be read.
        notes: on the lines that cannot.
    """

    values: list[T] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_lines(path: Path, decode: Callable[[dict[str, Any]], T]) -> Lines[T]:
    """Return the values of a file; the last line may be incomplete, since a run may be writing it.

    Args:
        path: of the file; none is as good as an empty one.
        decode: returns the value of a record.
    """
    found = Lines[T]()
    failed, reason = 0, ""
    for text in _complete(path):
        try:
            found.values.append(decode(json.loads(text)))
        except UNREADABLE as error:
            failed, reason = failed + 1, reason or f"{type(error).__name__}: {error}"
    if failed:
        found.notes.append(left_out(failed, path.name, reason))
    return found


def left_out(n: int, name: str, reason: str) -> str:
    """Return a note on lines of a file that cannot be read, and why the first of them cannot."""
    lines, are = ("line", "is") if n == 1 else ("lines", "are")
    return f"{n} {lines} of {name} cannot be read and {are} left out ({reason})."


def _complete(path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        yield from (line for line in stream if line.endswith("\n") and line.strip())
