"""The runs below a folder, and what a list says of each."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matgen.first_principles.subjects import RESULTS
from matgen.report.folders import FILES, RELAXED, STRUCTURES, NoRunError, RunFolder, is_run, run_folder
from matgen.screening.files import ROWS
from matgen.screening.tables import RESULTS as RANKED
from matgen.structures.run_folder import CANDIDATES, ENDS, REJECTED

DEEPEST = 4
"""Levels of folders below the given one in which runs are looked for."""

INSIDE = frozenset({"cif", "sdf", "units", "gpaw", "parsl", "trajectories", "phonons"})
"""Folders within that of a run, which hold none."""

WATCHED = (
    *(file for files in FILES.values() for file in files),
    REJECTED,
    ENDS,
    f"{RANKED}.jsonl",
    STRUCTURES,
    "units",
)
"""Files of a run that its page is made of, or patterns of them."""

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Listed:
    """A run in a list.

    Attributes:
        path: of its folder, below the given one, with `/`; `.` for that itself.
        run: the folder.
        count: what it has so far, in words.
    """

    path: str
    run: RunFolder
    count: str

    @property
    def started(self) -> str:
        """When it began; empty where that is not recorded."""
        return str(self.run.report.get("started", ""))


def runs_below(root: Path) -> list[Listed]:
    """Return the runs in a folder and below it, the latest first; links that leave the folder are not followed."""
    found = [listed(root, path) for path in _folders(root, 0) if is_run(path)]
    return sorted((one for one in found if one is not None), key=lambda one: (one.started, one.path), reverse=True)


def listed(root: Path, path: Path) -> Listed | None:
    """Return what a list says of a run; None where the folder is gone by now."""
    try:
        run = run_folder(path)
    except NoRunError:
        return None
    return Listed(path.relative_to(root).as_posix(), run, _count(run))


def signature(folder: Path) -> Signature:
    """Return what changes when the files of a run do."""
    paths = [path for name in WATCHED for path in sorted(folder.glob(name))]
    found = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue
        found.append((path.name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    yield folder
    if depth == DEEPEST:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # which this user may not read
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and entry.name not in INSIDE and not entry.name.startswith("."):
            yield from _folders(Path(entry.path), depth + 1)


def _count(run: RunFolder) -> str:
    """Return how much a run has, in words."""
    path = run.path
    match run.command:
        case "design":
            wanted = run.table("search").get("n")
            found = _lines(path / CANDIDATES)
            return f"{found} of {wanted} candidates" if wanted else f"{found} candidates"
        case "screen":
            return f"{_lines(path / ROWS)} structures"
        case "evaluate":
            relaxed = sum(map(_lines, path.glob(RELAXED)))
            return f"{run.report['entries']} structures" if "entries" in run.report else f"{relaxed} relaxed"
        case "verify":
            return f"{len(_names(path / f'{RESULTS}.jsonl'))} results"


def _lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as stream:
        return sum(line.endswith(b"\n") for line in stream)


def _names(path: Path) -> set[str]:
    """Return the names in a file of results, of which one may have several."""
    names = set()
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                names.add(str(json.loads(line)["name"]))
            except (ValueError, KeyError, TypeError):
                continue
    return names
