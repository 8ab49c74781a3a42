"""What is to be calculated: candidates of designs, and structures in files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.csv

from matgen.errors import UserError
from matgen.runtime.config import did_you_mean
from matgen.runtime.json_lines import read_json_lines
from matgen.structures.candidate import KindName, Material, kind_of
from matgen.structures.files import Entry, MixedKindsError, files_below, read_structures
from matgen.structures.record import from_record
from matgen.structures.run_report import ResumeError
from matgen.templates.molecule import MoleculeTemplate, inchi_key

CANDIDATES = "candidates.jsonl"


RESULTS = "verified"
"""Stem of what is written: `.jsonl` as results come, `.csv` and `.parquet` joined with the candidates."""


OWN_FILES = {f"{RESULTS}.{kind}" for kind in ("jsonl", "csv", "parquet")}


class SelectionError(UserError, ValueError):
    """Names or a number of structures that the paths do not have."""


@dataclass(frozen=True)
class Subject:
    """A crystal or a molecule that may be verified, or a reason why it cannot be.

    Attributes:
        name: unique among all of them.
        structure: None where it cannot be read.
        error: why not; empty otherwise.
        row: what the table that it comes from says of it, in its order.
        template: canonical SMILES of a molecule, whose atoms stand in the order of its graph; empty otherwise.
    """

    name: str
    structure: Material | None
    error: str
    row: dict[str, Any] = field(default_factory=dict)
    template: str = ""


def subjects(paths: Sequence[Path]) -> list[Subject]:
    """All structures of some paths: candidates of design folders, best first, and those of any other file.

    Args:
        paths: folders of `matgen design` or folders of such, their `candidates.jsonl`, or what `read_structures` takes.

    Raises:
        MissingPathError: one of them is not there.
        ResumeError: candidates are damaged.
        MixedKindsError: there are crystals and molecules.
    """
    runs = {path: runs_below(path) for path in paths}
    designs = list(dict.fromkeys(folder for found in runs.values() for folder in found))
    others = [path for path, found in runs.items() if not found]
    found = [one for folder in designs for one in _candidates(folder, prefix=len(designs) > 1 or bool(others))]
    entries = read_structures(others, None) if others else iter(())
    found += [_subject(entry) for entry in entries if Path(entry.path).name not in OWN_FILES]
    kind_of_all(found)
    return found


def kind_of_all(every: Iterable[Subject]) -> KindName:
    """Whether these are crystals or molecules; crystals where nothing could be read.

    Raises:
        MixedKindsError: there are both.
    """
    first: dict[KindName, str] = {}
    for one in every:
        if one.structure is not None:
            first.setdefault(kind_of(one.structure), one.name)
    if len(first) > 1:
        raise MixedKindsError(
            f"expected crystals or molecules, got both: {first['crystal']} is a crystal and {first['molecule']} is a "
            "molecule; name them one after the other"
        )
    return next(iter(first), "crystal")


def passed_over(paths: Sequence[Path]) -> int:
    """How many structure files lie in these folders beside designs, whose candidates alone `subjects` takes."""
    beside: set[Path] = set()
    for path in paths:
        if path.is_dir() and (runs := runs_below(path)):
            files = (file for file in files_below(path) if file.name not in OWN_FILES)
            beside |= {file.resolve() for file in files if not any(file.is_relative_to(run) for run in runs)}
    return len(beside)


def chosen(every: Sequence[Subject], names: Iterable[str] = (), top: int | None = None) -> list[Subject]:
    """Those of these names, or the first `top`, or all.

    Raises:
        SelectionError: a name that is not there, or no structures at all.
    """
    if not every:
        raise SelectionError("expected structures in the paths, found none; has the design found any?")
    by_name = {one.name: one for one in every}
    if unknown := [name for name in names if name not in by_name]:
        raise SelectionError(
            f"expected names of the structures there are, got {unknown[0]}; {_hint(unknown[0], by_name)}"
        )
    picked = [by_name[name] for name in dict.fromkeys(names)] or list(every)
    return picked if top is None else picked[:top]


def runs_below(path: Path) -> list[Path]:
    """The design folders that a path means."""
    if path.name == CANDIDATES and path.is_file():
        return [path.parent]
    return sorted(file.parent for file in path.rglob(CANDIDATES)) if path.is_dir() else []


def _candidates(folder: Path, *, prefix: bool) -> Iterator[Subject]:
    """Candidates of a run, also of one that goes on: a line that is not complete yet is left where it is."""
    path = folder / CANDIDATES
    advice = "design anew, or name its CIFs instead"
    candidates = read_json_lines(path, from_record, error=ResumeError, advice=advice)
    table = folder / "candidates.csv"
    told = pyarrow.csv.read_csv(table).to_pylist() if candidates and table.exists() else []
    rows = {str(row["name"]): row for row in told}
    for candidate in candidates:
        name = f"{folder.name}/{candidate.name}" if prefix else candidate.name
        template = candidate.template if candidate.kind == "molecule" else ""
        row = rows.get(candidate.name) or _plain_row(name, candidate.structure, template)
        yield Subject(name, candidate.structure, "", row | {"name": name}, template)


def _subject(entry: Entry) -> Subject:
    row = {"name": entry.name, "path": entry.path, "index": entry.index}
    if entry.structure is None:
        return Subject(entry.name, None, entry.error, row)
    return Subject(
        entry.name, entry.structure, "", row | _plain_row(entry.name, entry.structure, entry.template), entry.template
    )


def _plain_row(name: str, structure: Material, smiles: str) -> dict[str, Any]:
    told = {"name": name, "formula": structure.composition.reduced_formula, "n_atoms": len(structure)}
    if not smiles:
        return told
    formula = MoleculeTemplate(smiles).hill_formula
    return told | {"formula": formula, "smiles": smiles, "inchikey": inchi_key(smiles)}


def _hint(name: str, names: Iterable[str]) -> str:
    """What may have been meant; of many names, not all of them."""
    every = list(names)
    return did_you_mean(name, every) if len(every) < 20 else f"there are {len(every)}, such as {every[0]}"
