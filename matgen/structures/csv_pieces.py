"""Rows of CSV tables that hold structures: separated by commas, semicolons or tabs, in UTF-8 or UTF-16."""

import csv
import io
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import IO

from matgen.structures.formats import Format, Piece
from matgen.structures.ids import id_among
from matgen.structures.labels import of_row
from matgen.structures.size_limits import LARGEST_PIECE

CRYSTALS = ("cif", "structure", "poscar", "contcar", "final_structure", "initial_structure")
MOLECULES = (
    *("smiles", "canonical_smiles", "isomeric_smiles", "canonicalsmiles", "isomericsmiles", "smi", "smiles_string"),
    *("mol", "molblock", "sdf", "inchi"),
)
"""Names of columns of structures, in the order in which they are tried, for each row."""

OF_MOLECULE: dict[str, Format] = {"mol": "sdf", "molblock": "sdf", "sdf": "sdf", "inchi": "inchi"}
"""Format of the cells of a column of molecules that are no SMILES."""

SEPARATORS = ",;\t|"


def text_of(stream: IO[bytes]) -> io.TextIOWrapper:
    """Return the text of a stream, by the mark of its encoding; UTF-8 without one, with replacements."""
    buffered: IO[bytes] = stream if hasattr(stream, "peek") else io.BufferedReader(stream)  # type: ignore[type-var]
    mark: bytes = buffered.peek(2)[:2]  # type: ignore[attr-defined]
    encoding = "utf-16" if mark in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    return io.TextIOWrapper(buffered, encoding=encoding, errors="replace", newline="")


def rows(lines: io.TextIOWrapper) -> Iterator[Piece]:
    """Yield the rows of a table that has a column of structures."""
    csv.field_size_limit(LARGEST_PIECE)
    head = lines.readline(LARGEST_PIECE)
    separator = max(SEPARATORS, key=lambda one: (len(_holders(_columns(head, one))), head.count(one)))
    table = csv.DictReader(chain([head], lines), delimiter=separator)
    columns = {(name or "").strip().lower(): name for name in table.fieldnames or ()}
    holders = _holders(columns)
    if not holders:
        if columns:
            reason = f"expected a column `cif`, `structure`, `poscar` or `smiles`, got {', '.join(columns)[:80]}"
            yield Piece("", None, None, reason)
        return
    for index, row in enumerate(table):
        held = next((name for name in holders if (row.get(columns[name]) or "").strip()), None)
        own_id = id_among({name: value for name, value in row.items() if held is None or name != columns[held]})
        given = of_row(row, own_id, holders)
        if held is None:
            yield Piece(f"#{index}", None, None, f"nothing in column {', '.join(holders)}", own_id, given)
            continue
        form: Format = "csv" if held in CRYSTALS else OF_MOLECULE.get(held, "smi")
        yield Piece(f"#{index}", form, row[columns[held]], id=own_id, given=given)


def _columns(head: str, separator: str) -> Mapping[str, str]:
    names = next(csv.reader([head], delimiter=separator), [])
    return {name.strip().lower(): name for name in names}


def _holders(columns: Mapping[str, str]) -> list[str]:
    return [name for name in (*CRYSTALS, *MOLECULES) if name in columns]
