"""The folder of `matgen evaluate` as plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

from matgen.relaxation.calculators import CHGNET
from matgen.report.candidates import Setting, candidate_record
from matgen.report.columns import column
from matgen.report.csv_rows import csv_rows
from matgen.report.folders import EVALUATION, RELAXED, STRUCTURES, RunFolder
from matgen.report.known_hull import file_of, hull_of
from matgen.report.lines import read_lines
from matgen.report.options import told_options
from matgen.report.parts import add_hulls, add_map
from matgen.report.run_record import run_record
from matgen.report.table_rows import packed
from matgen.structures.candidate import Candidate
from matgen.structures.record import formula, from_record

MOST_IN_FULL = 100
"""Structures with a drawing and figures, the first."""

CHECKS = {
    "separated": "No two atoms within 0.5 Å",
    "spaced": "No contact below 0.7 of the covalent radii",
    "smact14": "Charges balance (as CDVAE counts)",
    "smact": "Charges balance (SMACT)",
    "converged": "Relaxation converged",
    "unique": "The first of its kind in the set",
    "novel": "No known material",
    "sun": "Stable (0.1 eV/atom), unique and novel",
    "stable": "Every atom has its valence",
    "valid": "RDKit reads the bonds",
    "connected": "In one piece",
    "posebusters": "Plausible geometry (PoseBusters)",
    "graph_kept": "Bonds kept in the relaxation",
}
"""Columns of truth values that are verdicts on a structure."""

NUMBERS = {
    "n_atoms": ("Atoms", "", 0),
    "energy": ("Energy", "eV/atom", 3),
    "above_hull": ("Above hull", "eV/atom", 3),
    "drop": ("Released by relaxation", "eV", 3),
    "rmsd": ("Moved by relaxation", "Å", 3),
}
"""Columns of numbers: label, unit, digits."""

TEXTS = {"formula": "Formula", "smiles": "SMILES", "known": "Matches", "error": "Not read", "remark": "Remark"}


def evaluate_data(run: RunFolder) -> dict[str, Any]:
    """Return the report of an evaluation, finished or not."""
    table = csv_rows(run.path / STRUCTURES, NUMBERS, CHECKS)
    relaxed = [read_lines(path, from_record) for path in sorted(run.path.glob(RELAXED))]
    structures = {one.name: one for lines in relaxed for one in lines.values}
    rows = table.values or [{"name": name, "formula": formula(one)} for name, one in structures.items()]
    kind = run.kind(next((one.kind for one in structures.values()), "crystal"))
    candidates = [structures[row["name"]] for row in rows[:MOST_IN_FULL] if row["name"] in structures]
    settings = run.report.get("settings")
    calculator = settings.get("calculator", CHGNET) if isinstance(settings, Mapping) else CHGNET
    hull, no_hull = hull_of(candidates, kind, file_of(calculator))
    setting = Setting(run.path, kind, hull=hull)
    shown = _columns(rows)
    keys = [one["key"] for one in shown if one["key"] != "formula"]
    rest, left = packed(map(_table_row, rows[MOST_IN_FULL:]), keys)
    things = "molecules" if kind == "molecule" else "crystals"
    metrics, no_metrics = _metrics(run)
    notes = [*table.notes, *(note for lines in relaxed for note in lines.notes), *no_metrics]
    data: dict[str, Any] = {
        "schema": 1,
        "title": f"Evaluation of {len(rows)} {things}",
        "headline": _headline(run, len(rows), things),
        "command": "evaluate",
        "kind": kind,
        "run": _run(run, notes, len(rows), left),
        "columns": shown,
        "candidates": [
            _record(row, rank, structures.get(str(row["name"])), setting)
            for rank, row in enumerate(rows[:MOST_IN_FULL], start=1)
        ],
        "metrics": metrics,
        "missing": {},
    }
    if rest["rows"]:
        data["rest"] = rest
    if not data["metrics"]:
        data["missing"]["metrics"] = "The evaluation did not come to its end; the same command resumes it."
    add_hulls(data, candidates, hull, no_hull)
    add_map(data)
    return data


def metric(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure as plain data; `low` and `high` are the ends of its 95 % interval."""
    return {
        "name": figure["name"],
        "value": figure["value"],
        "low": figure["low"],
        "high": figure["high"],
        "count": figure["numerator"],
        "of": figure["denominator"],
        "unit": figure["unit"],
        "share": figure["share"],
        "text": figure["how"],
    }


def _metrics(run: RunFolder) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the figures of an evaluation, and a note on those that cannot be read."""
    given = run.report.get("figures", [])
    found = []
    for one in given if isinstance(given, list) else []:
        try:
            found.append(metric(one))
        except (KeyError, TypeError):
            continue
    lost = len(given) - len(found)
    return found, [f"{lost} of {len(given)} figures of {EVALUATION} cannot be read and are left out."] * bool(lost)


def _headline(run: RunFolder, n: int, things: str) -> str:
    readable = run.report.get("readable")
    if readable is None:
        return f"Evaluation of {things}, not finished"
    return f"{n} {things} evaluated, {readable} could be read"


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the columns that these rows fill."""
    filled = {name for row in rows for name, value in row.items() if value is not None}
    texts = [column(name, label, numeric=False) for name, label in TEXTS.items() if name in filled]
    numbers = [
        column(name, label, unit=unit, digits=digits)
        for name, (label, unit, digits) in NUMBERS.items()
        if name in filled
    ]
    failed = [column("failed", "Checks not passed", numeric=False)] if filled & set(CHECKS) else []
    return [*texts[:1], *numbers, *texts[1:], *failed]


def _table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    failed = [name for name in CHECKS if row.get(name) is False]
    cells = {name: row[name] for name in (*TEXTS, *NUMBERS) if row.get(name) is not None}
    accepted = not row.get("error") and not {"separated", "smact14", "valid"}.intersection(failed)
    named = {"id": str(row["name"]), "formula": str(row.get("formula") or row.get("smiles") or "")}
    return named | {"accepted": accepted, "values": cells | {"failed": ", ".join(failed)}}


def _record(row: Mapping[str, Any], rank: int, candidate: Candidate | None, setting: Setting) -> dict[str, Any]:
    """Return a row, with the relaxed structure where there is one."""
    whole = {} if candidate is None else candidate_record(candidate, rank, setting)
    verdicts = [
        {"name": name, "label": label, "passed": row[name], "reason": "" if row[name] else str(row.get("faults") or "")}
        for name, label in CHECKS.items()
        if isinstance(row.get(name), bool)
    ]
    return whole | _table_row(row) | {"name": str(row["name"]), "rank": rank, "verdicts": verdicts}


def _run(run: RunFolder, notes: list[str], n: int, left: int) -> dict[str, Any]:
    report = run.report
    told = [*report.get("notes", []), *notes]
    if n > MOST_IN_FULL:
        told.append(f"The first {MOST_IN_FULL} of {n} structures are shown in full, the others in the table.")
    if left:
        told.append(f"The last {left} rows do not fit into this page; structures.csv has all.")
    reference = report.get("reference", {})
    return run_record(
        run,
        tuple(told),
        options=told_options(report.get("settings", {}), {}),
        potential=report.get("potential", ""),
        reference=reference.get("name") if isinstance(reference, Mapping) else None,
    )
