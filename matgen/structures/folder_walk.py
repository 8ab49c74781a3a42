"""Files of structures in a folder with its subfolders, and a limit to how far a folder is searched that holds few."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from matgen.errors import UserError
from matgen.structures.archives import is_archive
from matgen.structures.content import is_recognised
from matgen.structures.formats import format_of

OTHERS = 20_000
"""Files that are none by name and content, from which on a folder must hold structures in some proportion."""

PER_STRUCTURE = 20
"""Such files for each one that is; a calculation by VASP leaves about fifteen beside its structures."""


class TooManyOthersError(UserError, ValueError):
    """A folder with very many files of which hardly any holds a structure, such as that of a whole machine."""


def files_below(folder: Path) -> Iterator[Path]:
    """Yield files of known formats, by name or content, in alphabetical order; at the end folders that are closed.

    Raises:
        TooManyOthersError: over `OTHERS` files are none, and over `PER_STRUCTURE` for each that is.
    """
    closed: list[Path] = []
    found = others = 0
    for root, folders, files in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in _visible(Path(root), files):
            if is_known(file.name) or is_recognised(file):
                found += 1
                yield file
                continue
            others += 1
            if others > max(OTHERS, PER_STRUCTURE * found):
                raise TooManyOthersError(
                    f"expected a folder of structures, got {folder}, where {found} of the first {found + others:,} "
                    "files may hold one; name the folder that does"
                )
    yield from closed


def _visible(root: Path, names: Iterable[str]) -> Iterator[Path]:
    return (root / name for name in sorted(names) if not name.startswith("."))


def is_known(name: str) -> bool:
    """Return whether the name of a file is one of an archive or of a format."""
    bare = name.lower().removesuffix(".gz")
    whole = is_archive(name) or is_archive(bare) or format_of(without_gz(name)) is not None
    return not name.startswith(".") and whole


def without_gz(name: str) -> str:
    """Return the name of a file without a last `.gz`."""
    return name[:-3] if name.lower().endswith(".gz") else name
