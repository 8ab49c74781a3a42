"""Chosen crystals by first principles, joined to the table that they come from."""

import csv
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
from pymatgen.core.structure import Structure

from matgen.config import did_you_mean
from matgen.errors import UserError
from matgen.export import ResumeError, writing
from matgen.progress import Report, Silence
from matgen.record import from_record
from matgen.structure_files import files_below, read_structures
from matgen.validation.first_principles import FirstPrinciples, failed
from matgen.workflows.calculations import CalculationFile, Plan, calculated

CANDIDATES = "candidates.jsonl"
RESULTS = "verified"
"""Stem of what is written: `.jsonl` as results come, `.csv` and `.parquet` joined with the candidates."""
OWN_FILES = {f"{RESULTS}.{kind}" for kind in ("jsonl", "csv", "parquet")}
DEFAULT_FOLDER = Path("verified")


class SelectionError(UserError, ValueError):
    """Names or a number of crystals that the paths do not have."""


@dataclass(frozen=True)
class Subject:
    """A crystal that may be verified, or a reason why it cannot be.

    Attributes:
        name: unique among all of them.
        structure: None where it cannot be read.
        error: why not; empty otherwise.
        row: what the table that it comes from says of it, in its order.
    """

    name: str
    structure: Structure | None
    error: str
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verified:
    """A crystal and what first principles say of it."""

    subject: Subject
    result: FirstPrinciples


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Attributes:
        table: CSV with one line for each crystal of the paths, whether it was chosen or not.
        verified: the chosen ones.
    """

    table: Path
    verified: tuple[Verified, ...]

    @property
    def converged(self) -> int:
        """How many have a result."""
        return sum(one.result.converged for one in self.verified)


def subjects(paths: Sequence[Path]) -> list[Subject]:
    """All crystals of some paths: candidates of design folders, best first, and structures of any other file.

    Args:
        paths: folders of `matgen design` or folders of such, their `candidates.jsonl`, or what `read_structures` takes.

    Raises:
        MissingPathError: one of them is not there.
        ResumeError: candidates are damaged.
    """
    runs = {path: _runs(path) for path in paths}
    designs = list(dict.fromkeys(folder for found in runs.values() for folder in found))
    others = [path for path, found in runs.items() if not found]
    found = [one for folder in designs for one in _candidates(folder, prefix=len(designs) > 1 or bool(others))]
    entries = read_structures(others) if others else iter(())
    return found + [_subject(entry) for entry in entries if Path(entry.path).name not in OWN_FILES]


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
        SelectionError: a name that is not there, or no crystals at all.
    """
    if not every:
        raise SelectionError("expected crystals in the paths, found none; has the design found any?")
    by_name = {one.name: one for one in every}
    if unknown := [name for name in names if name not in by_name]:
        raise SelectionError(
            f"expected names of the crystals there are, got {unknown[0]}; {_hint(unknown[0], by_name)}"
        )
    picked = [by_name[name] for name in dict.fromkeys(names)] or list(every)
    return picked if top is None else picked[:top]


def run(
    every: Sequence[Subject],
    picked: Sequence[Subject],
    folder: Path,
    plan: Plan,
    *,
    report: Report | None = None,
    found: Callable[[Verified], None] = lambda _: None,
) -> Outcome:
    """Verify crystals; those that a former call finished are not calculated again.

    Args:
        every: crystals of the table.
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
    picked: Sequence[Subject], file: CalculationFile, plan: Plan, logs: Path
) -> Generator[tuple[str, FirstPrinciples]]:
    yield from ((one.name, failed(one.error)) for one in picked if one.structure is None)
    whole = [(one.name, one.structure) for one in picked if one.structure is not None]
    yield from calculated(whole, file, plan, logs)


def default_folder(paths: Sequence[Path]) -> Path:
    """Where results go unless told: into the folder of designs if it is one, else `verified/`."""
    if len(paths) == 1 and _runs(paths[0]):
        return paths[0] if paths[0].is_dir() else paths[0].parent
    return DEFAULT_FOLDER


def write_table(every: Sequence[Subject], results: dict[str, FirstPrinciples], plan: Plan, folder: Path) -> Path:
    """One line for each crystal: what was known of it, then what GPAW says; empty where it was not asked.

    Returns:
        The CSV; a Parquet file of the same content lies beside it.
    """
    rows = []
    for one in every:
        result = failed(one.error) if one.structure is None else results.get(plan.key(one.structure))
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


def columns(result: FirstPrinciples) -> dict[str, Any]:
    """A result as columns of a table."""
    numbers = {name: getattr(result, name) for name in ("gap", "direct_gap", "energy", "magnetic_moment")}
    meshes = {name: "x".join(map(str, result.settings.get(name, ()))) for name in ("kpoints", "gap_kpoints")}
    told = ("spin_polarised", "xc", "cutoff", "kpoint_density", "smearing", "gpaw")
    row = {name: value if result.converged else None for name, value in numbers.items()}
    row |= {"converged": result.converged, "reason": result.reason, "seconds": result.seconds}
    row |= {name: result.settings.get(name) for name in told} | meshes
    return {name if name == "gpaw" else f"gpaw_{name}": value for name, value in row.items()}


def to_record(one: Verified) -> dict[str, Any]:
    """A verified crystal as JSON types: its name, what was known of it, and the columns of the result."""
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
        row = rows.get(candidate.name) or _plain_row(name, candidate.structure)
        yield Subject(name, candidate.structure, "", row | {"name": name})


def _subject(entry: Any) -> Subject:
    row = {"name": entry.name, "path": entry.path, "index": entry.index}
    if entry.structure is None:
        return Subject(entry.name, None, entry.error, row)
    return Subject(entry.name, entry.structure, "", row | _plain_row(entry.name, entry.structure))


def _plain_row(name: str, structure: Structure) -> dict[str, Any]:
    return {"name": name, "formula": structure.composition.reduced_formula, "n_atoms": len(structure)}


def _hint(name: str, names: Iterable[str]) -> str:
    """What may have been meant; of many names, not all of them."""
    every = list(names)
    return did_you_mean(name, every) if len(every) < 20 else f"there are {len(every)}, such as {every[0]}"
