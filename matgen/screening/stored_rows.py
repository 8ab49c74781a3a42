"""Rows in a file of JSON lines, read back one by one, so that memory does not grow with what they hold."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matgen.runtime.failures import each
from matgen.runtime.json_lines import json_line
from matgen.runtime.output import append, writing
from matgen.screening.row import Row, row_of, row_record
from matgen.structures.on_access import OnAccess
from matgen.structures.run_report import ADVICE, ResumeError

Key = tuple[str, str]
"""Name of a row and digest of its content."""


def stored_rows(path: Path, places: Sequence[int]) -> Sequence[Row]:
    """Return the rows of a file by the place of their first byte; each is read anew whenever it is asked for.

    Asking raises a ResumeError once the file is written anew or removed.
    """
    mark = _mark(path)

    def row(index: int) -> Row:
        if _mark(path) != mark:
            raise ResumeError(f"expected the rows of this run in {path}, which was written anew since; run it again")
        return read_row(path, places[index])

    return OnAccess(len(places), row)


def _mark(path: Path) -> tuple[int, int, int]:
    """Return what distinguishes a file from one that takes its place; zeros if there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


class RowFile:
    """A file to which rows are appended, with the place of the last row of each key."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0
        self._places: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def __getitem__(self, key: Key) -> Row:
        return read_row(self._path, self._places[key])

    def find(self) -> None:
        """Find the rows on disk, and remove an incomplete last line.

        Raises:
            ResumeError: a complete line is no row.
            OutputError: the file cannot be repaired.
        """
        if not self._path.exists():
            return
        with writing(self._path), self._path.open("r+b") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                row = _row(line, self._path, check=True)
                self._places[(row.name, row.digest)] = self._size
                self._size += len(line)
            stream.truncate(self._size)

    def append(self, rows: Iterable[Row]) -> list[Row]:
        """Append rows, wait until they are on the disk, and return them; one that is no JSON becomes a reason.

        Raises:
            OutputError: the disk is full, or the folder does not exist.
        """
        lines = each(_line, rows, lambda row, reason: _line(_without_candidate(row, reason)))
        with writing(self._path):
            append(self._path, "".join(line for _, line in lines))
        for row, line in lines:
            self._places[(row.name, row.digest)] = self._size
            self._size += len(line.encode("utf-8"))
        return [row for row, _ in lines]


def _line(row: Row) -> tuple[Row, str]:
    return row, json_line(row_record(row))


def _without_candidate(row: Row, reason: str) -> Row:
    return Row(row.name, row.path, row.index, row.digest, f"its result cannot be written: {reason}", row.n_atoms)


def read_row(path: Path, place: int) -> Row:
    """Return the row that begins at a byte of a file.

    Raises:
        ResumeError: there is none.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(place)
            return _row(stream.readline(), path)
    except OSError as error:
        raise ResumeError(f"expected the rows of this run in {path}: {error.strerror}; {ADVICE}") from error


def _row(line: bytes, path: Path, *, check: bool = False) -> Row:
    try:
        row = row_of(json.loads(line))
        if check:
            _check(row)
    except (KeyError, TypeError, ValueError) as reason:
        raise ResumeError(f"{path} is damaged ({reason}); {ADVICE}") from reason
    return row


def _check(row: Row) -> None:
    """Check that what is counted and compared is of the types that were written.

    Raises:
        TypeError, ValueError: something is not.
    """
    json_line(row_record(row))
    numbers: dict[str, Any] = {} if row.candidate is None else dict(row.candidate.energies)
    for name, found in () if row.candidate is None else row.candidate.properties.items():
        numbers[name] = found.value
    for name, verdict in row.verdicts.items():
        if not isinstance(verdict.passed, bool):
            raise TypeError(f"{name} passed: {verdict.passed!r}")
        numbers[f"value of {name}"] = verdict.value
    for name, number in numbers.items():
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise TypeError(f"{name}: {number!r}")
