"""Candidates in files of JSON lines: proposals that are not processed yet, results, and rejected candidates."""

from collections.abc import Callable, Iterable
from pathlib import Path

from matgen.runtime.json_lines import append_json_lines, read_json_lines, write_json_lines
from matgen.runtime.output import writing
from matgen.structures.candidate import Candidate
from matgen.structures.record import Record, from_record, to_record
from matgen.structures.run_report import ResumeError


class CandidateFile:
    """One JSON object per line, written all at once or one by one.

    Args:
        path: need not exist yet.
        extra: further fields of the record of a candidate; they are not read back.
    """

    def __init__(self, path: Path, extra: Callable[[Candidate], Record] = lambda _: {}) -> None:
        self.path, self._extra = path, extra

    def exists(self) -> bool:
        """Return whether anything was written."""
        return self.path.exists()

    def read(self) -> list[Candidate]:
        """Return all candidates; remove an incomplete last line, as an interrupt leaves it.

        Raises:
            ResumeError: the file is damaged.
        """
        advice = "overwrite the folder, or name another"
        return read_json_lines(self.path, from_record, error=ResumeError, advice=advice, repair=True)

    def append(self, candidate: Candidate, *, wait: bool = True) -> None:
        """Add one line and wait until it is on the disk, unless told not to.

        Raises:
            OutputError: the disk is full, or the folder does not exist.
        """
        append_json_lines(self.path, [self._record(candidate)], wait=wait)

    def write(self, candidates: Iterable[Candidate]) -> None:
        """Write all of them, or nothing.

        Raises:
            OutputError: the disk is full, or the folder does not exist.
        """
        write_json_lines(self.path, map(self._record, candidates))

    def _record(self, candidate: Candidate) -> Record:
        return to_record(candidate) | self._extra(candidate)

    def remove(self) -> None:
        """Delete the file if it exists."""
        with writing(self.path):
            self.path.unlink(missing_ok=True)
