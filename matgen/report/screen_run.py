"""The folder of `matgen screen` as plain data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matgen.hull.hull import ReferenceHull
from matgen.relaxation.calculators import CHGNET
from matgen.report.candidates import Setting, candidate_record
from matgen.report.columns import columns, values
from matgen.report.first_principles import first_principles
from matgen.report.folders import RunFolder
from matgen.report.histogram import histogram
from matgen.report.known_hull import file_of, hull_of
from matgen.report.options import told_options
from matgen.report.parts import add_hulls, add_map
from matgen.report.run_record import run_record
from matgen.report.screened import Screened, screened_rows, whole_rows
from matgen.report.stages import failure, screen_stages
from matgen.report.table_rows import packed
from matgen.report.targets import asked, read_targets, target_record, unread_targets
from matgen.runtime.config import to_mapping
from matgen.screening.config import SHIPPED, ScreenConfig
from matgen.screening.row import Row
from matgen.screening.second_opinion import SECOND_OPINION
from matgen.targets.target import Target

MOST_IN_FULL, FEWER, MANY = 100, 60, 5000
"""Rows with structure and figures, the best; fewer of more than `MANY`, so that the table has room for the others."""


def screen_data(run: RunFolder) -> dict[str, Any]:
    """Return the report of a screening, finished or not."""
    found, ranked = screened_rows(run.path)
    n_full = MOST_IN_FULL if len(found.values) <= MANY else FEWER
    whole, rows, damaged = whole_rows(found.values, n_full)
    candidates = [row.candidate for row in whole if row.candidate is not None]
    kind = run.kind(candidates[0].kind if candidates else "crystal")
    targets = _targets(run, rows, kind)
    settings = run.configuration
    file = file_of(str(settings.get("calculator", CHGNET)), str(settings.get("reference", SHIPPED)))
    hull, no_hull = hull_of(candidates, kind, file, _potential(whole))
    second = str(settings.get(SECOND_OPINION, ""))
    setting = Setting(run.path, kind, tuple(targets), hull, second, first_principles(run.path))
    shown = columns(candidates, targets, kind)
    rest, left = packed((_short_row(row, shown) for row in rows[len(whole) :]), _keys(shown))
    unread = unread_targets(run.table("properties"), kind, targets)
    notes = [*found.notes, *damaged, *unread, *_notes(rows, len(whole), left, ranked=ranked)]
    passed = sum(row.passed for row in rows)
    things = "molecules" if kind == "molecule" else "crystals"
    data: dict[str, Any] = {
        "schema": 1,
        "title": f"Screening of {asked(things, targets)}",
        "headline": f"{len(rows)} structures screened, {passed} pass every check",
        "command": "screen",
        "kind": kind,
        "run": _run(run, notes, whole),
        "targets": [target_record(target) for target in targets],
        "columns": shown,
        "candidates": [_record(row, rank, setting) for rank, row in enumerate(whole, start=1)],
        "rejected": _rejections(rows),
        "stages": screen_stages(row.failed[0] if row.failed else "" for row in rows),
        "missing": {},
    }
    if rest["rows"]:
        data["rest"] = rest
    _add_histograms(data, targets, rows)
    add_hulls(data, candidates, hull, no_hull, _as_given(whole, hull))
    add_map(data)
    return data


def _targets(run: RunFolder, rows: Sequence[Screened], kind: str) -> list[Target]:
    first = next((row.candidate for row in rows if row.candidate), None)
    units = {name: one["unit"] for name, one in first["properties"].items()} if first else {}
    return read_targets(run.table("properties"), kind, units)


def _potential(rows: Sequence[Row]) -> str:
    """Return the potential of the energies, which may be those of structures as given."""
    return next((row.potential for row in rows if row.potential), "")


def _as_given(rows: Sequence[Row], hull: ReferenceHull | None) -> dict[str, float]:
    """Return the energies of structures as given by the potential of the hull, eV/atom, by name."""
    if hull is None:
        return {}
    given = [row for row in rows if row.candidate is not None and row.candidate.relaxation is None]
    return {row.candidate.name: row.energy for row in given if row.candidate and row.potential == hull.potential}


def _record(row: Row, rank: int, setting: Setting) -> dict[str, Any]:
    """Return a row as plain data; a broken file has its reason only."""
    if row.candidate is None:
        verdicts = [{"name": "reads", "label": "File can be read", "passed": False, "reason": row.error}]
        identity = {"id": row.name, "name": row.name, "formula": "", "rank": row.rank or rank, "accepted": False}
        return identity | {"verdicts": verdicts, "values": {"failed": "reads"}}
    record = candidate_record(row.candidate, row.rank or rank, setting, accepted=row.passed)
    cells = values(row.candidate) | {"failed": ", ".join(row.failed)}
    more: dict[str, Any] = {"values": cells, "path": row.path}
    if row.remarks:
        more["remarks"] = list(row.remarks.values())
    if row.geometry:
        more["geometry"] = row.geometry
    if row.id:
        more["known_as"] = row.id
    return record | more


def _keys(shown: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of the rows that are not shown in full."""
    return [one["key"] for one in shown if one["key"] not in {"formula", "n_atoms", "spacegroup", "energy"}]


