"""Candidates as JSON lines: proposals that wait for their turn, and rejected ones with their reasons."""

import json
from collections.abc import Iterable
from pathlib import Path

from matgen.runtime.output import writing
from matgen.structures.candidate import Candidate
from matgen.structures.export import ResumeError
from matgen.structures.record import from_record, to_record


class CandidateFile:
    """One JSON object per line, written at once or one by one.

    Args:
        path: need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether anything was written."""
        return self.path.exists()

    def read(self) -> list[Candidate]:
        """All candidates; a last line that an interrupt cut short is dropped.

        Raises:
            ResumeError: the file is damaged.
        """
        if not self.exists():
            return []
        whole, newline, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        try:
            found = [from_record(json.loads(line)) for line in whole.splitlines()]
        except (KeyError, TypeError, ValueError) as error:
            raise ResumeError(f"{self.path} is damaged ({error}); overwrite the folder, or name another") from error
        with writing(self.path):
            self.path.write_text(whole + newline, encoding="utf-8")
        return found

    def append(self, candidate: Candidate) -> None:
        """Add one line.

        Raises:
            OutputError: the disk is full, or the folder has gone.
        """
        with writing(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(candidate))

    def write(self, candidates: Iterable[Candidate]) -> None:
        """Write all of them, or nothing.

        Raises:
            OutputError: the disk is full, or the folder has gone.
        """
        part = self.path.with_name(self.path.name + ".part")
        with writing(self.path):
            part.write_text("".join(map(_line, candidates)), encoding="utf-8")
            part.replace(self.path)

    def remove(self) -> None:
        """Delete the file if it is there."""
        with writing(self.path):
            self.path.unlink(missing_ok=True)


def _line(candidate: Candidate) -> str:
    return json.dumps(to_record(candidate), allow_nan=False) + "\n"
