"""Gaps from tables of users, and from files that hold structures and gaps."""

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ase.io.extxyz import key_val_str_to_dict
from pymatgen.core.structure import Structure

from matgen.first_principles.subjects import OWN_FILES
from matgen.learning.rows import PBE, LabelConfig, LabelError, Row, failed_row
from matgen.runtime.config import did_you_mean
from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif_block import HAS_CELL
from matgen.structures.files import found, read, read_structures
from matgen.structures.formats import Piece
from matgen.structures.poscar import is_head
from matgen.structures.reading import read_piece

FOREIGN = re.compile(
    r"(?<![a-z])(hse\w*|gllb\w*|exp\w*|measured|optical|scan|r2scan|gw|g0w0|t?mbj|lda|pbe0|b3lyp)(?![a-z])",
    re.IGNORECASE,
)
"""Words in the name of a column that mean something other than PBE."""

TABLES = frozenset({".csv", ".parquet"})

FRAMES = frozenset({".extxyz", ".xyz", ".json", ".jsonl"})

HOLDERS = ("structure", "cif", "path", "file", "filename")

NAMES = ("name", "material_id", "id", "file", "filename")


def table_rows(path: Path, config: LabelConfig) -> list[Row]:
    """Return the rows of a CSV or Parquet file."""
    columns, rows = read_table(path)
    _check_column(path, columns, config)
    if not rows:
        raise LabelError(f"expected rows in {path}, found none; is the table complete?")
    by_stem = files_by_stem(path.parent)
    return [_of_row(f"{path.name}#{index}", row, path, by_stem, config) for index, row in enumerate(rows)]


def read_table(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of the columns and the rows of a CSV or Parquet file.

    Raises:
        LabelError: it cannot be read.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
            return table.column_names, table.to_pylist()
        csv.field_size_limit(sys.maxsize)
        with path.open(encoding="utf-8-sig", newline="", errors="replace") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            return [name.strip() for name in reader.fieldnames or ()], [_stripped(row) for row in rows]
    except (OSError, pa.ArrowException, csv.Error) as error:
        raise LabelError(f"cannot read {path} as a table: {' '.join(str(error).split())[:200]}") from error


def _stripped(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name.strip(): value for name, value in row.items() if isinstance(name, str)}


def _check_column(path: Path, columns: Sequence[str], config: LabelConfig) -> None:
    if config.column not in columns:
        there = ", ".join(columns)[:300] or "none"
        hint = did_you_mean(config.column, columns) if columns else ""
        raise LabelError(
            f"expected a column {config.column} in {path}, which has {there}; name another with --column"
            + (f" ({hint})" if hint and len(hint) < 80 else "")
        )
    if f"{config.column}_spread" in columns:
        raise LabelError(
            f"expected calculated gaps in {path}, but its {config.column} was predicted: {config.column}_spread stands "
            "beside it; run `matgen verify` and name its folder"
        )
    if (word := FOREIGN.search(config.column.replace("_", " "))) and config.functional.upper() in PBE:
        raise LabelError(
            f"expected PBE gaps, but the column {config.column} speaks of {word[0]}; say --functional {word[0]} "
            "--allow-functional if that is what targets are to mean from now on"
        )


def _of_row(name: str, row: Mapping[str, Any], path: Path, by_stem: Mapping[str, Path], config: LabelConfig) -> Row:
    lower = {column.lower(): value for column, value in row.items()}
    label = next((str(lower[key]) for key in NAMES if lower.get(key)), "")
    name = f"{name} {label}".strip()
    said = str(lower.get("functional") or config.functional)
    if said.upper() != config.functional.upper() and not {said.upper(), config.functional.upper()} <= PBE:
        return failed_row(name, f"calculated with {said}, expected {config.functional}")
    held = next((lower[key] for key in HOLDERS if lower.get(key)), None)
    try:
        structure = held_structure(held, path.parent) if held is not None else _beside(label, by_stem)
    except BrokenStructureError as error:
        return failed_row(name, str(error))
    return Row(name, structure, "", row[config.column], f"{path.name} {config.functional}")


def held_structure(held: Any, folder: Path) -> Structure:
    """Return the structure of a CIF, of a JSON text or object, or of a file of that name."""
    text = held if isinstance(held, str) else ""
    written = HAS_CELL.search(text) or text.lstrip().startswith("{") or is_head(text.splitlines()[:7])
    if text and not written:
        file = folder / text
        if not file.is_file():
            raise BrokenStructureError(f"expected a CIF, a pymatgen JSON or a file, got {text[:60]!r}")
        return first_structure(file)
    return read_piece(Piece("", "json", held), "crystal").structure  # type: ignore[return-value]


def _beside(label: str, by_stem: Mapping[str, Path]) -> Structure:
    file = by_stem.get(label) or by_stem.get(Path(label).stem)
    if file is None:
        raise BrokenStructureError(
            f"no structure: expected a column {', '.join(HOLDERS[:3])}, or a file named {label or 'as its `name`'}.cif"
        )
    return first_structure(file)


def first_structure(file: Path) -> Structure:
    """Return the first structure of a file.

    Raises:
        BrokenStructureError: it is broken.
    """
    entry = next(read_structures([file]))
    if entry.structure is None:
        raise BrokenStructureError(entry.error)
    return entry.structure  # type: ignore[return-value]


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that may hold structures, by their names without suffix."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in OWN_FILES)
    return {file.stem: file for file in files if file.suffix.lower() not in TABLES | {".txt"}}  # logs of GPAW


def frame_rows(path: Path, config: LabelConfig, *, strict: bool) -> list[Row]:
    """Return the frames of an extxyz, or JSON objects, that hold the gap as a key.

    Args:
        path: of the file.
        config: how to read it.
        strict: refuse a file without gaps; otherwise it may hold just the crystals of results.
    """
    several = list(found([path]))
    values = [values_beside(one.piece) for one in several]
    keys = list(dict.fromkeys(key for one in values for key in one))
    if not strict and config.column not in keys:
        return []
    _check_column(path, keys, config)
    rows = []
    for one, beside in zip(several, values, strict=True):
        entry = read(one)
        structure = entry.structure if isinstance(entry.structure, Structure) else None
        rows.append(
            Row(one.name, structure, entry.error, beside.get(config.column), f"{path.name} {config.functional}")
        )
    return rows


def values_beside(piece: Piece) -> dict[str, Any]:
    """Return the values stored beside a structure."""
    if isinstance(piece.content, dict):
        return {key: value for key, value in piece.content.items() if not isinstance(value, dict | list)}
    if piece.form != "extxyz":
        return {}
    try:
        return key_val_str_to_dict(piece.content.split("\n", 2)[1])
    except ValueError:  # a damaged cell, which is the reason that reading the structure gives
        return {}
