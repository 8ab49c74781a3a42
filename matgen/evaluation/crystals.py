"""Crystals judged: rows and figures, from validity as read to matches with structures that were to be found."""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from pymatgen.core.structure import Structure

from matgen.checks.crystals import MIN_CONTACT
from matgen.evaluation.comparison import CrystalSet, crystals_to_compare
from matgen.evaluation.crystal_rows import NEAR_HULL, NOT_ABOVE, Judged, judged_alike, judged_as_read, judged_relaxed
from matgen.evaluation.findings import EvaluationError, Findings, Task
from matgen.evaluation.relaxations import Outcome, crystal_relaxer, relaxations
from matgen.hull.hull import DOUBTFUL, PotentialMismatchError, ReferenceHull, is_stable
from matgen.metrics import (
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
from matgen.metrics.shares import shares_of_structures
from matgen.novelty.crystals import KnownIndex, shipped_index
from matgen.relaxation.calculators import chgnet_calculator, potential_name
from matgen.structures.files import Entry


def evaluated_crystals(
    task: Task, truth: Sequence[Entry] | None, hull: ReferenceHull | None, known: KnownIndex | None
) -> Findings:
    """Everything that is found out about a set of crystals.

    Args:
        task: entries, and what to compare them with.
        truth: the structures that were to be found, if there are any.
        hull: of the potential that relaxes; the one that ships if left out.
        known: what is not novel; the index that ships if left out.

    Raises:
        EvaluationError: truth and predictions that make no pairs.
        DataSetError: an unknown reference, or one that is not at hand.
        PotentialMismatchError: a hull of another potential than the one that relaxes.
        OutputError: the folder cannot be written.
    """
    entries, config, report, bootstrap, requested = (
        task.entries,
        task.config,
        task.report,
        task.bootstrap,
        task.requested,
    )
    # All that may be missing is asked for before anything takes long.
    known = shipped_index() if known is None else known
    hull = None if config.relax == "none" else _fitting(hull or ReferenceHull.load())
    pairs = None if truth is None else paired(entries, truth)
    report("reference", 0, 1)
    reference = crystals_to_compare(config.reference, task.data)
    report("reference", 1, 1, structures=reference.profile.n)
    rows = judged_as_read(entries, report)
    crystals = ((entry.name, entry.crystal, row.separated) for entry, row in zip(entries, rows, strict=True))
    valid = {name: crystal for name, crystal, separated in crystals if separated and crystal}
    rows = _judged(task, rows, valid, hull, known)
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
    notes = tuple(filter(None, (reference.note, unmeasured, doubts(rows))))
    made_of = shares_of_structures(filter(None, (entry.crystal for entry in entries)), "the crystals that can be read")
    return Findings(tuple(rows), tuple(estimates), notes, reference.profile, potential, known.source, made_of)


def _judged(
    task: Task, rows: Sequence[Judged], valid: dict[str, Structure], hull: ReferenceHull | None, known: KnownIndex
) -> list[Judged]:
    """The rows with everything but validity: relaxed if there is a hull, then compared."""
    outcomes: dict[str, Outcome[Structure]] = {}
    if hull is not None:
        outcomes = relaxations(valid, crystal_relaxer(), task.report, task.folder, task.config.jobs)
        rows = judged_relaxed(rows, task.entries, outcomes, hull)
    finals = [outcomes[row.name].structure if row.name in outcomes else valid.get(row.name) for row in rows]
    return judged_alike(rows, finals, known, task.report)


def _fitting(hull: ReferenceHull) -> ReferenceHull:
    """The hull, if it is of the potential that will relax.

    Raises:
        PotentialMismatchError: it is of another.
    """
    name = potential_name(chgnet_calculator())
    if hull.potential != name:
        raise PotentialMismatchError(f"expected a hull of {name}, which relaxes here, got one of {hull.potential}")
    return hull


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
    structures: Sequence[Structure], reference: CrystalSet, requested: int, bootstrap: Bootstrap
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
    structures = [crystal for crystal in (entry.crystal for entry in truth) if crystal is not None]
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
    guesses = [None if index < 0 else entries[index].crystal for _, index in pairs]
    valid = [index >= 0 and rows[index].separated and rows[index].smact14 for _, index in pairs]
    everyone = [entry.crystal for entry, row in zip(entries, rows, strict=True) if row.separated]
    return [
        *match_rate(guesses, truth, None, bootstrap),
        *match_rate(guesses, truth, valid, bootstrap),
        *match_everyone(everyone, truth, bootstrap),
    ]
