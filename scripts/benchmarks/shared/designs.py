"""Candidates of folders that `matgen design` wrote."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from matgen.structures.record import material_of
from matgen.structures.run_folder import REPORT

Line = dict[str, Any]


def designs(folder: Path) -> Iterator[tuple[Line, Structure]]:
    """Yield the candidates of a folder that passed all checks, each with its target."""
    targets = json.loads((folder / REPORT).read_text(encoding="utf-8"))["configuration"]["targets"]
    for one in read_lines_of(folder / "candidates.jsonl"):
        crystal = material_of(one["structure"])
        predicted = {name: found["value"] for name, found in one["properties"].items()}
        yield {"folder": folder.name, "name": one["name"], "targets": targets, "predicted": predicted}, crystal


def read_lines_of(path: Path) -> list[Line]:
    """Return the JSON objects of a file that another program may be writing."""
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]