def _short_row(row: Screened, shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    cells: dict[str, Any] = {"failed": ", ".join(row.failed), "e_above_hull": row.check_value("hull")}
    cells["strain"] = row.check_value("strain")
    predicted = row.candidate["properties"] if row.candidate else {}
    for one in shown:
        name = one["key"].removesuffix("_probability")
        if name in predicted:
            cells[one["key"]] = predicted[name]["probability" if name != one["key"] else "value"]
    if row.candidate and "smiles" in _keys(shown):
        cells["smiles"] = row.candidate["template"]
    return {"id": row.name, "formula": row.formula, "accepted": row.passed, "values": cells}


def _rejections(rows: Sequence[Screened]) -> dict[str, Any]:
    """Return how many structures fail a check, and which, the most frequent one first."""
    counts = Counter(failure(name) for row in rows for name in row.failed)
    reasons = [{"text": text, "count": n} for text, n in counts.most_common()]
    return {"count": sum(not row.passed for row in rows), "reasons": reasons}


def _add_histograms(data: dict[str, Any], targets: Sequence[Target], rows: Sequence[Screened]) -> None:
    """Add the predictions of each target among all structures, and among those that pass."""
    words = ("screened structures", "that pass every check")
    made = [
        histogram(
            [("", target)],
            (row.property_value(target.name) for row in rows),
            (row.property_value(target.name) for row in rows if row.passed),
            words,
        )
        for target in targets
    ]
    found = [one for one in made if one is not None]
    if found:
        data["histogram"], data["histograms"] = found[0], found
    else:
        why = "No structure has a prediction of a target." if targets else "The run had no target of a property."
        data["missing"]["histogram"] = why


def _notes(rows: Sequence[Screened], n_full: int, left: int, *, ranked: bool) -> list[str]:
    notes = []
    if not rows:
        notes.append("No structure has been screened yet.")
    elif not ranked:
        notes.append("The final ranking is not made yet: rows are sorted as they are, and repetitions are not marked.")
    if len(rows) > n_full:
        notes.append(f"The best {n_full} of {len(rows)} structures are shown in full, the others in the table.")
    if left:
        notes.append(f"The last {left} rows do not fit into this page; results.csv has all.")
    return notes


def _run(run: RunFolder, notes: list[str], rows: Sequence[Row]) -> dict[str, Any]:
    summary = run.report.get("summary", {})
    beside = summary.get("passed_over", {}) if isinstance(summary, Mapping) else {}
    if beside:
        listed = ", ".join(f"{n} {suffix}" for suffix, n in beside.items())
        notes.append(f"Files without a structure were passed over: {listed}.")
    return run_record(
        run,
        tuple(notes),
        options=told_options(run.configuration, to_mapping(ScreenConfig())),
        potential=_potential(rows),
        inputs=run.configuration.get("screen", []),
    )
