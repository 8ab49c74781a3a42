"""Quality of a set of structures of any origin: every figure with denominator, interval and what it depends on."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from matgen import __version__
from matgen.evaluation.crystal_rows import CrystalRow
from matgen.evaluation.crystals import evaluate_crystals
from matgen.evaluation.findings import EvaluationConfig, EvaluationError, Findings, Task
from matgen.evaluation.molecule_rows import MoleculeRow
from matgen.evaluation.molecules import evaluate_molecules
from matgen.hull.hull import ReferenceHull
from matgen.metrics import Estimate
from matgen.metrics.shares import Shares, training_shares
from matgen.novelty.crystals import KnownIndex
from matgen.novelty.molecules import KnownMolecules
from matgen.runtime.config import to_mapping
from matgen.runtime.csv_lines import csv_lines
from matgen.runtime.folder_lock import FolderLock
from matgen.runtime.output import replace_file, writing
from matgen.runtime.progress import Report, Silence
from matgen.runtime.threads import threads, usual_threads
from matgen.screening.assess import LARGEST
from matgen.structures.candidate import KindName
from matgen.structures.files import Entry, found, one_kind, read_structures
from matgen.structures.packed import packed_entries
from matgen.structures.passed_over import files_passed_over
from matgen.workflows.folder_name import folder_name


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        estimates: all figures.
        structures: a row for each entry.
        notes: what could not be measured, and why.
        about: version, settings, reference, potential.
        shares: make-up of the crystals; None for molecules.
    """

    estimates: tuple[Estimate, ...]
    structures: tuple[CrystalRow, ...] | tuple[MoleculeRow, ...]
    notes: tuple[str, ...]
    about: dict[str, Any]
    shares: Shares | None = None


def evaluate(
    paths: Iterable[Path],
    config: EvaluationConfig | None = None,
    *,
    data: Path | None = None,
    folder: Path | None = None,
    hull: ReferenceHull | None = None,
    known: KnownIndex | None = None,
    known_molecules: KnownMolecules | None = None,
    report: Report | None = None,
) -> Evaluation:
    """Evaluate the structures of files: crystals, or molecules.

    Args:
        paths: files, folders, zips.
        config: what to compare with, and how.
        data: folder of the training tables, which contains named data sets.
        folder: for relaxations, which are resumed, `evaluation.json` and `structures.csv`; None to write no files.
        hull: of the potential that relaxes crystals; the shipped one if None.
        known: crystals that are not novel; the shipped index if None.
        known_molecules: molecules that are not novel; those of QM9 if None.
        report: hears the progress.

    Raises:
        EvaluationError: no structures, fewer requested than found, or truth and predictions that cannot be paired.
        MixedKindsError: crystals and molecules.
        DataSetError: an unknown reference, or one that is not available.
        PotentialMismatchError: the hull is of another potential than the one that relaxes.
        MissingPathError: a path does not exist.
        OutputError: the folder cannot be written.
        FolderInUseError: another process evaluates into the folder.
    """
    paths, config, report = list(paths), config or EvaluationConfig(), report or Silence()
    kind = _kind(paths)
    config = config.of(kind)
    with threads(usual_threads()), nullcontext() if folder is None else FolderLock(folder):
        entries = _read(paths, kind, report)
        task = Task(entries, config, _requested(config, len(entries)), data, folder, report)
        if kind == "molecule":
            findings = evaluate_molecules(task, known_molecules)
        else:
            truth = None if config.csp is None else _read([config.csp], kind, report)
            findings = evaluate_crystals(task, truth, hull, known)
        about = {**_about(task, kind, findings), "passed_over": files_passed_over(paths)}
        evaluation = Evaluation(findings.estimates, findings.rows, findings.notes, about, findings.shares)
        if folder is not None:
            write(evaluation, folder)
    return evaluation


def _about(task: Task, kind: KindName, findings: Findings) -> dict[str, Any]:
    """Return what an evaluation depends on, as JSON types."""
    reference = findings.reference
    return {
        "version": __version__,
        "settings": to_mapping(task.config),
        "kind": kind,
        "entries": len(task.entries),
        "readable": sum(not row.error for row in findings.rows),
        "requested": task.requested,
        "reference": {"name": reference.name, "source": reference.source, "n": reference.n},
        "potential": findings.potential,
        "known": findings.known,
    } | ({} if findings.pairs is None else {"pairs": findings.pairs})


def _kind(paths: Sequence[Path]) -> KindName:
    """Return the kind of the structures; that of the first readable one if the files do not tell.

    Raises:
        MixedKindsError: there are both.
    """
    kinds: Iterator[KindName | None] = (entry.kind for entry in read_structures(paths, None))
    return one_kind(found(paths)) or next(filter(None, kinds), None) or "crystal"


def _read(paths: Sequence[Path], kind: KindName, report: Report) -> Sequence[Entry]:
    entries = packed_entries(_reported(map(_small, read_structures(paths, kind)), report))
    if not any(entry.structure or entry.atoms for entry in entries):
        reason = f": {entries[0].name}: {entries[0].error}" if entries else ""
        raise EvaluationError(
            f"expected structures in {', '.join(map(str, paths))}, found none that can be read{reason}"
        )
    return entries


def _reported(entries: Iterable[Entry], report: Report) -> Iterator[Entry]:
    """Yield entries and report how many were read; how many there are is not known before the last."""
    for n, entry in enumerate(entries, start=1):
        report("read", n, n)
        yield entry


def _small(entry: Entry) -> Entry:
    """Return the entry, or a reason in place of a structure so large that it would delay all others."""
    size = len(entry.structure or entry.atoms or ())
    if size <= LARGEST:
        return entry
    where = "cell" if entry.kind == "crystal" else "molecule"
    reason = f"{size} atoms in the {where}; more than {LARGEST} are not evaluated"
    return replace(entry, structure=None, atoms=None, error=reason)


def default_folder(config: EvaluationConfig, paths: Sequence[Path]) -> Path:
    """Return a folder in `evaluations/` named after input, settings and version.

    Neither the number of processes nor the device is part of the name: an interrupted evaluation may be resumed with
    another one.
    """
    resolved = {"paths": [str(path.resolve()) for path in paths], "version": __version__}
    settings = {name: value for name, value in to_mapping(config).items() if name != "device"}
    return Path("evaluations") / folder_name(paths, {**resolved, **settings, "jobs": 0})


def _requested(config: EvaluationConfig, n_entries: int) -> int:
    if config.requested and config.requested < n_entries:
        raise EvaluationError(
            f"expected at least the {n_entries} entries that were found as requested, got {config.requested}; "
            "name the number that the generator was asked for, or leave it out"
        )
    return config.requested or n_entries


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write `evaluation.json` and `structures.csv`.

    Raises:
        OutputError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(to_document(evaluation), indent=1, ensure_ascii=False)
        columns = list(asdict(evaluation.structures[0]))
        replace_file(folder / "structures.csv", csv_lines(columns, map(asdict, evaluation.structures)))
        replace_file(folder / "evaluation.json", text + "\n")


def to_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures as JSON types, without the rows; numbers that are not finite become null."""
    figures = [{name: _nullable(value) for name, value in asdict(one).items()} for one in evaluation.estimates]
    document = {**evaluation.about, "notes": list(evaluation.notes), "figures": figures}
    if evaluation.shares is not None:
        document["shares"] = {"found": asdict(evaluation.shares), "training": asdict(training_shares())}
    return document


def _nullable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
