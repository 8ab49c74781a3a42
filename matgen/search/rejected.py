"""The file of rejected proposals."""

from collections.abc import Iterable
from pathlib import Path

from matgen.runtime.json_lines import append_json_lines, read_json_lines, write_json_lines
from matgen.runtime.output import wait_for_disk, writing
from matgen.structures.candidate import Candidate
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.record import Record
from matgen.structures.run_folder import REJECTED
from matgen.structures.run_report import ADVICE, ResumeError


class RejectedFile:
    """Records of rejected proposals, which name the check that decides (`unit_format.REJECTED_BY`).

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / REJECTED
        self._waiting: list[Record] = []

    def records(self) -> list[Record]:
        """Return all records.

        Raises:
            ResumeError: the file is damaged.
        """
        return read_json_lines(self.path, dict, error=ResumeError, advice=ADVICE, repair=True)

    def read(self) -> list[Candidate]:
        """Return all as candidates.

        Raises:
            ResumeError: the file is damaged.
        """
        return CandidateFile(self.path).read()

    def add(self, record: Record) -> None:
        """Add a record; it is in the file after `flush`."""
        self._waiting.append(record)

    def flush(self) -> None:
        """Write the records that were added.

        Raises:
            OutputError: the disk is full, or the folder does not exist.
        """
        if self._waiting:
            append_json_lines(self.path, self._waiting, wait=False)
            self._waiting = []

    def wait_for_disk(self) -> None:
        """Wait until the records are on the disk.

        Raises:
            OutputError: the disk is full, or the folder does not exist.
        """
        self.flush()
        with writing(self.path):
            wait_for_disk(self.path)

    def write(self, records: Iterable[Record]) -> None:
        """Replace all records.

        Raises:
            OutputError: the disk is full, or the folder does not exist.
        """
        write_json_lines(self.path, records)

    def remove(self) -> None:
        """Delete the file if it exists."""
        CandidateFile(self.path).remove()
