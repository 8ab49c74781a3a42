"""Identifiers that files carry for their structures, and names in natural order."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from matgen.structures.formats import Piece

KEYS = (
    *("material_id", "mp_id", "mpid", "structure_id", "crystal_id", "sample_id", "entry_id", "identifier"),
    *("molecule_id", "mol_id", "compound_id", "chembl_id", "cid"),
    *("_id", "uid", "unique_id", "jid", "id", "name", "file", "filename"),
)
"""Columns of a table, keys of a JSON object or of an extxyz frame that hold an identifier, the most telling first."""

PAIR = re.compile(r"""([A-Za-z_]\w*)\s*=\s*("[^"]*"|'[^']*'|\S+)""")


def id_among(values: Mapping[str, Any]) -> str:
    """Return the identifier among named values; empty if there is none."""
    named = {str(key).strip().lower(): value for key, value in values.items()}
    found = (named[key] for key in KEYS if isinstance(named.get(key), str | int) and not isinstance(named[key], bool))
    return next((text for value in found if (text := " ".join(str(value).split())[:120])), "")


def id_of(piece: Piece) -> str:
    """Return the identifier that a piece of a file carries for its structure; empty if there is none.

    That of a table is read with its row; a JSON object has one among its keys or in its `data`, a row of a database of
    ASE rather in its `key_value_pairs`, an extxyz frame in its comment, a record of an SDF in its first line, so has a
    MOL2, a line of SMILES behind the SMILES.
    """
    if piece.id:
        return piece.id
    content: Any = piece.content
    if piece.form in {"json", "jsonl"} and isinstance(content, dict):
        held = [content[key] for key in ("key_value_pairs", "data") if isinstance(content.get(key), dict)]
        of_ase = "key_value_pairs" in content  # whose own identifier is random
        return next(filter(None, map(id_among, [*held, content] if of_ase else [content, *held])), "")
    reader = _IN_TEXT.get(piece.form or "")
    return reader(content) if reader and isinstance(content, str) else ""


def _of_extxyz(frame: str) -> str:
    comment = frame.split("\n", 2)[1] if frame.count("\n") else ""
    return id_among({key: _plain(value) for key, value in PAIR.findall(comment)})


def _of_mol2(record: str) -> str:
    return _title(record.partition("@<TRIPOS>MOLECULE")[2].lstrip("\r\n"))


def _title(text: str) -> str:
    return " ".join(text.split("\n", 1)[0].split())[:120]


_IN_TEXT: dict[str, Callable[[str], str]] = {"extxyz": _of_extxyz, "mol2": _of_mol2, "sdf": _title}
"""Return the identifier in the text of a format."""


def _plain(value: str) -> str:
    return value[1:-1] if value[:1] in {'"', "'"} else value


def id_in_label(label: str) -> str:
    """Return the name that a label gives a structure, such as that of `#mp-149`; empty for a mere number."""
    name = label.removeprefix("#")
    return "" if name.isdigit() else name


def stem(name: str) -> str:
    """Return the name of the file of an entry without folder and suffix; empty if the file holds several."""
    return "" if "#" in name else PurePosixPath(name.removesuffix(".gz")).stem


def told_apart(names: Sequence[str]) -> list[str]:
    """Return the names of entries without suffix, and without the parts at either end of their paths that all share.

    Folders tell files of one name apart: `gen/0/POSCAR` and `gen/1/POSCAR` are `0` and `1`. Empty if nothing does, and
    where a file holds several.
    """
    paths = [(*PurePosixPath(name).parts[:-1], stem(name)) for name in names]
    head = _n_shared(paths)
    tail = _n_shared([path[head:][::-1] for path in paths])
    return ["/".join(path[head : len(path) - tail]) if path[-1] else "" for path in paths]


def _n_shared(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many parts at the beginning of paths all share."""
    return len(list(takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names as people count: `gen_2` before `gen_10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts if part)
