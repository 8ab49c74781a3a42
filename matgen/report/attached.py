"""Parts of a candidate that lie in files of their own in the folder of its run: phonons and elastic tensor."""

import json
from pathlib import Path
from typing import Any

from matgen.runtime.failures import reason_of
from matgen.structures.attached_files import attached_path, inside

FILES = ("phonons", "elasticity")
"""Names of the parts, of their folders, and of their keys in a report."""

MOST_NUMBERS = 4000
"""Frequencies of the bands that are drawn; of more, those at every so many wave vectors, and at the special points."""


def attached(folder: Path, name: str) -> dict[str, Any]:
    """Return the parts of a candidate that are in files, by name; a damaged file says so in `missing`.

    Args:
        folder: of the run.
        name: of the candidate, or of the row of a screening.
    """
    found: dict[str, Any] = {}
    for part in FILES:
        path = inside(folder, attached_path(folder, f"{part}/json", name))
        if path is None:
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found[part] = _phonons(record) if part == "phonons" else _elasticity(record)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            found.setdefault("missing", {})[part] = f"{part}/{path.name} cannot be read: {reason_of(error)}"
    return found


def _phonons(record: dict[str, Any]) -> dict[str, Any]:
    """Return phonons with as many wave vectors as a drawing needs; frequencies band by band."""
    bands, dos = record["bands"], record["dos"]
    points = bands["frequencies"]
    step = max(1, -(-len(points) * len(points[0]) // MOST_NUMBERS))
    ticks = {tick["x"] for tick in bands["ticks"]}
    kept = [i for i, x in enumerate(bands["x"]) if i % step == 0 or x in ticks]
    drawn = {
        "x": [bands["x"][i] for i in kept],
        "frequencies": [[round(points[i][band], 2) for i in kept] for band in range(len(points[0]))],
        "ticks": bands["ticks"],
    }
    names = ("stable", "lowest_thz", "tolerance_thz", "potential", "supercell_atoms", "at_300_K", "text")
    told = {name: record[name] for name in names if name in record}
    return told | {"bands": drawn, "dos": {name: dos[name] for name in ("frequency", "density")}}


def _elasticity(record: dict[str, Any]) -> dict[str, Any]:
    """Return an elastic tensor.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    if [len(row) for row in record["tensor_gpa"]] != [6] * 6:
        raise ValueError("expected 6 rows of 6 numbers, GPa, as tensor_gpa")
    return dict(record) | {name: record[name] for name in ("bulk", "shear", "born_stable", "text")}
