"""Split structure files into pieces, one per structure, without reading the structures.

Text that is not UTF-8 is decoded with replacement characters: numbers and chemical symbols are not affected.
"""

import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import IO

from matgen.structures import ase_rows
from matgen.structures.broken import BrokenStructureError, one_line
from matgen.structures.cif_block import HAS_CELL
from matgen.structures.csv_pieces import rows, text_of
from matgen.structures.formats import Format, Piece
from matgen.structures.json_crystals import rows_of
from matgen.structures.json_keys import named_structures
from matgen.structures.json_text import is_json_lines, value_of
from matgen.structures.pdb import models
from matgen.structures.poscar import parts
from matgen.structures.size_limits import LARGEST_PIECE, check_size
from matgen.structures.trajectories import animation, frames, is_animated

MOST_ATOMS = 200_000
"""Most atoms of one frame; the next frame cannot be found without reading this one."""


def pieces(form: Format, stream: IO[bytes]) -> Iterator[Piece]:
    """Yield the pieces of a file, one for each structure; at least one, which may hold an error."""
    streamed = _STREAMED.get(form)
    if streamed is not None:
        with text_of(stream) as lines:
            first = True
            for piece in streamed(lines):
                first = False
                yield piece
        if first:
            yield _error("the file is empty")
        return
    if form in _BYTES:
        yield from _BYTES[form](stream.read())
        return
    text = _decoded(stream.read())
    if not text.strip("\0 \t\r\n"):
        yield _error("the file is empty")
    elif form == "json":
        yield from _values(text)
    elif form == "cif":
        yield from _blocks(text)
    elif form == "xsf" and is_animated(text):
        yield from animation(text)
    else:
        several = list(_WHOLE[form](text)) if form in _WHOLE else [text]
        yield from (Piece(f"#{i}" if len(several) > 1 else "", form, part) for i, part in enumerate(several))


_BYTES: dict[Format, Callable[[bytes], Iterator[Piece]]] = {"traj": frames, "db": ase_rows.rows}
"""Return the pieces of a file that is no text."""

_WHOLE: dict[Format, Callable[[str], Iterator[str]]] = {"poscar": parts, "pdb": models}
"""Return the texts of the structures of a file."""


def failure(error: Exception) -> Piece:
    """Return a piece that gives the reason why a file could not be split."""
    return _error(one_line(error))


