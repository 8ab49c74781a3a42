"""The structures of a run folder with all that is known of them, as every format receives them."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matgen.errors import UserError
from matgen.runtime.json_lines import read_json_lines
from matgen.screening.given_columns import PREFIX
from matgen.screening.ranking import merit
from matgen.screening.row import Row, cells, row_of
from matgen.screening.run_rows import last_of_each, newest_rows
from matgen.structures.candidate import Candidate, KindName
from matgen.structures.candidate_table import candidate_row
from matgen.structures.record import from_record
from matgen.structures.run_folder import CANDIDATES, REPORT
from matgen.structures.run_report import ResumeError

CALCULATED = ("gpaw_", "xtb_")
"""Beginnings of the columns that `matgen verify` adds."""


class RunFolderError(UserError, ValueError):
    """A folder that is no run of `design` or `screen`, or holds nothing to export."""


@dataclass(frozen=True)
class Item:
    """One structure of a run.

    Attributes:
        candidate: with predictions and verdicts.
        columns: its row in the table of the run, without what is unknown, and what `matgen verify` calculated.
        energy: by the potential, eV/atom; NaN if it was not computed.
        potential: name and version; empty if it was not used.
        geometry: of the energy: "as given" or "relaxed".
        pressure: at which it was relaxed, GPa.
        work: pressure times volume, eV/atom.
    """

    candidate: Candidate
    columns: Mapping[str, Any]
    energy: float = math.nan
    potential: str = ""
    geometry: str = ""
    pressure: float = 0.0
    work: float = 0.0

    @property
    def name(self) -> str:
        """Its name, unique in the run."""
        return self.candidate.name

    @property
    def total_energy(self) -> float:
        """Energy of all atoms, eV; NaN if it was not computed."""
        return self.energy * len(self.candidate.structure)


@dataclass(frozen=True)
class Run:
    """The content of a run folder.

    Attributes:
        items: structures, best first.
        kind: of all of them.
        provenance: version, seed, settings, and hashes of weights, from `run.json`; as JSON types.
        without_structure: rows that have none.
    """

    items: tuple[Item, ...]
    kind: KindName
    provenance: Mapping[str, Any] = field(default_factory=dict)
    without_structure: int = 0


def read_run(folder: Path) -> Run:
    """Read a run of `matgen design` or `matgen screen`, finished or not.

    Raises:
        RunFolderError: it is neither, or holds no structures.
        ResumeError: its files are damaged.
    """
    calculated = _calculated(folder)
    items, without = list[Item](), 0
    if (folder / CANDIDATES).is_file():
        advice = "design anew, or name its CIFs in `matgen screen`"
        candidates = read_json_lines(folder / CANDIDATES, from_record, error=ResumeError, advice=advice)
        items = [item_of(one, calculated.get(one.name, {})) for one in candidates]
    elif (newest := newest_rows(folder))[0].is_file():
        path, final = newest
        rows = read_json_lines(path, row_of, error=ResumeError, advice="screen anew")
        if not final:
            rows = sorted(last_of_each(rows), key=merit)
        found = [item_of_row(row, calculated.get(row.name, {})) for row in rows]
        items = [item for item in found if item is not None]
        without = len(rows) - len(items)
    elif not (folder / REPORT).is_file():
        raise RunFolderError(f"expected a folder of `matgen design` or `matgen screen`, got {folder}; check the path")
    if not items:
        raise RunFolderError(f"expected structures in {folder}, got a run without any; nothing is written")
    return Run(tuple(items), items[0].candidate.kind, provenance_of(folder), without)


def item_of(candidate: Candidate, calculated: Mapping[str, Any] = MappingProxyType({})) -> Item:
    """Return a candidate of a design with its columns, and what `matgen verify` calculated."""
    columns = {**_known(candidate_row(candidate)), **calculated}
    report = candidate.relaxation
    if report is None:
        return Item(candidate, columns)
    return Item(candidate, columns, report.energy, report.potential, "relaxed", report.pressure, report.work)


def item_of_row(row: Row, calculated: Mapping[str, Any] = MappingProxyType({})) -> Item | None:
    """Return the structure of a row likewise; None if it has none."""
    candidate = row.candidate
    if candidate is None:
        return None
    given = {f"{PREFIX}{name}": value for name, value in row.given.items()}
    whole = cells(row, candidate.kind, _more(candidate)) | given
    report = candidate.relaxation
    pressure, work = (report.pressure, report.work) if report else (0.0, 0.0)
    return Item(candidate, {**_known(whole), **calculated}, row.energy, row.potential, row.geometry, pressure, work)


def _more(candidate: Candidate) -> tuple[str, ...]:
    """Return the properties of a row that its table has by a property file alone."""
    usual = cells(Row("", "", 0, ""), candidate.kind)
    return tuple(name for name in candidate.properties if name not in usual)


def _known(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is unknown."""
    unknown = (None, "")
    return {
        name: value
        for name, value in columns.items()
        if value not in unknown and not (isinstance(value, float) and not math.isfinite(value))
    }


def _calculated(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what `matgen verify` calculated, by name."""
    path = folder / "verified.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    return {
        line["name"]: {key: _read(text) for key, text in line.items() if key and key.startswith(CALCULATED) and text}
        for line in lines
        if line.get("name")
    }


def _read(text: str) -> float | str | bool:
    """Return what a cell of a table says."""
    if text in {"True", "False"}:
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text


def provenance_of(folder: Path) -> dict[str, Any]:
    """Return what identifies the run; nothing of a folder without a report.

    Raises:
        ResumeError: the report is damaged.
    """
    path = folder / REPORT
    if not path.is_file():
        return {}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return {name: report[name] for name in ("version", "seed", "started", "configuration", "weights")}
    except (KeyError, TypeError, ValueError) as error:
        raise ResumeError(f"{path} is not a report of a run; remove it to export without") from error
