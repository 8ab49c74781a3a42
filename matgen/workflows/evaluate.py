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
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pymatgen.core.structure import Structure

from matgen import __version__
from matgen.calculator import chgnet_calculator, potential_name
from matgen.config import ConfigError, check_least, to_mapping
from matgen.errors import UserError
from matgen.export import writing
from matgen.progress import Report, Silence
from matgen.screening.assess import LARGEST
from matgen.structure_files import Entry, read_structures
from matgen.validation.checks import MIN_CONTACT
from matgen.validation.hull import DOUBTFUL, PotentialMismatchError, ReferenceHull, is_stable
from matgen.validation.known import KnownIndex, shipped_index
from matgen.validation.metrics import (
    Bootstrap,
    Estimate,
    average,
    coverage,
    distances,
    features,
    match_everyone,
    match_rate,
    share,
    traits,
)
from matgen.workflows.comparison import ComparisonSet, read_comparison
from matgen.workflows.judging import NEAR_HULL, NOT_ABOVE, Judged, judged_alike, judged_as_read, judged_relaxed
from matgen.workflows.relaxations import Outcome, relaxations


class EvaluationError(UserError, ValueError):
    """An evaluation that cannot be made."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What structures are compared with, and how.

    Attributes:
        reference: name of a data set, or a path to structures.
        csp: path to the true structures, where each entry is to be one of them.
        relax: potential that relaxes, and whose hull counts; with none, stability is not measured.
        jobs: processes that relax.
        requested: how many structures were asked of the generator; as many as there are entries if 0.
        bootstrap: resampled sets behind each interval.
        seed: of the resampling.
    """

    reference: str = "mp20"
    csp: Path | None = None
    relax: Literal["none", "chgnet"] = "chgnet"
    jobs: int = 1
    requested: int = 0
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check at the border.

        Raises:
            ConfigError: an unknown potential, or a number out of its range.
        """
        if self.relax not in {"none", "chgnet"}:
            raise ConfigError(f"expected relax as none or chgnet, got {self.relax!r}")
        check_least(self, 1, "jobs", "bootstrap")
        check_least(self, 0, "requested")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        estimates: every figure.
        structures: a row for every entry.
        notes: what could not be measured, and why.
        about: version, settings, reference, potential.
    """

    estimates: tuple[Estimate, ...]
    structures: tuple[Judged, ...]
    notes: tuple[str, ...]
    about: dict[str, Any]


def evaluate(
    paths: Iterable[Path],
    config: EvaluationConfig | None = None,
    *,
    data: Path | None = None,
    folder: Path | None = None,
    hull: ReferenceHull | None = None,
    known: KnownIndex | None = None,
    report: Report | None = None,
) -> Evaluation:
    """Judge the structures of files.

    Args:
        paths: files, folders, zips.
        config: what to compare with, and how.
        data: folder of the training tables, where named data sets are.
        folder: relaxations stream into it, and are not done again; holds `evaluation.json` and `structures.csv` in the
            end. No files are kept if left out.
        hull: of the potential that relaxes; the one that ships if left out.
        known: what is not novel; the index that ships if left out.
        report: hears how every stage gets on.

    Raises:
        EvaluationError: nothing to judge, fewer requested than came, or truth and predictions that make no pairs.
        DataSetError: an unknown reference, or one that is not at hand.
        PotentialMismatchError: a hull of another potential than the one that relaxes.
        MissingPathError: a path that is not there.
        OutputError: the folder cannot be written.
    """
    config, report = config or EvaluationConfig(), report or Silence()
    with _quiet():
        entries = _read(paths)
        bootstrap = Bootstrap(config.bootstrap, config.seed)
        requested = _requested(config, len(entries))
        # All that may be missing is asked for before anything takes long.
        known = shipped_index() if known is None else known
        hull = None if config.relax == "none" else _fitting(hull or ReferenceHull.load())
        pairs = None if config.csp is None else paired(entries, _read([config.csp]))
        report("reference", 0, 1)
        reference = read_comparison(config.reference, data)
        report("reference", 1, 1, structures=reference.profile.n)
        rows = judged_as_read(entries, report)
        valid = {e.name: e.structure for e, row in zip(entries, rows, strict=True) if row.separated and e.structure}
        rows = _judged(rows, entries, valid, hull, known, folder, config.jobs, report)
        report("count", 0, 1)
        potential = "" if hull is None else hull.potential
        estimates = [
            *validity_figures(rows, requested, bootstrap),
            *kind_figures(rows, requested, bootstrap, potential, known),
            *(stability_figures(rows, requested, bootstrap, potential) if potential else ()),
            *set_figures(list(valid.values()), reference, requested, bootstrap),
            *(() if pairs is None else csp_figures(entries, rows, pairs, bootstrap)),
        ]
        report("count", 1, 1)
    unmeasured = "" if potential else "stability and S.U.N. need energies: relax with chgnet"
    about = {
        "version": __version__,
        "settings": to_mapping(config),
        "entries": len(entries),
        "readable": sum(not row.error for row in rows),
        "requested": requested,
        "reference": {"name": reference.profile.name, "source": reference.profile.source, "n": reference.profile.n},
        "potential": potential,
        "known": known.source,
    }
    notes = tuple(filter(None, (reference.note, unmeasured, doubts(rows))))
    evaluation = Evaluation(tuple(estimates), tuple(rows), notes, about)
    if folder is not None:
        write(evaluation, folder)
    return evaluation