def _decoded(data: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    return data.decode("utf-8-sig", errors="replace")


def _error(reason: str, label: str = "") -> Piece:
    return Piece(label, None, None, reason)


def _blocks(text: str) -> Iterator[Piece]:
    """Yield the data blocks of a CIF that have a cell; the whole text if none has, and reading gives the error."""
    with_cell = [part for part in _data_blocks(text) if HAS_CELL.search(part)] or [text]
    for index, part in enumerate(with_cell):
        yield Piece(f"#{index}" if len(with_cell) > 1 else "", "cif", part)


def _data_blocks(text: str) -> Iterator[str]:
    """Yield the text of each data block, with the comments before the first; a text field may hold the word too."""
    block: list[str] = []
    in_field = begun = False
    for line in text.splitlines(keepends=True):
        if line.startswith(";"):
            in_field = not in_field
        elif not in_field and line[:5].lower() == "data_":
            if begun:
                yield "".join(block)
                block = []
            begun = True
        block.append(line)
    yield "".join(block)


def _frames(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """Yield the frames of an (ext)xyz; stop at a frame without a number of atoms, as the next cannot be found."""
    waiting: deque[str] = deque()  # lines that were read ahead

    def following(n: int) -> list[str]:
        return [waiting.popleft() if waiting else lines.readline() for _ in range(n)]

    index = 0
    while line := following(1)[0]:
        if not line.strip():
            continue
        label = f"#{index}"
        if not re.fullmatch(r"\s*\d{1,7}\s*", line):
            yield _error(f"expected a number of atoms at the head of frame {index}, got {line.strip()[:40]!r}", label)
            return
        count = int(line)
        if count > MOST_ATOMS:
            yield _error(f"{count:,} atoms; not more than {MOST_ATOMS:,} of one frame are read", label)
            return
        frame = [line, *following(count + 1)]
        if not all(frame):
            yield _error(f"frame {index} is cut short: {count} atoms are announced", label)
            return
        yield Piece(label, "extxyz", "".join(frame))
        index += 1
        ahead = following(len(QM9_TRAILER))
        if not all(re.fullmatch(known, one.strip()) for known, one in zip(QM9_TRAILER, ahead, strict=True)):
            waiting.extendleft(reversed(ahead))


QM9_TRAILER = (r"[-+.\dEe^*]+(\s+[-+.\dEe^*]+)*", r"\S+\s+\S+", r"InChI=\S+\s+InChI=\S+")
"""Lines behind the atoms of an XYZ of QM9: harmonic frequencies, and SMILES and InChI of GDB and of the geometry."""


def _records(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """Yield the records of an SDF, or the single record of a MOL file."""
    return _numbered("sdf", _split_records(lines))


def _numbered(form: Format, texts: Iterator[str]) -> Iterator[Piece]:
    """Yield a piece for each text; one alone has no label."""
    first, second = next(texts, None), next(texts, None)
    if first is None:
        return
    if second is None:
        yield Piece("", form, first)
        return
    for index, text in enumerate(chain((first, second), texts)):
        yield Piece(f"#{index}", form, text)


def _split_records(lines: io.TextIOWrapper) -> Iterator[str]:
    """Yield the text between lines of `$$$$`; the first three lines of a record may be blank."""
    record: list[str] = []
    size = 0
    for line in lines:
        size += len(line)
        check_size(size, LARGEST_PIECE)
        if line.startswith("$$$$"):
            yield "".join(record)
            record, size = [], 0
        else:
            record.append(line.rstrip("\r\n") + "\n")
    if any(map(str.strip, record)):
        yield "".join(record)


def _mol2(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """Yield the molecules of a MOL2 file."""
    return _numbered("mol2", _split_mol2(lines))


def _split_mol2(lines: io.TextIOWrapper) -> Iterator[str]:
    record: list[str] = []
    size, begun = 0, False
    for line in lines:
        if line.startswith("@<TRIPOS>MOLECULE"):
            if begun:
                yield "".join(record)
            record, size, begun = [], 0, True
        size += len(line)
        check_size(size, LARGEST_PIECE)
        record.append(line.rstrip("\r\n") + "\n")
    if any(map(str.strip, record)):
        yield "".join(record)


def _smiles(lines: io.TextIOWrapper, form: Format = "smi") -> Iterator[Piece]:
    """Yield one SMILES, or InChI, per line, with the name that may follow it; skip a header and comments."""
    index = 0
    for line in lines:
        smiles, _, name = line.strip("\0 \t\r\n").replace("\t", " ").partition(" ")
        if not smiles or smiles.startswith("#") or smiles.lower() in {"smiles", "inchi"}:
            continue
        yield Piece(f"#{' '.join(name.split())[:60] or index}", form, smiles)
        index += 1


def _lines(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """Yield one JSON value per line; skip blank lines."""
    for index, line in enumerate(line for line in lines if line.strip("\0 \t\r\n")):
        label = f"#{index}"
        try:
            value = value_of(line)
        except BrokenStructureError as error:
            yield _error(str(error), label)
        else:
            yield Piece(label, "json", value)


def _values(text: str) -> Iterator[Piece]:
    """Yield the structures of a JSON text: one, a list, or a mapping from names to structures."""
    try:
        value = value_of(text)
    except BrokenStructureError as error:
        if is_json_lines(text):  # under another name
            with text_of(io.BytesIO(text.encode())) as lines:
                yield from _lines(lines)
        else:
            yield failure(error)
        return
    wrapped = rows_of(value)
    if wrapped:
        yield from (Piece(f"#{name}", "json", item) for name, item in wrapped)
    elif isinstance(value, list) and value:
        yield from (Piece(f"#{index}", "json", item) for index, item in enumerate(value))
    elif isinstance(value, dict) and (named := named_structures(value)):
        yield from (Piece(f"#{name}", "json", item) for name, item in named)
    else:
        yield Piece("", "json", value)


_STREAMED: dict[Format, Callable[[io.TextIOWrapper], Iterator[Piece]]] = {
    "extxyz": _frames,
    "sdf": _records,
    "smi": _smiles,
    "jsonl": _lines,
    "csv": rows,
    "mol2": _mol2,
    "inchi": partial(_smiles, form="inchi"),
}
