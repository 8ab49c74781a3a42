"""The folder of `matgen design` as plain data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matgen.generation.presets import preset_of
from matgen.generation.request import Request
from matgen.relaxation.calculators import CHGNET
from matgen.report.candidates import Setting, candidate_record
from matgen.report.columns import columns, values
from matgen.report.first_principles import first_principles
from matgen.report.folders import RunFolder
from matgen.report.histogram import histogram
from matgen.report.interpolation import add_path
from matgen.report.known_hull import file_of, hull_of
from matgen.report.lines import Lines, read_lines
from matgen.report.options import told_options
from matgen.report.parts import add_hulls, add_map
from matgen.report.run_record import run_record
from matgen.report.stages import design_stages, failure
from matgen.report.table_rows import packed
from matgen.report.targets import asked, read_targets, target_record, unread_targets
from matgen.report.two_requests import between, two_requests
from matgen.runtime.config import to_mapping
from matgen.screening.second_opinion import SECOND_OPINION
from matgen.search.unit_format import REJECTED_BY
from matgen.structures.candidate import Candidate, KindName
from matgen.structures.record import from_record
from matgen.structures.renamed import current_name
from matgen.structures.run_folder import CANDIDATES, CANDIDATES_TABLE, REJECTED, all_units
from matgen.targets.target import Target

Rejected = Mapping[str, Any]
"""What a report needs of a rejected proposal."""

MOST_IN_FULL = 100
"""Candidates with structure and figures; of others, the table has a row."""


def design_data(run: RunFolder) -> dict[str, Any]:
    """Return the report of a design, finished or not."""
    found: Lines[Candidate] = read_lines(run.path / CANDIDATES, from_record)
    rejects: Lines[Rejected] = read_lines(run.path / REJECTED, _rejected)
    candidates = found.values
    kind = candidates[0].kind if candidates else run.kind("crystal")
    targets = design_targets(run, candidates, kind)
    calculator = str(run.table("relaxation").get("calculator", CHGNET))
    hull, no_hull = hull_of(candidates, kind, file_of(calculator))
    ends = two_requests(run, kind, _units(candidates))
    what = between(subject(run), ends) if ends else asked(subject(run), targets)
    shown = columns(candidates, targets, kind, [target.name for end in ends for target in end.targets])
    rest, left = packed(map(_table_row, candidates[MOST_IN_FULL:]), [one["key"] for one in shown[1:]])
    unread = [*unread_targets(run.table("targets"), kind, targets), *(note for end in ends for note in end.notes)]
    notes = [*found.notes, *rejects.notes, *unread]
    second = str(run.table("relaxation").get(SECOND_OPINION, ""))
    setting = Setting(run.path, kind, tuple(targets), hull, second, first_principles(run.path))
    data: dict[str, Any] = {
        "schema": 1,
        "title": f"Design of {what}",
        "command": "design",
        "kind": kind,
        "run": _run(run, notes, candidates, left, kind),
        "asked": what,
        "found": len(candidates),
        "wanted": run.table("search").get("n"),
        "targets": [target_record(target) for target in targets],
        "columns": shown,
        "candidates": [
            candidate_record(one, rank, setting) | {"values": values(one)}
            for rank, one in enumerate(candidates[:MOST_IN_FULL], start=1)
        ],
        "rejected": rejections(rejects.values),
        "stages": design_stages(
            rejects.values, len(candidates), proposals_in_units(run.path), over=run.state == "finished"
        ),
        "missing": {},
    }
    if rest["rows"]:
        data["rest"] = rest
    if ends:
        data["ends"] = [end.record() for end in ends]
    _add_histogram(data, [("", targets), *((end.name, end.targets) for end in ends)], candidates, rejects.values)
    add_hulls(data, candidates, hull, no_hull)
    add_map(data)
    add_path(data, run, candidates)
    if not any("walk" in one for one in data["candidates"]):
        data["missing"]["walk"] = "No trajectory was recorded; `matgen design --record` keeps them."
    return data


def subject(run: RunFolder) -> str:
    """Return what was designed: crystals or molecules, and of which composition, where one was named."""
    formula = run.table("composition").get("formula")
    what = "molecules" if run.kind("crystal") == "molecule" else "crystals"
    return f"{what} of {formula}" if formula else what


def design_targets(run: RunFolder, candidates: Sequence[Candidate], kind: str) -> list[Target]:
    """Return the targets of a design."""
    return read_targets(run.table("targets"), kind, _units(candidates))


def _units(candidates: Sequence[Candidate]) -> dict[str, str]:
    return {name: one.unit for candidate in candidates for name, one in candidate.properties.items()}


def rejections(records: Sequence[Rejected]) -> dict[str, Any]:
    """Return how many proposals were rejected, and why, the most frequent reason first."""
    counts: dict[str, int] = {}
    for record in records:
        text = failure(str(record[REJECTED_BY]))
        counts[text] = counts.get(text, 0) + 1
    reasons = [{"text": text, "count": n} for text, n in sorted(counts.items(), key=lambda item: -item[1])]
    return {"count": len(records), "reasons": reasons}


def proposals_in_units(folder: Path) -> int:
    """Return the number of proposals of all finished units; the first line of each file is about the unit itself."""
    total = 0
    for path in all_units(folder):
        with path.open("rb") as stream:
            total += max(0, sum(1 for _ in stream) - 1)
    return total


def _add_histogram(
    data: dict[str, Any],
    asked_by: Sequence[tuple[str, Sequence[Target]]],
    candidates: Sequence[Candidate],
    rejects: Sequence[Rejected],
) -> None:
    """Add the predictions of each property that was asked for among all assessed proposals, and among the candidates.

    Args:
        data: of the report.
        asked_by: targets, with the name of the request that has them; that of the run itself is empty.
        candidates: of the run.
        rejects: its rejected proposals.
    """
    several: dict[str, list[tuple[str, Target]]] = {}
    for name, targets in asked_by:
        for target in targets:
            several.setdefault(target.name, []).append((name, target))
    found = []
    for name, ends in several.items():
        kept = [one.properties[name].value for one in candidates if name in one.properties]
        others = [_value(record, name) for record in rejects]
        words = ("predictions for assessed proposals", "for candidates")
        one = histogram(ends, [*kept, *others], kept, words)
        found += [one] if one is not None else []
    if found:
        data["histogram"], data["histograms"] = found[0], found
    elif several:
        data["missing"]["histogram"] = "No proposal has a prediction of a target."
    else:
        data["missing"]["histogram"] = (
            "Neither of the two requests has a target of a property."
            if len(asked_by) > 1
            else "The run had no target of a property."
        )


def _value(record: Mapping[str, Any], name: str) -> float | None:
    prediction = record.get("properties", {}).get(name)
    value = prediction.get("value") if isinstance(prediction, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _rejected(record: dict[str, Any]) -> Rejected:
    """Return what a report needs of a rejected proposal."""
    name = current_name(str(record[REJECTED_BY]))
    return {REJECTED_BY: name, "relaxation": record["relaxation"], "properties": record["properties"]}


def _table_row(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate that is not shown in full."""
    found = values(candidate)
    return {"id": candidate.name, "formula": found["formula"], "accepted": True, "values": found}


