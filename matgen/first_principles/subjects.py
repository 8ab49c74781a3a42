"""Structures to calculate: candidates of designs, and structures in files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matgen.errors import UserError
from matgen.runtime.config import did_you_mean
from matgen.runtime.json_lines import read_json_lines
from matgen.structures.candidate import KindName, Material, kind_of
from matgen.structures.files import Entry, MixedKindsError, given, read, read_structures
from matgen.structures.folder_walk import files_below
from matgen.structures.in_memory import InMemory
from matgen.structures.record import from_record
from matgen.structures.renamed import current_names
from matgen.structures.run_folder import CANDIDATES, CANDIDATES_TABLE
from matgen.structures.run_report import ResumeError
from matgen.templates.molecule import MoleculeTemplate, inchi_key

RESULTS = "verified"
"""Stem of output files: `.jsonl` as results arrive, `.csv` and `.parquet` joined with the candidates."""

OWN_FILES = {f"{RESULTS}.{kind}" for kind in ("jsonl", "csv", "parquet")}


class SelectionError(UserError, ValueError):
    """Names that the paths do not have, or paths without structures."""


@dataclass(frozen=True)
class Subject:
    """A crystal or a molecule to verify, or the reason why it cannot be read.

    Attributes:
        name: unique among all subjects.
        structure: None if it cannot be read.
        error: why it cannot be read; empty otherwise.
        row: its row in the table that it comes from, in the order of columns.
        template: canonical SMILES of a molecule, whose atoms are in the order of its graph; empty for a crystal.
    """

    name: str
    structure: Material | None
    error: str
    row: dict[str, Any] = field(default_factory=dict)
    template: str = ""


def subjects(paths: Sequence[Path]) -> list[Subject]:
    """Return all structures of some paths: candidates of design folders, best first, and those of other files.

    Args:
        paths: folders of `matgen design`, their parents, their `candidates.jsonl`, or inputs of `read_structures`.

    Raises:
        MissingPathError: a path does not exist.
        ResumeError: candidates are damaged.
        MixedKindsError: there are both crystals and molecules.
    """
    runs = {path: runs_below(path) for path in paths}
    designs = list(dict.fromkeys(folder for found in runs.values() for folder in found))
    others = [path for path, found in runs.items() if not found]
    found = [one for folder in designs for one in _candidates(folder, prefix=len(designs) > 1 or bool(others))]
    entries = read_structures(others, None) if others else iter(())
    found += [_subject(entry) for entry in entries if Path(entry.path).name not in OWN_FILES]
    kind_of_all(found)
    return found


def subjects_in_memory(structures: Iterable[InMemory]) -> list[Subject]:
    """Return structures of pymatgen or ASE as subjects, in their order, named as `matgen.structures.files.given` does.

    Raises:
        MixedKindsError: there are both crystals and molecules.
    """
    found = [_subject(read(one, None)) for one in given(structures)]
    kind_of_all(found)
    return found


def kind_of_all(every: Iterable[Subject]) -> KindName:
    """Return whether these are crystals or molecules; crystals if nothing could be read.

    Raises:
        MixedKindsError: there are both crystals and molecules.
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
    """Return the number of structure files beside designs in these folders, which `subjects` ignores."""
    beside: set[Path] = set()
    for path in paths:
        if path.is_dir() and (runs := runs_below(path)):
            files = (file for file in files_below(path) if file.name not in OWN_FILES)
            beside |= {file.resolve() for file in files if not any(file.is_relative_to(run) for run in runs)}
    return len(beside)


def chosen(every: Sequence[Subject], names: Iterable[str] = (), top: int | None = None) -> list[Subject]:
    """Return the subjects of these names, or the first `top`, or all.

    Raises:
        SelectionError: a name does not exist, or there are no structures.
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
    """Return the design folders that a path stands for."""
    if path.name == CANDIDATES and path.is_file():
        return [path.parent]
    return sorted(file.parent for file in path.rglob(CANDIDATES)) if path.is_dir() else []


def _candidates(folder: Path, *, prefix: bool) -> Iterator[Subject]:
    """Yield the candidates of a run, which may still be running: an incomplete last line is ignored."""
    import pyarrow.csv

    path = folder / CANDIDATES
    advice = "design anew, or name its CIFs instead"
    candidates = read_json_lines(path, from_record, error=ResumeError, advice=advice)
    table = folder / CANDIDATES_TABLE
    listed = pyarrow.csv.read_csv(table).to_pylist() if candidates and table.exists() else []
    rows = {str(row["name"]): current_names(row) for row in listed}
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
    row = {"name": name, "formula": structure.composition.reduced_formula, "n_atoms": len(structure)}
    if not smiles:
        return row
    formula = MoleculeTemplate(smiles).hill_formula
    return row | {"formula": formula, "smiles": smiles, "inchikey": inchi_key(smiles)}


def _hint(name: str, names: Iterable[str]) -> str:
    """Return a hint for an unknown name, which lists few names only."""
    every = list(names)
    return did_you_mean(name, every) if len(every) < 20 else f"there are {len(every)}, such as {every[0]}"
