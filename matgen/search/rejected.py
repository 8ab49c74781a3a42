"""The file of rejected proposals."""

from pathlib import Path

from matgen.search.selection import CandidateChecks
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.run_folder import REJECTED


def rejected_file(folder: Path, checks: CandidateChecks | None = None) -> CandidateFile:
    """Return the file of the rejected proposals of a run; with its checks, records name the one that decides."""
    if checks is None:
        return CandidateFile(folder / REJECTED)
    return CandidateFile(folder / REJECTED, lambda one: {"rejected_by": checks.deciding_failure(one.verdicts)})