def _run(
    run: RunFolder, notes: list[str], candidates: Sequence[Candidate], left: int, kind: KindName
) -> dict[str, Any]:
    """Return the part on the run itself."""
    if not candidates:
        notes.append("No candidate was found; the counts below say why proposals were rejected.")
    if len(candidates) > MOST_IN_FULL:
        notes.append(
            f"The first {MOST_IN_FULL} of {len(candidates)} candidates are shown in full, the others in the table."
        )
    if left:
        notes.append(f"The last {left} candidates do not fit into this page; {CANDIDATES_TABLE} has all.")
    stages = run.report.get("stages")
    known = [stage for stage in stages if isinstance(stage, Mapping)] if isinstance(stages, list) else []
    seconds = [stage.get("seconds", 0.0) for stage in known if stage.get("name") == "search"]
    usual = to_mapping(Request.of(kind=kind, **preset_of(kind)))
    potentials = {one.relaxation.potential for one in candidates if one.relaxation is not None}
    return run_record(
        run,
        tuple(notes),
        seconds=sum(seconds) if seconds else None,
        options=told_options(_asked(run.configuration), usual),
        potential=", ".join(sorted(potentials)),
    )


def _asked(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a reader knows as options: the sampler's are many, and explained elsewhere."""
    return {name: value for name, value in configuration.items() if name not in {"sampler", "resources", "stages"}}
