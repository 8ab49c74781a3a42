"""Calculate chosen crystals by first principles, or molecules by GFN2-xTB, and add the results to their table."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq

from matgen.first_principles.calculations import CalculationFile, Calculations, Result, calculated
from matgen.first_principles.gpaw import FirstPrinciples
from matgen.first_principles.subjects import RESULTS, Subject, runs_below
from matgen.first_principles.xtb_minimum import NUMBERS, XtbMinimum
from matgen.runtime.csv_lines import csv_lines
from matgen.runtime.folder_lock import FolderLock
from matgen.runtime.output import replace_file, replacing, writing
from matgen.runtime.progress import Report, Silence

DEFAULT_FOLDER = Path("verified")


@dataclass(frozen=True)
class Verified:
    """A crystal or a molecule, and the result of its calculation."""

    subject: Subject
    result: Result


@dataclass(frozen=True)
class Outcome:
    """Result of a call.

    Attributes:
        table: CSV with one line for each structure of the paths, chosen or not.
        verified: chosen structures.
    """

    table: Path
    verified: tuple[Verified, ...]

    @property
    def converged(self) -> int:
        """Number of structures with a result."""
        return sum(one.result.converged for one in self.verified)


def run(
    every: Sequence[Subject],
    picked: Sequence[Subject],
    folder: Path,
    plan: Calculations,
    *,
    report: Report | None = None,
    found: Callable[[Verified], None] = lambda _: None,
) -> Outcome:
    """Verify crystals or molecules; those that an earlier call has finished are not calculated again.

    Args:
        every: structures of the table.
        picked: structures to verify.
        folder: receives `verified.jsonl`, `.csv`, `.parquet`, and GPAW's logs in `gpaw/`.
        plan: of the calculations.
        report: receives the progress.
        found: is called with each result as soon as it is on disk, those of an earlier call first.

    Raises:
        OutputError: the folder cannot be written.
        FolderInUseError: another process verifies into the folder.
        ResumeError: `verified.jsonl` is damaged.
    """
    with FolderLock(folder, of=RESULTS):
        return _run(every, picked, folder, plan, report or Silence(), found)


def _run(
    every: Sequence[Subject],
    picked: Sequence[Subject],
    folder: Path,
    plan: Calculations,
    tell: Report,
    found: Callable[[Verified], None],
) -> Outcome:
    file = CalculationFile(folder / f"{RESULTS}.jsonl")
    done = dict[str, Verified]()
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
    """Return the default folder of results: the folder of a single design, else `verified/`."""
    if len(paths) == 1 and runs_below(paths[0]):
        return paths[0] if paths[0].is_dir() else paths[0].parent
    return DEFAULT_FOLDER


def write_table(every: Sequence[Subject], results: dict[str, Result], plan: Calculations, folder: Path) -> Path:
    """Write one line for each structure: its known columns, then the calculated ones, empty if it was not calculated.

    Returns:
        Path of the CSV; a Parquet file with the same content is written beside it.
    """
    rows = []
    for one in every:
        known = results.get(plan.key(one.structure, one.template)) if one.structure is not None else None
        result = plan.failed(one.error) if one.structure is None else known
        rows.append(one.row | ({} if result is None else columns(result)))
    names = list(dict.fromkeys(name for row in rows for name in row))
    path = folder / f"{RESULTS}.csv"
    with writing(folder):
        replace_file(path, csv_lines(names, rows))
        with replacing(path.with_suffix(".parquet")) as stream:
            pq.write_table(pyarrow.csv.read_csv(path), stream)
    return path


def columns(result: Result) -> dict[str, Any]:
    """Return a result as columns of a table."""
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
    settings = ("spin_polarised", "xc", "cutoff", "kpoint_density", "smearing", "gap_tolerance", "gpaw")
    row = {name: value if result.converged else None for name, value in numbers.items()}
    row |= {"converged": result.converged, "reason": result.reason, "seconds": result.seconds}
    row |= {name: result.settings.get(name) for name in settings} | meshes
    return {name if name == "gpaw" else f"gpaw_{name}": value for name, value in row.items()}


def to_record(one: Verified) -> dict[str, Any]:
    """Return a verified structure as JSON types: its name, its known columns, and the columns of the result."""
    return {"name": one.subject.name} | one.subject.row | columns(one.result)
