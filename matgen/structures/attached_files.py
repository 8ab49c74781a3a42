"""Further files about a candidate, which travel with it as text until they are in the folder of the run."""

from dataclasses import replace
from pathlib import Path

from matgen.runtime.file_names import file_name
from matgen.runtime.output import replace_file
from matgen.structures.candidate import Candidate

FOLDERS = ("phonons", "elasticity", "trajectories")
"""Folders that such files may be in."""


def attached_path(folder: Path, of: str, name: str) -> Path:
    """Return the path of a file, such as `phonons/json`, about the candidate of a name."""
    where, _, suffix = of.partition("/")
    return folder / where / f"{file_name(name)}.{suffix}"


def inside(folder: Path, path: Path) -> Path | None:
    """Return the path of a file that lies in a folder; None if there is none, or if it lies elsewhere."""
    try:
        return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None
    except (OSError, ValueError, RuntimeError):  # a name that is too long, or a circle of links
        return None


def with_files_written(folder: Path, candidate: Candidate, name: str = "") -> Candidate:
    """Write the files of a candidate into the folder of its run, and return it without their texts.

    Args:
        folder: of the run.
        candidate: with the texts of its files.
        name: in place of that of the candidate.
    """
    for of, text in candidate.files.items():
        path = attached_path(folder, of, name or candidate.name)
        path.parent.mkdir(exist_ok=True)
        replace_file(path, text)
    return replace(candidate, files={}) if candidate.files else candidate


def remove_attached(folder: Path) -> None:
    """Remove the files of an earlier run."""
    for where in FOLDERS:
        for path in (folder / where).glob("*"):
            path.unlink()
