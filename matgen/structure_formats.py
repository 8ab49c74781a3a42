"""What one file of structures says, piece by piece: CIF, POSCAR, extxyz, JSON, JSON lines, CSV.

Taking a file apart is cheap and done in one place; reading a piece is dear and can be done elsewhere. Text that is not
UTF-8 is read as if it were, foreign bytes replaced: no number and no chemical symbol is written with them.
"""

import csv
import io
import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, Literal

import numpy as np
from ase.io.extxyz import read_xyz
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

from matgen.errors import UserError

Format = Literal["cif", "poscar", "extxyz", "json", "jsonl", "csv"]

SUFFIXES: dict[str, Format] = {
    ".cif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
}

POSCAR_NAME = re.compile(r"(POSCAR|CONTCAR)(\d*|[._-].*)|.*[._-](POSCAR|CONTCAR)", re.IGNORECASE)

BROKEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    OSError,
    EOFError,
    csv.Error,
)
"""What the readers of other packages raise on text that means nothing to them."""

SMALLEST_VOLUME = 0.1
"""Å³ per atom below which a cell is taken for flat; hydrogen under the highest pressures ever reached has more."""

HOLDERS = ("structure", "cif")
"""Keys of a JSON object, and columns of a CSV table, under which a structure is looked for."""


class BrokenStructureError(UserError, ValueError):
    """What was meant to be a structure is none that can be judged; the message says why."""


@dataclass(frozen=True)
class Piece:
    """What a file says of one structure, not read yet.

    Attributes:
        label: tells it from others of the same file, such as "#17"; empty where there can be no other.
        form: how to read it; None for what cannot be read.
        content: text, or a JSON value.
        error: why it cannot be read; empty if it may.
    """

    label: str
    form: Format | None
    content: Any
    error: str = ""


def format_of(name: str) -> Format | None:
    """The format that a file's name tells; None if it tells none."""
    path = PurePosixPath(name)
    known = SUFFIXES.get(path.suffix.lower())
    return "poscar" if known is None and POSCAR_NAME.fullmatch(path.name) else known


def pieces(form: Format, stream: IO[bytes]) -> Iterator[Piece]:
    """What a file says of each of its structures; at least one piece, which may be an error."""
    streamed = {"extxyz": _frames, "jsonl": _lines, "csv": _rows}.get(form)
    if streamed is not None:
        with _reader(stream) as lines:
            first = True
            for piece in streamed(lines):
                first = False
                yield piece
        if first:
            yield _error("the file is empty")
        return
    text = _decoded(stream.read())
    if not text.strip("\0 \t\r\n"):
        yield _error("the file is empty")
    elif form == "json":
        yield from _values(text)
    elif form == "cif":
        yield from _blocks(text)
    else:
        yield Piece("", form, text)


def structure_of(piece: Piece) -> Structure:
    """Read a piece: elements and positions alone, no oxidation states, labels or moments.

    Raises:
        BrokenStructureError: it is none, it is disordered, or its cell has no volume.
    """
    if piece.error or piece.form is None:
        raise BrokenStructureError(piece.error or "no format")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", BadPoscarWarning)
            return _clean(_READERS[piece.form](piece.content))
    except BrokenStructureError:
        raise
    except BadPoscarWarning as error:
        raise BrokenStructureError(f"the POSCAR does not say which elements it holds: {_told(error)}") from error
    except RecursionError as error:
        raise BrokenStructureError("nested too deeply to be a structure") from error
    except np.linalg.LinAlgError as error:
        raise BrokenStructureError("its cell has no volume: the three vectors lie in a plane") from error
    except BROKEN as error:
        raise BrokenStructureError(f"not readable as {piece.form}: {_told(error)}") from error


def failure(error: Exception) -> Piece:
    """The piece that says why a file could not be taken apart."""
    return _error(_told(error))


# ---------------------------------------------------------------- files into pieces


