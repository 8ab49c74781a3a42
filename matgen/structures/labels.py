"""Labels that files carry for their structures beside an identifier: numbers and short texts by name.

They are columns of a table, keys of a JSON object, of the comment of an extxyz frame, fields of an SDF.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from matgen.runtime.csv_lines import writable
from matgen.structures.formats import Piece
from matgen.structures.ids import KEYS, PAIR, id_of
from matgen.structures.json_keys import COMPACT, HOLDERS, ROW, STRUCTURES

Label = float | int | str

MOST = 50
"""Labels of one structure at most; the first ones are kept."""

LONGEST_NAME, LONGEST = 60, 120
"""Characters of a name, which is cut, and of a text, which is left out if it is longer."""

LARGEST = 2**53
"""Integers below it are numbers of a table without rounding."""

STRUCTURE = STRUCTURES | COMPACT | {"charge", "template", "properties", "pbc", "type", "user", "ctime", "mtime"}
"""Keys of a structure, and of who wrote it, in lower case."""

INNER = ("data", "attributes", "key_value_pairs", "properties")
"""Keys of objects whose own keys are labels too."""

NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9]\d{0,14})(?:\.\d{0,17})?|\.\d{1,17})(?:[eE][-+]?\d{1,3})?")
VALUE = r"[-+]?(?:\d{1,15}(?:\.\d{0,17})?|\.\d{1,17})(?:[eE][-+]?\d{1,3})?"
AIRSS_TITLE = re.compile(
    rf"(?mi)^TITL[ \t]+(?P<title>\S+)[ \t]+(?P<pressure>{VALUE})[ \t]+(?P<volume>{VALUE})[ \t]+(?P<enthalpy>{VALUE})"
    rf"[ \t]+(?P<spin>{VALUE})[ \t]+(?P<absolute_spin>{VALUE})[ \t]+(?P<n_ions>\d+)[ \t]+\((?P<symmetry>[^()\s]+)\)"
    r"[ \t]+n[ \t]+-[ \t]+(?P<copies>\d+)"
)
"""Title that AIRSS writes; https://airss-docs.github.io, "The SHELX res format". Others are free text."""

SDF_FIELD = re.compile(r"(?m)^>[^\n<]{0,80}<([^>\n]{1,200})>[^\n]*\n([^\n]*)")


def labels_of(piece: Piece) -> dict[str, Label]:
    """Return the labels that a piece of a file carries for its structure, without its identifier."""
    if piece.given:
        return dict(piece.given)
    content = piece.content
    pairs: list[tuple[str, Any]] = []
    if piece.form in {"json", "jsonl"} and isinstance(content, Mapping):
        pairs = list(_of_object(content))
    elif piece.form == "extxyz" and isinstance(content, str) and content.count("\n"):
        pairs = [(name, _read(text.strip("\"'"))) for name, text in PAIR.findall(content.split("\n", 2)[1][:10_000])]
    elif piece.form == "res" and isinstance(content, str):
        pairs = list(_of_airss(content))
    elif piece.form == "sdf" and isinstance(content, str):
        pairs = [(name, _read(text)) for name, text in SDF_FIELD.findall(content)]
    return kept(pairs, id_of(piece))


def of_row(row: Mapping[Any, Any], own_id: str, without: Iterable[str]) -> dict[str, Label]:
    """Return the labels of a row of a table: of each column but those of structures and of the identifier."""
    held = set(without)
    pairs = ((name, _read(text)) for name, text in row.items() if isinstance(text, str))
    return kept(((name, value) for name, value in pairs if str(name).strip().lower() not in held), own_id)


def kept(pairs: Iterable[tuple[Any, Any]], own_id: str) -> dict[str, Label]:
    """Return the first labels that fit into a table, by names that do.

    Args:
        pairs: of names and values.
        own_id: the identifier of the structure, which is no label.
    """
    found: dict[str, Label] = {}
    for key, value in pairs:
        lower = str(key).strip().lower()
        if lower in STRUCTURE or lower.startswith("@") or (lower in KEYS and str(value).strip() == own_id):
            continue
        name, label = _name(str(key)), _label(value)
        if name and label is not None and name not in found:
            found[name] = label
        if len(found) == MOST:
            break
    return found


def _of_airss(text: str) -> Iterator[tuple[str, Any]]:
    """Yield what the title of a RES file of AIRSS says: pressure (GPa), volume (Å³), enthalpy (eV) of the cell, ..."""
    if found := AIRSS_TITLE.search(text):
        yield from ((name, _read(value)) for name, value in found.groupdict().items() if value is not None)


def _of_object(value: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    random = {"unique_id"} if set(value) >= ROW else set()  # of a row of a database of ASE
    yield from ((key, item) for key, item in value.items() if key not in random)
    for key in (*INNER, *HOLDERS):
        inner = value.get(key)
        if key in HOLDERS and isinstance(inner, Mapping):
            inner = inner.get("properties")
        if isinstance(inner, Mapping):
            yield from inner.items()


def _name(key: str) -> str:
    """Return a name of letters, digits and a few signs, so that no program takes it for anything else."""
    return re.sub(r"[^\w.%()/+-]+", "_", writable(key)).strip("_")[:LONGEST_NAME]


def _read(text: str) -> Label:
    """Return the number that a text is, or the text."""
    plain = text.strip()
    if NUMBER.fullmatch(plain) is None:
        return plain
    return int(plain) if plain.lstrip("+-").isdigit() else float(plain)


def _label(value: Any) -> Label | None:
    """Return a number or a short text; None for anything else."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value if abs(value) < LARGEST else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str) or len(value) > LONGEST:
        return None
    return " ".join(writable(value).split()) or None
