"""The format of a file whose name tells none, by the first lines of its content."""

import re
from pathlib import Path
from typing import IO

from matgen.structures.cif_block import HAS_CELL
from matgen.structures.formats import Format
from matgen.structures.poscar import is_head

HEAD = 1 << 16
"""Bytes that are looked at."""

RESULTS_OF_VASP = re.compile(r"(XDATCAR|CHG|CHGCAR|AECCAR\d|PARCHG|LOCPOT|ELFCAR)(\W.*)?")
"""Files that begin like a POSCAR and lie beside one; in a folder they are passed over."""


def format_of_content(head: bytes) -> Format | None:
    """Return the format that the first bytes of a file indicate, or None."""
    text = head[:HEAD].decode("utf-8-sig", errors="replace")
    if "\0" in text:
        return None
    if re.search(r"(?im)^data_", text) and HAS_CELL.search(text):
        return "cif"
    return "poscar" if is_head(text.splitlines()[:7]) else None


def format_of_stream(stream: IO[bytes]) -> Format | None:
    """Return the format that the first bytes of a buffered stream indicate, or None; none of them is taken."""
    return format_of_content(stream.peek(HEAD))  # type: ignore[attr-defined]


def is_recognised(file: Path) -> bool:
    """Return whether a file of a folder holds a structure by its content."""
    try:
        if RESULTS_OF_VASP.fullmatch(file.name) or not file.is_file():
            return False
        if not file.stat().st_size:  # empty, or a file of the kernel, some of which keep their reader waiting
            return False
        with file.open("rb", buffering=HEAD) as stream:
            return format_of_stream(stream) is not None
    except OSError:
        return False  # and so it is counted among those that are passed over