def _judged(
    rows: Sequence[Judged],
    entries: Sequence[Entry],
    valid: dict[str, Structure],
    hull: ReferenceHull | None,
    known: KnownIndex,
    folder: Path | None,
    jobs: int,
    report: Report,
) -> list[Judged]:
    """The rows with everything but validity: relaxed if there is a hull, then compared."""
    outcomes: dict[str, Outcome] = {}
    if hull is not None:
        outcomes = relaxations(valid, report, folder, jobs)
        rows = judged_relaxed(rows, entries, outcomes, hull)
    finals = [outcomes[row.name].structure if row.name in outcomes else valid.get(row.name) for row in rows]
    return judged_alike(rows, finals, known, report)


def _fitting(hull: ReferenceHull) -> ReferenceHull:
    """The hull, if it is of the potential that will relax.

    Raises:
        PotentialMismatchError: it is of another.
    """
    name = potential_name(chgnet_calculator())
    if hull.potential != name:
        raise PotentialMismatchError(f"expected a hull of {name}, which relaxes here, got one of {hull.potential}")
    return hull


def _read(paths: Iterable[Path]) -> list[Entry]:
    paths = list(paths)
    entries = [_small(entry) for entry in read_structures(paths)]
    if not any(entry.structure for entry in entries):
        reason = f": {entries[0].name}: {entries[0].error}" if entries else ""
        raise EvaluationError(
            f"expected structures in {', '.join(map(str, paths))}, found none that can be read{reason}"
        )
    return entries


def _small(entry: Entry) -> Entry:
    """The entry, or a reason in place of a structure that would hold up all others."""
    if entry.structure is None or len(entry.structure) <= LARGEST:
        return entry
    reason = f"{len(entry.structure)} atoms in the cell; more than {LARGEST} are not judged"
    return replace(entry, structure=None, error=reason)


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


def doubts(rows: Sequence[Judged]) -> str:
    """How many energies are too good to be true; empty if none is."""
    n = sum(row.above_hull < -DOUBTFUL for row in rows)
    told = f"{n} lie more than {DOUBTFUL:g} eV/atom below the hull, counted as not stable: doubt the potential"
    return told if n else ""


def validity_figures(rows: Sequence[Judged], requested: int, bootstrap: Bootstrap) -> list[Estimate]:
    """Shares of the number requested that can be read, and that are valid before any relaxation."""

    def counted(name: str, passed: Iterable[bool], how: str) -> Estimate:
        return share(name, list(passed), requested, bootstrap, how)

    return [
        counted("readable", (not row.error for row in rows), "can be read as a crystal"),
        counted("structure valid, CDVAE", (r.separated for r in rows), "distances ≥ 0.5 Å, volume ≥ 0.1 Å³; as read"),
        counted(
            "structure valid, ours", (r.spaced for r in rows), f"contacts ≥ {MIN_CONTACT:g} covalent radii; as read"
        ),
        counted("composition valid, CDVAE", (r.smact14 for r in rows), "SMACT, oxidation states of 2014, alloys pass"),
        counted("composition valid, SMACT", (r.smact for r in rows), "smact_validity today: ICSD 2024, alloys pass"),
        counted("valid, CDVAE", (r.separated and r.smact14 for r in rows), "both of CDVAE's"),
    ]


def kind_figures(
    rows: Sequence[Judged], requested: int, bootstrap: Bootstrap, potential: str, known: KnownIndex
) -> list[Estimate]:
    """Shares of the number requested that are unique, and that are novel."""
    state = f"relaxed by {potential}" if potential else "as read"
    alike, new = "one of each kind, pymatgen's tolerances", f"none of {len(known):,} of {known.source}"
    return [
        share("unique", [r.unique for r in rows], requested, bootstrap, f"{alike}; {state}"),
        share("novel", [r.novel for r in rows], requested, bootstrap, f"{new}; {state}"),
    ]


