"""What one file of structures says, piece by piece: CIF, POSCAR, SDF, MOL, SMILES, (ext)xyz, JSON, JSON lines, CSV.

Crystals have a cell, molecules have none. What a file does not say of a molecule, hydrogens or a geometry, is made, and
noted. Taking a file apart is cheap and done in one place; reading a piece is dear and can be done elsewhere. Text that
is not UTF-8 is read as if it were, foreign bytes replaced: no number and no chemical symbol is written with them.
"""

import csv
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import IO, Any, Literal

import numpy as np
from ase.io.extxyz import read_xyz
from pymatgen.core.structure import Molecule, Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar
from rdkit import Chem

from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS
from matgen.errors import UserError
from matgen.structures.candidate import KindName, Material, kind_of
from matgen.templates.molecular_geometry import Placed, bonded, embedded, placed
from matgen.templates.molecule import MoleculeError, MoleculeTemplate, with_positions

Format = Literal["cif", "poscar", "extxyz", "sdf", "smi", "json", "jsonl", "csv"]

SUFFIXES: dict[str, Format] = {
    ".cif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".sdf": "sdf",
    ".sd": "sdf",
    ".mol": "sdf",
    ".smi": "smi",
    ".smiles": "smi",
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
"""Keys of a JSON object, and columns of a CSV table, under which a structure is looked for; after them, `smiles`."""

_CHARGE = re.compile(r"""\bcharge["']?\s*=\s*["']?([+-]?\d{1,3})\b""", re.IGNORECASE)


class BrokenStructureError(UserError, ValueError):
    """What was meant to be a structure is none that can be judged; the message says why.

    Attributes:
        atoms: elements and positions in free space that no bonds explain; None where there are not even those.
    """

    def __init__(self, message: str, atoms: Molecule | None = None) -> None:
        super().__init__(message)
        self.atoms = atoms


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


@dataclass(frozen=True)
class Reading:
    """A piece that was read.

    Attributes:
        structure: elements and positions; atoms of a molecule in the order of the graph of its template.
        template: canonical SMILES of a molecule; empty for a crystal.
        note: what the file did not say and was made up, such as a geometry; empty if nothing was.
    """

    structure: Material
    template: str = ""
    note: str = ""


def format_of(name: str) -> Format | None:
    """The format that a file's name tells; None if it tells none."""
    path = PurePosixPath(name)
    known = SUFFIXES.get(path.suffix.lower())
    return "poscar" if known is None and POSCAR_NAME.fullmatch(path.name) else known


def pieces(form: Format, stream: IO[bytes]) -> Iterator[Piece]:
    """What a file says of each of its structures; at least one piece, which may be an error."""
    streamed = _STREAMED.get(form)
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


def reading(piece: Piece, kind: KindName | None = None) -> Reading:
    """Read a piece: elements and positions alone, no oxidation states, labels or moments.

    Args:
        piece: of a file.
        kind: that is wanted; None for whatever it is.

    Raises:
        BrokenStructureError: it is none or of another kind, it is disordered, or its cell has no volume.
    """
    if piece.error or piece.form is None:
        raise BrokenStructureError(piece.error or "no format")
    likely = likely_kind(piece)
    if None not in (kind, likely) and kind != likely:
        raise BrokenStructureError(_OTHER[likely])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", BadPoscarWarning)
            found = _READERS[piece.form](piece.content)
            read = _whole(found) if isinstance(found, Placed) else Reading(_clean(found))
    except BrokenStructureError:
        raise
    except MoleculeError as error:
        raise BrokenStructureError(_told(error)) from error
    except BadPoscarWarning as error:
        raise BrokenStructureError(f"the POSCAR does not say which elements it holds: {_told(error)}") from error
    except RecursionError as error:
        raise BrokenStructureError("nested too deeply to be a structure") from error
    except np.linalg.LinAlgError as error:
        raise BrokenStructureError("its cell has no volume: the three vectors lie in a plane") from error
    except BROKEN as error:
        raise BrokenStructureError(f"not readable as {piece.form}: {_told(error)}") from error
    if kind not in {None, kind_of(read.structure)}:
        raise BrokenStructureError(_OTHER[kind_of(read.structure)])
    return read


_OTHER: dict[KindName | None, str] = {
    "molecule": "no crystal: expected a cell (Lattice=...) that repeats along three axes, got a molecule",
    "crystal": "no molecule: expected atoms in free space, got a cell that repeats",
}


def likely_kind(piece: Piece) -> KindName | None:
    """Whether a piece is of a crystal or of a molecule, told without reading it; None where it cannot be told."""
    if piece.error or piece.form is None:
        return None
    if piece.form == "extxyz":
        return "crystal" if _has_cell(piece.content) else "molecule"
    return _KINDS[piece.form] if piece.form in _KINDS else _kind_of_json(piece.content)


_KINDS: dict[Format, KindName] = {"cif": "crystal", "poscar": "crystal", "sdf": "molecule", "smi": "molecule"}


def _kind_of_json(value: Any) -> KindName | None:
    if isinstance(value, str):
        return "crystal" if "_cell_length_a" in value or '"lattice"' in value else None
    if not isinstance(value, dict):
        return None
    if "lattice" in value:
        return "crystal"
    held = next((key for key in HOLDERS if key in value), None)
    if held is not None and not {"sites", "cart_coords"} & set(value):
        return _kind_of_json(value[held])
    return "molecule" if {"sites", "cart_coords", "smiles"} & set(value) else None


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


def _records(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """The records of an SDF, or the one of a MOL file."""
    texts = _parted(lines)
    first, second = next(texts, None), next(texts, None)
    if first is None:
        return
    if second is None:
        yield Piece("", "sdf", first)
        return
    for index, text in enumerate(chain((first, second), texts)):
        yield Piece(f"#{index}", "sdf", text)


def _parted(lines: io.TextIOWrapper) -> Iterator[str]:
    """What stands between lines of four dollars; the first three lines of a record may be blank."""
    record: list[str] = []
    for line in lines:
        if line.startswith("$$$$"):
            yield "".join(record)
            record = []
        else:
            record.append(line.rstrip("\r\n") + "\n")
    if any(map(str.strip, record)):
        yield "".join(record)


def _smiles(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """One SMILES on each line, and a name after it if there is one; a heading and comments are passed over."""
    index = 0
    for line in lines:
        smiles, _, name = line.strip("\0 \t\r\n").replace("\t", " ").partition(" ")
        if not smiles or smiles.startswith("#") or smiles.lower() == "smiles":
            continue
        yield Piece(f"#{' '.join(name.split())[:60] or index}", "smi", smiles)
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
    keys = {"lattice", "sites", "cart_coords", "smiles", *HOLDERS}
    return isinstance(value, dict) and not keys.isdisjoint(value)


def _rows(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """The rows of a table that has a column for structures."""
    csv.field_size_limit(sys.maxsize)
    table = csv.DictReader(lines)
    columns = {(name or "").strip().lower(): name for name in table.fieldnames or ()}
    column = next((columns[name] for name in (*reversed(HOLDERS), "smiles") if name in columns), None)
    if column is None:
        if columns:
            yield _error(f"expected a column `cif`, `structure` or `smiles`, got {', '.join(columns)[:80]}")
        return
    form: Format = "smi" if column == columns.get("smiles") else "csv"
    for index, row in enumerate(table):
        text = row.get(column)
        if text:
            yield Piece(f"#{index}", form, text)
        else:
            yield _error(f"nothing in column {column}", f"#{index}")


_STREAMED: dict[Format, Callable[[io.TextIOWrapper], Iterator[Piece]]] = {
    "extxyz": _frames,
    "sdf": _records,
    "smi": _smiles,
    "jsonl": _lines,
    "csv": _rows,
}


# ---------------------------------------------------------------- pieces into structures


def _read_cif(text: str) -> Structure:
    found = CifParser.from_str(text).parse_structures(primitive=False, on_error="raise")
    return found[0]


def _read_poscar(text: str) -> Structure:
    return Poscar.from_str(text, read_velocities=False).structure


def _read_extxyz(text: str) -> Structure | Placed:
    if not _has_cell(text):
        return _read_xyz(text)
    atoms = next(read_xyz(io.StringIO(text), 0))
    if atoms.cell.rank < 3 or not atoms.pbc.all():
        raise BrokenStructureError("no crystal: expected a cell (Lattice=...) that repeats along three axes")
    if not atoms.numbers.all():
        raise BrokenStructureError(f"{atoms.symbols[int(np.argmin(atoms.numbers))]} is no element")
    return Structure(atoms.cell.array, atoms.numbers.tolist(), atoms.positions, coords_are_cartesian=True)


def _has_cell(frame: str) -> bool:
    """Whether the second line of a frame says that something repeats."""
    comment = frame.split("\n", 2)[1]
    aperiodic = re.search(r"""\bpbc\s*=\s*["'{\[]?\s*(F|False|0)\b[\s,]*(F|False|0)\b[\s,]*(F|False|0)\b""", comment)
    return re.search(r"\bLattice\s*=", comment, re.IGNORECASE) is not None and aperiodic is None


def _read_xyz(text: str) -> Placed:
    """A frame without a cell; bonds are those of a `smiles=` in its comment, or follow from distances and `charge=`."""
    _, comment, *lines = text.splitlines()
    if re.search(r"\bProperties\s*=", comment):
        atoms = next(read_xyz(io.StringIO(text), 0))
        smiles = atoms.info.get("smiles", "")
        numbers, positions = atoms.numbers, atoms.positions
    else:
        columns = [line.split() for line in lines]
        smiles = ""
        numbers = np.array([_atomic_number(row[0]) for row in columns])
        positions = np.array([[float(number.replace("*^", "e")) for number in row[1:4]] for row in columns])
    if smiles and MoleculeTemplate.of(smiles).graph.elements.tolist() == numbers.tolist():
        return placed(with_positions(MoleculeTemplate.of(smiles), positions))
    charge = _CHARGE.search(comment)
    return _perceived(numbers, positions, int(charge[1]) if charge else 0)


def _atomic_number(word: str) -> int:
    """Of a symbol or a number, as the first column of an XYZ has it."""
    z = int(word) if word.isdigit() else ATOMIC_NUMBERS.get(word.capitalize(), 0)
    if not 0 < z < len(SYMBOLS):
        raise BrokenStructureError(f"{word[:20]} is no element")
    return z


def _perceived(numbers: np.ndarray, positions: np.ndarray, charge: int) -> Placed:
    """The molecule that atoms in free space form."""
    if not len(numbers):
        raise BrokenStructureError("no atoms")
    if not np.isfinite(positions).all():
        raise BrokenStructureError("coordinates are not finite")
    try:
        return placed(bonded(numbers, positions, charge))
    except MoleculeError as error:
        message = f"no crystal, since it has no cell, and no molecule: {_told(error)}"
        raise BrokenStructureError(message, _atoms(numbers, positions)) from error


def _read_sdf(text: str) -> Placed:
    found = Chem.MolFromMolBlock(text, removeHs=False)
    bare = found or Chem.MolFromMolBlock(text, removeHs=False, sanitize=False)
    if bare is None:
        raise BrokenStructureError("not readable as sdf: expected a table of atoms and bonds, V2000 or V3000")
    try:
        if found is None:
            Chem.SanitizeMol(bare)  # raises what is wrong with it
        return placed(bare)
    except ValueError as error:
        message = _told(error) if isinstance(error, MoleculeError) else f"not readable as sdf: {_told(error)}"
        raise BrokenStructureError(message, _atoms_in_space(bare)) from error


def _atoms_in_space(molecule: Chem.Mol) -> Molecule | None:
    if not molecule.GetNumConformers() or not molecule.GetConformer().Is3D():
        return None
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return _atoms(numbers, molecule.GetConformer().GetPositions())


def _atoms(numbers: np.ndarray, positions: np.ndarray) -> Molecule | None:
    """Atoms of which nothing else is known; None if some are none.

    Args:
        numbers: atomic numbers (n,).
        positions: Cartesian (n, 3), Å.
    """
    if not len(numbers) or not numbers.all() or not np.isfinite(positions).all():
        return None
    return Molecule(numbers.tolist(), positions)


def _read_smiles(smiles: str) -> Placed:
    return embedded(MoleculeTemplate.of(smiles))


def _read_json(value: Any) -> Structure | Placed:
    """A pymatgen dictionary, our own record, a CIF as a string, or an object that holds one of these or a SMILES."""
    if isinstance(value, str):
        return _read_cif(value) if "_cell_length_a" in value else _read_json(json.loads(value))
    if not isinstance(value, dict):
        raise BrokenStructureError(f"expected a JSON object with a lattice and sites, got {type(value).__name__}")
    if "sites" in value:
        return Structure.from_dict(value) if "lattice" in value else _of_sites(Molecule.from_dict(value))
    if {"lattice", "species", "frac_coords"} <= set(value):
        return Structure(value["lattice"], value["species"], value["frac_coords"])
    if {"charge", "species", "cart_coords"} <= set(value):
        return _of_sites(
            Molecule(value["species"], value["cart_coords"], charge=value["charge"]), value.get("template")
        )
    for key in HOLDERS:
        if key in value:
            inner = value[key]
            told = isinstance(inner, dict) and "cart_coords" in inner and "template" in value
            return _read_json(inner | {"template": value["template"]} if told else inner)
    if "smiles" in value:
        return _read_smiles(value["smiles"])
    raise BrokenStructureError(
        f"expected a JSON object with a lattice and sites, got the keys {', '.join(value)[:80] or 'none'}"
    )


def _of_sites(molecule: Molecule, smiles: str | None = None) -> Placed:
    """With the graph of a SMILES whose atoms these are, in its order; by distances where none is told."""
    numbers = np.array([getattr(site.specie, "Z", 0) for site in molecule])
    if not smiles:
        return _perceived(numbers, molecule.cart_coords, int(molecule.charge))
    template = MoleculeTemplate(smiles)
    if template.graph.elements.tolist() != numbers.tolist():
        raise BrokenStructureError(f"expected the atoms of {smiles} in the order of its graph, got {molecule.formula}")
    return Placed(template, molecule.cart_coords)


_READERS: dict[Format, Callable[[Any], Structure | Placed]] = {
    "cif": _read_cif,
    "poscar": _read_poscar,
    "extxyz": _read_extxyz,
    "sdf": _read_sdf,
    "smi": _read_smiles,
    "json": _read_json,
    "jsonl": _read_json,
    "csv": _read_json,
}


def _whole(found: Placed) -> Reading:
    """A molecule as a reading, if nothing about it is strange."""
    graph = found.template.graph
    if not np.isfinite(found.positions).all():
        raise BrokenStructureError("coordinates are not finite")
    molecule = Molecule(graph.elements.tolist(), found.positions, charge=int(graph.charges.sum()))
    return Reading(molecule, str(found.template), found.note)


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
