"""Files of folders and archives that hold no structure by name and content: counted by kind, so that none vanishes."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from matgen.structures.archives import is_archive, members
from matgen.structures.files import DAMAGED, is_read, not_regular
from matgen.structures.folder_walk import files_below

HIDDEN, NO_SUFFIX = "hidden", "no suffix"


def files_passed_over(paths: Iterable[Path]) -> dict[str, int]:
    """Return how many files of folders and archives are not read, by suffix; the most frequent first.

    Args:
        paths: of files, folders and archives, as for `read_structures`; a folder within another one counts once.
    """
    met: set[Path] = set()
    counts: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            read = set(files_below(path))
            files = {file for file in _every_file(path) if file.resolve() not in met}
            met |= {file.resolve() for file in files}
            counts.update(_kind(file.relative_to(path)) for file in files - read)
            archives = [file for file in read if _is_readable(file)]
        else:
            archives = [path] if _is_readable(path) else []
        for file in archives:
            counts += _of_archive(file)
    return dict(counts.most_common())


def in_words(counts: dict[str, int]) -> str:
    """Return the counts in words, such as `3 .txt, 1 hidden`; empty if there are none."""
    return ", ".join(f"{n} {kind}" for kind, n in counts.items())


def _every_file(folder: Path) -> Iterable[Path]:
    return (Path(root) / name for root, _, names in os.walk(folder) for name in names)


def _is_readable(path: Path) -> bool:
    return is_archive(path.name) and not not_regular(path)


def _of_archive(path: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    try:
        for name, stream, *_, reason in members(path):
            if not (reason or is_read(name, stream)):
                counts[_kind(PurePosixPath(name))] += 1
    except DAMAGED:
        return counts  # a row says that it is damaged
    return counts


def _kind(path: PurePosixPath | Path) -> str:
    if any(part.startswith(".") for part in path.parts) or path.parts[0] == "__MACOSX":
        return HIDDEN
    return path.suffix.lower() or NO_SUFFIX
