"""How good a set of structures is, whoever made it: every figure with denominator, interval and what it depends on."""

import csv
import hashlib
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from matgen import __version__
from matgen.evaluation.crystal_rows import Judged
from matgen.evaluation.crystals import evaluated_crystals
from matgen.evaluation.findings import EvaluationConfig, EvaluationError, Task
from matgen.evaluation.molecule_rows import JudgedMolecule
from matgen.evaluation.molecules import evaluated_molecules
from matgen.hull.hull import ReferenceHull
from matgen.metrics import Estimate
from matgen.metrics.shares import Shares, training_shares
from matgen.novelty.crystals import KnownIndex
from matgen.novelty.molecules import KnownMolecules
from matgen.runtime.config import to_mapping
from matgen.runtime.output import writing
from matgen.runtime.progress import Report, Silence
from matgen.screening.assess import LARGEST
from matgen.structures.candidate import KindName
from matgen.structures.files import Entry, Found, found, one_kind, read


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        estimates: every figure.
        structures: a row for every entry.
        notes: what could not be measured, and why.
        about: version, settings, reference, potential.
        shares: what the crystals are made of; None of molecules.
    """

    estimates: tuple[Estimate, ...]
    structures: tuple[Judged, ...] | tuple[JudgedMolecule, ...]
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
    """Judge the structures of files: crystals, or molecules.

    Args:
        paths: files, folders, zips.
        config: what to compare with, and how.
        data: folder of the training tables, where named data sets are.
        folder: relaxations stream into it, and are not done again; holds `evaluation.json` and `structures.csv` in the
            end. No files are kept if left out.
        hull: of the potential that relaxes crystals; the one that ships if left out.
        known: crystals that are not novel; the index that ships if left out.
        known_molecules: molecules that are not novel; those of QM9 if left out.
        report: hears how every stage gets on.

    Raises:
        EvaluationError: nothing to judge, fewer requested than came, or truth and predictions that make no pairs.
        MixedKindsError: crystals and molecules.
        DataSetError: an unknown reference, or one that is not at hand.
        PotentialMismatchError: a hull of another potential than the one that relaxes.
        MissingPathError: a path that is not there.
        OutputError: the folder cannot be written.
    """
    paths, config, report = list(paths), config or EvaluationConfig(), report or Silence()
    with _quiet():
        pieces = list(found(paths))
        kind = _kind(pieces)
        config = config.of(kind)
        entries = _read(pieces, kind, paths)
        requested = _requested(config, len(entries))
        task = Task(tuple(entries), config, requested, data, folder, report)
        if kind == "molecule":
            findings = evaluated_molecules(task, known_molecules)
        else:
            truth = None if config.csp is None else _read(list(found([config.csp])), kind, [config.csp])
            findings = evaluated_crystals(task, truth, hull, known)
    reference = findings.reference
    about = {
        "version": __version__,
        "settings": to_mapping(config),
        "kind": kind,
        "entries": len(entries),
        "readable": sum(not row.error for row in findings.rows),
        "requested": requested,
        "reference": {"name": reference.name, "source": reference.source, "n": reference.n},
        "potential": findings.potential,
        "known": findings.known,
    }
    evaluation = Evaluation(findings.estimates, findings.rows, findings.notes, about, findings.shares)
    if folder is not None:
        write(evaluation, folder)
    return evaluation


def _kind(pieces: Sequence[Found]) -> KindName:
    """The kind of what was found; that of the first that can be read where nothing else tells.

    Raises:
        MixedKindsError: there are both.
    """
    kinds: Iterator[KindName | None] = (read(one, None).kind for one in pieces)
    return one_kind(pieces) or next(filter(None, kinds), None) or "crystal"


def _read(pieces: Sequence[Found], kind: KindName, paths: Sequence[Path]) -> list[Entry]:
    entries = [_small(read(one, kind)) for one in pieces]
    if not any(entry.structure or entry.atoms for entry in entries):
        reason = f": {entries[0].name}: {entries[0].error}" if entries else ""
        raise EvaluationError(
            f"expected structures in {', '.join(map(str, paths))}, found none that can be read{reason}"
        )
    return entries


def _small(entry: Entry) -> Entry:
    """The entry, or a reason in place of a structure that would hold up all others."""
    size = len(entry.structure or entry.atoms or ())
    if size <= LARGEST:
        return entry
    where = "cell" if entry.kind == "crystal" else "molecule"
    reason = f"{size} atoms in the {where}; more than {LARGEST} are not judged"
    return replace(entry, structure=None, atoms=None, error=reason)


def default_folder(config: EvaluationConfig, paths: Sequence[Path]) -> Path:
    """`evaluations/` and a name that tells the input, and that no other input, settings or version share.

    The number of processes is no part of it: an interrupted evaluation may go on with more.
    """
    told = {"paths": [str(path.resolve()) for path in paths], "version": __version__, **to_mapping(config), "jobs": 0}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:6]
    words = "_".join(path.resolve().name for path in paths[:3])
    readable = re.sub(r"[^A-Za-z0-9.+-]+", "_", words).strip("_")[:60]
    return Path("evaluations") / f"{readable}_{digest}"


def _requested(config: EvaluationConfig, came: int) -> int:
    if config.requested and config.requested < came:
        raise EvaluationError(
            f"expected at least the {came} entries that were found as requested, got {config.requested}; "
            "name the number that the generator was asked for, or leave it out"
        )
    return config.requested or came


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write `evaluation.json` and `structures.csv`.

    Raises:
        OutputError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(to_document(evaluation), indent=1, ensure_ascii=False)
        (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
        with (folder / "structures.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(asdict(evaluation.structures[0])), lineterminator="\n")
            table.writeheader()
            table.writerows(asdict(row) for row in evaluation.structures)


def to_document(evaluation: Evaluation) -> dict[str, Any]:
    """The figures as JSON types, without the rows; what is no number becomes null."""
    figures = [{name: _nullable(value) for name, value in asdict(one).items()} for one in evaluation.estimates]
    told = {**evaluation.about, "notes": list(evaluation.notes), "figures": figures}
    if evaluation.shares is not None:
        told["shares"] = {"found": asdict(evaluation.shares), "training": asdict(training_shares())}
    return told


def _nullable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about nothing that a user could change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No Pauling electronegativity")  # pymatgen, of noble gases
        yield
