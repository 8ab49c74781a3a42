"""Files of folders and zips that hold no structure by name and content: counted by kind, so that none vanishes."""

import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from matgen.structures.files import files_below, members_of

HIDDEN, NO_SUFFIX = "hidden", "no suffix"


def files_passed_over(paths: Iterable[Path]) -> dict[str, int]:
    """Return how many files of folders and zips are not read, by suffix; the most frequent first.

    Args:
        paths: of files, folders and zips, as for `read_structures`; a folder within another one counts once.
    """
    met: set[Path] = set()
    counts: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            read = set(files_below(path))
            files = {file for file in _every_file(path) if file.resolve() not in met}
            met |= {file.resolve() for file in files}
            counts.update(_kind(file.relative_to(path)) for file in files - read)
            zips = [file for file in read if _is_zip(file)]
        else:
            zips = [path] if _is_zip(path) else []
        for file in zips:
            counts += _of_zip(file)
    return dict(counts.most_common())


def in_words(counts: dict[str, int]) -> str:
    """Return the counts in words, such as `3 .txt, 1 hidden`; empty if there are none."""
    return ", ".join(f"{n} {kind}" for kind, n in counts.items())


def _every_file(folder: Path) -> Iterable[Path]:
    return (Path(root) / name for root, _, names in os.walk(folder) for name in names)


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _of_zip(path: Path) -> Counter[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            every = [info.filename for info in archive.infolist() if not info.is_dir()]
            read = set(members_of(archive))
    except (OSError, ValueError, zipfile.BadZipFile):
        return Counter()  # a row says that it is damaged
    return Counter(_kind(PurePosixPath(name)) for name in every if name not in read)


def _kind(path: PurePosixPath | Path) -> str:
    if any(part.startswith(".") for part in path.parts) or path.parts[0] == "__MACOSX":
        return HIDDEN
    return path.suffix.lower() or NO_SUFFIX
