"""Candidates of folders that `matgen design` wrote, and calculations of them that are kept."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from matgen.relaxation.calculators import chgnet_calculator
from matgen.structures.record import material_of
from matgen.structures.run_folder import REPORT
from shared.measurement import read_lines

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


def kept_results(
    path: Path,
    wanted: Iterable[tuple[Line, Structure]],
    calculated: Callable[[Structure, Any], Line],
    *,
    calculate: bool = True,
) -> list[Line]:
    """Calculate crystals by CHGNet, and return the lines with their results, in order.

    Args:
        path: of JSON lines, to which each result is appended at once; what it holds is not calculated again.
        wanted: lines, each with `folder` and `name`, and their crystals.
        calculated: returns results from a crystal and the calculator.
        calculate: if False, only what the file holds is returned.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {(line["folder"], line["name"]): line for line in read_lines(path)}
    found, calculator = [], None
    with path.open("a", encoding="utf-8") as stream:
        for line, crystal in wanted:
            key = line["folder"], line["name"]
            if key not in done and calculate:
                calculator = calculator or chgnet_calculator()
                done[key] = line | calculated(crystal, calculator)
                stream.write(json.dumps(done[key]) + "\n")
                stream.flush()
            if key in done:
                found.append(done[key])
    return found
