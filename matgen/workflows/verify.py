"""Chosen crystals by first principles, or molecules by GFN2-xTB, joined to the table that they come from."""

import csv
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq

from matgen.candidate import KindName, Material, kind_of
from matgen.config import did_you_mean
from matgen.errors import UserError
from matgen.export import ResumeError
from matgen.output import writing
from matgen.progress import Report, Silence
from matgen.record import from_record
from matgen.structure_files import Entry, MixedKindsError, files_below, read_structures
from matgen.templates.molecule import MoleculeTemplate, inchi_key
from matgen.validation.first_principles import FirstPrinciples
from matgen.validation.xtb_minimum import NUMBERS, XtbMinimum
from matgen.workflows.calculations import CalculationFile, Calculations, Result, calculated

CANDIDATES = "candidates.jsonl"
RESULTS = "verified"
"""Stem of what is written: `.jsonl` as results come, `.csv` and `.parquet` joined with the candidates."""
OWN_FILES = {f"{RESULTS}.{kind}" for kind in ("jsonl", "csv", "parquet")}
DEFAULT_FOLDER = Path("verified")


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


@dataclass(frozen=True)
class Verified:
    """A crystal or a molecule, and what a calculation says of it."""

    subject: Subject
    result: Result


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Attributes:
        table: CSV with one line for each structure of the paths, whether it was chosen or not.
        verified: the chosen ones.
    """

    table: Path
    verified: tuple[Verified, ...]

    @property
    def converged(self) -> int:
        """How many have a result."""
        return sum(one.result.converged for one in self.verified)


def subjects(paths: Sequence[Path]) -> list[Subject]:
    """All structures of some paths: candidates of design folders, best first, and those of any other file.

    Args:
        paths: folders of `matgen design` or folders of such, their `candidates.jsonl`, or what `read_structures` takes.

    Raises:
        MissingPathError: one of them is not there.
        ResumeError: candidates are damaged.
        MixedKindsError: there are crystals and molecules.
    """
    runs = {path: _runs(path) for path in paths}
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
        if path.is_dir() and (runs := _runs(path)):
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


def run(
    every: Sequence[Subject],
    picked: Sequence[Subject],
    folder: Path,
    plan: Calculations,
    *,
    report: Report | None = None,
    found: Callable[[Verified], None] = lambda _: None,
) -> Outcome:
    """Verify crystals or molecules; those that a former call finished are not calculated again.

    Args:
        every: structures of the table.
        picked: those to verify.
        folder: holds afterwards `verified.jsonl`, `.csv`, `.parquet`, and GPAW's logs in `gpaw/`.
        plan: how.
        report: hears how far it is.
        found: is handed each result as soon as it is on disk, those of a former call first.

    Raises:
        OutputError: the folder cannot be written.
        ResumeError: `verified.jsonl` is damaged.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    file = CalculationFile(folder / f"{RESULTS}.jsonl")
    tell, done = report or Silence(), dict[str, Verified]()
    by_name = {one.name: one for one in picked}
    try:
        with closing(_results(picked, file, plan, folder / "gpaw")) as results:
            for name, result in results:
                done[name] = Verified(by_name[name], result)
                tell("verify", len(done), len(picked), failed=sum(not v.result.converged for v in done.values()))
                found(done[name])
    finally:
        table = write_table(every, file.read(), plan, folder)
    return Outcome(table, tuple(done[one.name] for one in picked))


def _results(
    picked: Sequence[Subject], file: CalculationFile, plan: Calculations, logs: Path
) -> Generator[tuple[str, Result]]:
    yield from ((one.name, plan.failed(one.error)) for one in picked if one.structure is None)
    whole = [(one.name, one.structure, one.template) for one in picked if one.structure is not None]
    yield from calculated(whole, file, plan, logs)


def default_folder(paths: Sequence[Path]) -> Path:
    """Where results go unless told: into the folder of designs if it is one, else `verified/`."""
    if len(paths) == 1 and _runs(paths[0]):
        return paths[0] if paths[0].is_dir() else paths[0].parent
    return DEFAULT_FOLDER


def write_table(every: Sequence[Subject], results: dict[str, Result], plan: Calculations, folder: Path) -> Path:
    """One line for each structure: what was known of it, then what was calculated; empty where it was not asked.

    Returns:
        The CSV; a Parquet file of the same content lies beside it.
    """
    rows = []
    for one in every:
        known = results.get(plan.key(one.structure, one.template)) if one.structure is not None else None
        result = plan.failed(one.error) if one.structure is None else known
        rows.append(one.row | ({} if result is None else columns(result)))
    names = list(dict.fromkeys(name for row in rows for name in row))
    path = folder / f"{RESULTS}.csv"
    with writing(folder):
        part = path.with_name(path.name + ".part")
        with part.open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, names, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        part.replace(path)
        pq.write_table(pyarrow.csv.read_csv(path), path.with_suffix(".parquet"))
    return path


def columns(result: Result) -> dict[str, Any]:
    """A result as columns of a table."""
    return _xtb_columns(result) if isinstance(result, XtbMinimum) else _gpaw_columns(result)


def _xtb_columns(result: XtbMinimum) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(result, name) if result.converged else None for name in NUMBERS}
    row |= {"graph_kept": result.kept if result.converged else None}
    row |= {"converged": result.converged, "reason": result.reason, "seconds": result.seconds}
    row |= {name: result.settings.get(name) for name in ("potential", "fmax")}
    return {f"xtb_{name}": value for name, value in row.items()}


def _gpaw_columns(result: FirstPrinciples) -> dict[str, Any]:
    numbers = {name: getattr(result, name) for name in ("gap", "direct_gap", "energy", "magnetic_moment")}
    meshes = {name: "x".join(map(str, result.settings.get(name, ()))) for name in ("kpoints", "gap_kpoints")}
    told = ("spin_polarised", "xc", "cutoff", "kpoint_density", "smearing", "gap_tolerance", "gpaw")
    row = {name: value if result.converged else None for name, value in numbers.items()}
    row |= {"converged": result.converged, "reason": result.reason, "seconds": result.seconds}
    row |= {name: result.settings.get(name) for name in told} | meshes
    return {name if name == "gpaw" else f"gpaw_{name}": value for name, value in row.items()}


def to_record(one: Verified) -> dict[str, Any]:
    """A verified structure as JSON types: its name, what was known of it, and the columns of the result."""
    return {"name": one.subject.name} | one.subject.row | columns(one.result)


def _runs(path: Path) -> list[Path]:
    """The design folders that a path means."""
    if path.name == CANDIDATES and path.is_file():
        return [path.parent]
    return sorted(file.parent for file in path.rglob(CANDIDATES)) if path.is_dir() else []


def _candidates(folder: Path, *, prefix: bool) -> Iterator[Subject]:
    """Candidates of a run, also of one that goes on: a line that is not complete yet is left where it is."""
    path = folder / CANDIDATES
    lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    table = folder / "candidates.csv"
    told = pyarrow.csv.read_csv(table).to_pylist() if lines and table.exists() else []
    rows = {str(row["name"]): row for row in told}
    for line in lines:
        try:
            candidate = from_record(json.loads(line))
        except (KeyError, TypeError, ValueError) as error:
            raise ResumeError(f"{path} is damaged ({error}); design anew, or name its CIFs instead") from error
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