def _decoded(data: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    return data.decode("utf-8-sig", errors="replace")


def _reader(stream: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")


def _error(reason: str, label: str = "") -> Piece:
    return Piece(label, None, None, reason)


def _blocks(text: str) -> Iterator[Piece]:
    """The data blocks of a CIF that have a cell; the whole text, to be refused in its words, where none has."""
    parts = re.split(r"(?im)^(?=data_)", text)
    with_cell = [part for part in parts if "_cell_length_a" in part] or [text]
    for index, part in enumerate(with_cell):
        yield Piece(f"#{index}" if len(with_cell) > 1 else "", "cif", part)


def _frames(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """The frames of an extxyz; after a line that should count atoms and does not, the rest cannot be found."""
    index = 0
    for line in lines:
        if not line.strip():
            continue
        label = f"#{index}"
        if not re.fullmatch(r"\s*\d{1,7}\s*", line):
            yield _error(f"expected a number of atoms at the head of frame {index}, got {line.strip()[:40]!r}", label)
            return
        count = int(line)
        frame = [line, *(lines.readline() for _ in range(count + 1))]
        if not all(frame):
            yield _error(f"frame {index} is cut short: {count} atoms are announced", label)
            return
        yield Piece(label, "extxyz", "".join(frame))
        index += 1


def _lines(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """One JSON value on each line that is not blank."""
    for index, line in enumerate(line for line in lines if line.strip("\0 \t\r\n")):
        label = f"#{index}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield _error(f"not JSON: {_told(error)}", label)
        else:
            yield Piece(label, "json", value)


def _values(text: str) -> Iterator[Piece]:
    """A structure, a list of them, or a mapping from names to them."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines under another name
            with _reader(io.BytesIO(text.encode())) as lines:
                yield from _lines(lines)
        else:
            yield _error(f"not JSON: {_told(error)}")
        return
    except RecursionError:
        yield _error("nested too deeply to be a structure")
        return
    if isinstance(value, list) and value:
        yield from (Piece(f"#{index}", "json", item) for index, item in enumerate(value))
    elif isinstance(value, dict) and value and not _is_structure(value) and all(map(_is_structure, value.values())):
        yield from (Piece(f"#{name}", "json", item) for name, item in value.items())
    else:
        yield Piece("", "json", value)


def _is_structure(value: Any) -> bool:
    """Whether a JSON value looks like a structure or holds one."""
    if isinstance(value, str):
        return "_cell_length_a" in value
    return isinstance(value, dict) and ("lattice" in value or any(key in value for key in HOLDERS))


def _rows(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """The rows of a table that has a column for structures."""
    csv.field_size_limit(sys.maxsize)
    table = csv.DictReader(lines)
    columns = {(name or "").strip().lower(): name for name in table.fieldnames or ()}
    column = next((columns[name] for name in reversed(HOLDERS) if name in columns), None)
    if column is None:
        if columns:
            yield _error(f"expected a column `cif` or `structure`, got {', '.join(columns)[:80]}")
        return
    for index, row in enumerate(table):
        text = row.get(column)
        if text:
            yield Piece(f"#{index}", "csv", text)
        else:
            yield _error(f"nothing in column {column}", f"#{index}")


# ---------------------------------------------------------------- pieces into structures


def _read_cif(text: str) -> Structure:
    found = CifParser.from_str(text).parse_structures(primitive=False, on_error="raise")
    return found[0]


def _read_poscar(text: str) -> Structure:
    return Poscar.from_str(text, read_velocities=False).structure


def _read_extxyz(text: str) -> Structure:
    atoms = next(read_xyz(io.StringIO(text), 0))
    if atoms.cell.rank < 3 or not atoms.pbc.all():
        raise BrokenStructureError("no crystal: expected a cell (Lattice=...) that repeats along three axes")
    if not atoms.numbers.all():
        raise BrokenStructureError(f"{atoms.symbols[int(np.argmin(atoms.numbers))]} is no element")
    return Structure(atoms.cell.array, atoms.numbers.tolist(), atoms.positions, coords_are_cartesian=True)


def _read_json(value: Any) -> Structure:
    """A pymatgen dictionary, our own record, a CIF as a string, or an object that holds one of these."""
    if isinstance(value, str):
        return _read_cif(value) if "_cell_length_a" in value else _read_json(json.loads(value))
    if not isinstance(value, dict):
        raise BrokenStructureError(f"expected a JSON object with a lattice and sites, got {type(value).__name__}")
    if "sites" in value:
        return Structure.from_dict(value)
    if {"lattice", "species", "frac_coords"} <= set(value):
        return Structure(value["lattice"], value["species"], value["frac_coords"])
    for key in HOLDERS:
        if key in value:
            return _read_json(value[key])
    raise BrokenStructureError(
        f"expected a JSON object with a lattice and sites, got the keys {', '.join(value)[:80] or 'none'}"
    )


_READERS = {
    "cif": _read_cif,
    "poscar": _read_poscar,
    "extxyz": _read_extxyz,
    "json": _read_json,
    "jsonl": _read_json,
    "csv": _read_json,
}


def _clean(structure: Structure) -> Structure:
    """The structure with nothing but elements on its sites."""
    if len(structure) == 0:
        raise BrokenStructureError("no atoms")
    lattice, coords = structure.lattice.matrix, structure.frac_coords
    if not (np.isfinite(lattice).all() and np.isfinite(coords).all()):
        raise BrokenStructureError("coordinates or cell are not finite")
    volume = abs(float(np.linalg.det(lattice)))
    if volume < SMALLEST_VOLUME * len(structure):
        raise BrokenStructureError(f"its cell has no volume: {volume:.2g} Å³ for {len(structure)} atoms")
    for site in structure:
        if not site.is_ordered:
            raise BrokenStructureError(
                f"disordered: a site is occupied by {site.species_string}; order it first, for instance with pymatgen"
            )
    symbols = [getattr(site.specie, "symbol", "") for site in structure]
    if not all(getattr(site.specie, "Z", 0) for site in structure):
        strange = next(site for site in structure if not getattr(site.specie, "Z", 0))
        raise BrokenStructureError(f"{strange.species_string} is no element")
    return Structure(lattice, symbols, coords)


def _told(error: BaseException) -> str:
    """An error in one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError | IndexError | AssertionError):
        text = f"{type(error).__name__} {text}"
    return text if len(text) <= 200 else f"{text[:199]}…"