def stability_figures(rows: Sequence[Judged], requested: int, bootstrap: Bootstrap, potential: str) -> list[Estimate]:
    """Shares of the number requested that relax and are stable, and the way there."""
    hull = f"hull and relaxation by {potential}; unconverged ones fail"
    sun = "unique and novel among the stable"
    found = [share("relaxation converges", [r.converged for r in rows], requested, bootstrap, potential)]
    for limit, together in ((NOT_ABOVE, [r.sun_on_hull for r in rows]), (NEAR_HULL, [r.sun for r in rows])):
        stable = [is_stable(row.above_hull, limit) for row in rows]
        found += [
            share(f"stable ≤ {limit:g} eV/atom", stable, requested, bootstrap, hull),
            share(f"S.U.N. ≤ {limit:g} eV/atom", together, requested, bootstrap, f"{sun}; {hull}"),
        ]
    over = "mean over those that converge"
    match = f"{over} and match; {potential}"
    values = [("energy above hull", "above_hull", "eV/atom", f"{over}; {potential}")]
    values += [
        ("RMSD to relaxed", "rmsd", "Å", match),
        ("RMSD to relaxed, normalised", "rmsd_normalised", "(V/N)^(1/3)", match),
    ]
    found += [
        average(name, [getattr(row, field) for row in rows], requested, bootstrap, unit, how)
        for name, field, unit, how in values
    ]
    return found


def set_figures(
    structures: Sequence[Structure], reference: ComparisonSet, requested: int, bootstrap: Bootstrap
) -> list[Estimate]:
    """What the set as a whole is like: coverage and distances, of the structures that CDVAE calls valid, as read."""
    covered: Sequence[Estimate] = ()
    if reference.features:
        some = [features(structure) for structure in structures]
        covered = coverage(some, reference.features, requested, None, bootstrap)
    return [*covered, *distances([traits(s) for s in structures], reference.profile, requested, bootstrap)]


def paired(entries: Sequence[Entry], truth: Sequence[Entry]) -> list[tuple[Structure, int]]:
    """True structures, and the place of the entry that was made for each; -1 where none was.

    By name (without folder and ending) where every prediction's name is that of one true structure; else by order, if
    there are as many of one as of the other.

    Raises:
        EvaluationError: neither fits, or a true structure cannot be read.
    """
    for entry in truth:
        if entry.structure is None:
            raise EvaluationError(f"expected every true structure to be readable, but {entry.name}: {entry.error}")
    structures = [entry.structure for entry in truth if entry.structure is not None]
    names, wanted = [_stem(entry.name) for entry in entries], [_stem(entry.name) for entry in truth]
    if len(set(wanted)) == len(wanted) and len(set(names)) == len(names) and set(names) <= set(wanted):
        place = {name: index for index, name in enumerate(names)}
        return [(true, place.get(name, -1)) for name, true in zip(wanted, structures, strict=True)]
    if len(entries) == len(truth):
        return [(true, index) for index, true in enumerate(structures)]
    raise EvaluationError(
        f"expected predictions named as the true structures, or as many: got {len(entries)} predictions, such as "
        f"{entries[0].name}, for {len(truth)}, such as {truth[0].name}"
    )


def _stem(name: str) -> str:
    """a.cif of any folder and a of a CSV are the same; what tells the frames of a file apart stays."""
    file, hash_sign, frame = name.rpartition("#")
    return f"#{frame}" if hash_sign else PurePosixPath(frame or file).stem


def csp_figures(
    entries: Sequence[Entry], rows: Sequence[Judged], pairs: Sequence[tuple[Structure, int]], bootstrap: Bootstrap
) -> list[Estimate]:
    """Match rates and METRe, of the number of true structures, as read."""
    truth = [true for true, _ in pairs]
    guesses = [None if index < 0 else entries[index].structure for _, index in pairs]
    valid = [index >= 0 and rows[index].separated and rows[index].smact14 for _, index in pairs]
    everyone = [entry.structure for entry, row in zip(entries, rows, strict=True) if row.separated]
    return [
        *match_rate(guesses, truth, None, bootstrap),
        *match_rate(guesses, truth, valid, bootstrap),
        *match_everyone(everyone, truth, bootstrap),
    ]


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
    return {**evaluation.about, "notes": list(evaluation.notes), "figures": figures}


def _nullable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about nothing that a user could change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No Pauling electronegativity")  # pymatgen, of noble gases
        yield
