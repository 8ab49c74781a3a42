"""A folder that holds results of `matgen verify` alone, as plain data."""

from collections.abc import Mapping
from typing import Any

from matgen.first_principles.calculations import Result, result_of
from matgen.first_principles.subjects import RESULTS
from matgen.report.columns import column
from matgen.report.csv_rows import csv_rows
from matgen.report.first_principles import result_record
from matgen.report.folders import RunFolder
from matgen.report.lines import read_lines
from matgen.report.remembered import conventional_of, key_of, nearest_of, powder_of
from matgen.report.run_record import run_record
from matgen.report.structures import crystal_drawing, lattice, p1_cif, xyz
from matgen.runtime.failures import guarded
from matgen.structures.candidate import Material, as_crystal, kind_of
from matgen.structures.record import material_of
from matgen.structures.symmetry import space_group

MOST_IN_FULL = 100
"""Structures that are shown."""

PREDICTED = ("band_gap", "gap")
"""Columns of the predicted gap, of crystals and of molecules."""

Verified = tuple[str, Result, Material | None]
"""Name, result, and the structure, which is recorded where there is a result."""


def verify_data(run: RunFolder) -> dict[str, Any]:
    """Return the report of results from first principles, or by GFN2-xTB."""
    found = read_lines(run.path / f"{RESULTS}.jsonl", _verified)
    last = {name: (name, result, material) for name, result, material in found.values}
    table = csv_rows(run.path / f"{RESULTS}.csv", ("n_atoms", *PREDICTED))
    known = {row["name"]: row for row in table.values}
    done = list(last.values())
    kind = next((kind_of(material) for _, _, material in done if material is not None), "crystal")
    converged = sum(result.converged for _, result, _ in done)
    notes = [*found.notes, *table.notes]
    if len(done) > MOST_IN_FULL:
        notes.append(f"The first {MOST_IN_FULL} of {len(done)} results are shown; {RESULTS}.csv has all.")
    if not done:
        notes.append("No result has been calculated yet.")
    return {
        "schema": 1,
        "title": "Verification by " + ("GFN2-xTB" if kind == "molecule" else "first principles"),
        "headline": f"{len(done)} structures calculated, {converged} with a result",
        "command": "verify",
        "kind": kind,
        "run": run_record(run, tuple(notes), version=None),
        "columns": _columns(kind),
        "candidates": [_record(one, rank, known) for rank, one in enumerate(done[:MOST_IN_FULL], start=1)],
        "missing": {},
    }


def _verified(record: dict[str, Any]) -> Verified:
    material = material_of(record["structure"]) if "structure" in record else None
    return str(record["name"]), result_of(record), material


def _columns(kind: str) -> list[dict[str, Any]]:
    code = "GFN2-xTB" if kind == "molecule" else "GPAW"
    return [
        column("formula", "Formula", numeric=False),
        column("n_atoms", "Atoms", digits=0),
        column("calculated_gap", f"Gap by {code}", unit="eV"),
        column("predicted_gap", "Gap, predicted", unit="eV"),
        column("energy", f"Energy by {code}", unit="eV/atom", digits=3),
        column("seconds", "Time", unit="s", digits=0),
        column("failed", "Why there is no result", numeric=False),
    ]


def _record(one: Verified, rank: int, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a result, with the structure where it is recorded."""
    name, result, material = one
    row = known.get(name, {})
    calculated = result_record(result)
    cells = {
        "formula": row.get("formula") or (material.composition.reduced_formula if material is not None else ""),
        "n_atoms": len(material) if material is not None else row.get("n_atoms"),
        "calculated_gap": calculated.get("bandgap"),
        "predicted_gap": next((row[name] for name in PREDICTED if name in row), None),
        "energy": calculated.get("energy"),
        "seconds": result.seconds,
        "failed": "" if result.converged else result.reason,
    }
    verdict = {"name": "converged", "label": "Calculation converged", "passed": result.converged}
    record: dict[str, Any] = {
        "id": name,
        "name": name,
        "formula": cells["formula"],
        "rank": rank,
        "accepted": result.converged,
        "values": cells,
        "verdicts": [verdict | {"reason": result.reason or calculated["text"]}],
        "first_principles": calculated,
        "missing": {},
    }
    if material is not None:
        parts, why = guarded(lambda some: (_drawn(some, name), ""), material, lambda _, reason: ({}, reason))
        record |= parts
        if why:
            record["missing"]["structure"] = f"Could not be drawn: {why}"
    return record


def _drawn(material: Material, name: str) -> dict[str, Any]:
    if kind_of(material) == "molecule":
        positions = [[round(x, 3) for x in row] for row in material.cart_coords.tolist()]
        symbols = [site.specie.symbol for site in material]
        text = xyz(material, name)  # type: ignore[arg-type]
        return {"structure": {"format": "xyz", "text": text, "cell": None, "symbols": symbols, "positions": positions}}
    crystal = as_crystal(material)
    key, group = key_of(crystal), space_group(crystal)
    cell = conventional_of(key)
    return {
        "structure": crystal_drawing(cell, p1_cif(cell, name)),
        "lattice": lattice(cell),
        "spacegroup": {"number": group.number, "symbol": group.symbol},
        "powder": powder_of(key),
        "nearest": nearest_of(key, group.number),
    }
