"""Evaluation of a set of crystals: rows, and the figures computed from them."""

from collections.abc import Iterator, Mapping, Sequence

from pymatgen.core.structure import Structure

from matgen.evaluation.comparison import crystals_to_compare
from matgen.evaluation.crystal_figures import (
    kind_figures,
    low_energy_note,
    set_figures,
    stability_figures,
    validity_figures,
)
from matgen.evaluation.crystal_rows import CrystalRow, compared_rows, relaxed_rows, rows_as_read
from matgen.evaluation.findings import Findings, Task
from matgen.evaluation.pairs import csp_figures, paired
from matgen.evaluation.relaxations import Outcome, crystal_relaxer, relaxations
from matgen.hull.hull import PotentialMismatchError, ReferenceHull
from matgen.metrics.shares import shares_of_structures
from matgen.novelty.crystals import KnownIndex, shipped_index
from matgen.relaxation.calculators import calculator_maker, kept_calculator, potential_name
from matgen.screening.hulls import hull_of, no_hull
from matgen.structures.files import Entry
from matgen.structures.on_access import OnAccess


def evaluate_crystals(
    task: Task, truth: Sequence[Entry] | None, hull: ReferenceHull | None, known: KnownIndex | None
) -> Findings:
    """Compute rows and figures of a set of crystals.

    Args:
        task: entries, and what to compare them with.
        truth: the true structures that entries are to reproduce; None for none.
        hull: of the potential that relaxes; the shipped one if None.
        known: crystals that are not novel; the shipped index if None.

    Raises:
        EvaluationError: truth and predictions cannot be paired.
        DataSetError: an unknown reference, or one that is not available.
        PotentialMismatchError: the hull is of another potential than the one that relaxes.
        OutputError: the folder cannot be written.
    """
    entries, requested, bootstrap = task.entries, task.requested, task.bootstrap
    # Load everything that may be missing before any long computation.
    known = shipped_index() if known is None else known
    relaxing = task.config.relax != "none"
    hull = _matching(hull or hull_of(task.config.calculator), task.config.calculator) if relaxing else None
    pairs = None if truth is None else paired(entries, truth)
    task.report("reference", 0, 1)
    reference = crystals_to_compare(task.config.reference, task.data)
    task.report("reference", 1, 1, structures=reference.profile.n)
    rows = rows_as_read(entries, task.report)
    valid = _Crystals(entries, {row.name: index for index, row in enumerate(rows) if row.separated})
    rows = _completed(task, rows, valid, hull, known)
    task.report("count", 0, 1)
    potential = "" if hull is None else hull.potential
    relaxed_by = potential_name(kept_calculator(calculator_maker(task.config.calculator))) if relaxing else ""
    apart, left_out = set_figures(valid.values(), reference, requested, bootstrap)
    estimates = [
        *validity_figures(rows, requested, bootstrap),
        *kind_figures(rows, requested, bootstrap, potential, known),
        *(stability_figures(rows, requested, bootstrap, potential) if potential else ()),
        *apart,
        *(() if pairs is None else csp_figures(entries, rows, pairs.pairs, bootstrap)),
    ]
    task.report("count", 1, 1)
    unmeasured = "" if potential else "stability and S.U.N. need energies: relax with chgnet"
    unmeasured = no_hull(relaxed_by) if relaxed_by and not potential else unmeasured
    how_paired = "" if pairs is None else pairs.note
    notes = tuple(filter(None, (reference.note, unmeasured, low_energy_note(rows), left_out, how_paired)))
    shares = shares_of_structures(filter(None, (entry.crystal for entry in entries)), "the crystals that can be read")
    record = None if pairs is None else pairs.record
    return Findings(tuple(rows), tuple(estimates), notes, reference.profile, potential, known.source, shares, record)


def _completed(
    task: Task, rows: Sequence[CrystalRow], valid: "_Crystals", hull: ReferenceHull | None, known: KnownIndex
) -> list[CrystalRow]:
    """Add everything but validity: relax if there is a hull, then compare."""
    outcomes: dict[str, Outcome[Structure]] = {}
    if hull is not None:
        outcomes = relaxations(
            valid,
            crystal_relaxer(None, calculator_maker(task.config.calculator), task.config.device),
            task.report,
            task.folder,
            task.config.jobs,
        )
        rows = relaxed_rows(rows, task.entries, outcomes, hull)
    names = [row.name for row in rows]

    def final(index: int) -> Structure | None:
        name = names[index]
        return outcomes[name].structure if name in outcomes else valid.get(name)

    return compared_rows(rows, OnAccess(len(names), final), known, task.report)


class _Crystals(Mapping[str, Structure]):
    """Crystals of entries by name, each built whenever it is asked for."""

    def __init__(self, entries: Sequence[Entry], places: Mapping[str, int]) -> None:
        self._entries, self._places = entries, places

    def __getitem__(self, name: str) -> Structure:
        found = self._entries[self._places[name]].crystal
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _matching(hull: ReferenceHull | None, calculator: str) -> ReferenceHull | None:
    """Return the hull if it is of the potential that relaxes.

    Raises:
        PotentialMismatchError: it is of another.
    """
    name = potential_name(kept_calculator(calculator_maker(calculator)))
    if hull is not None and hull.potential != name:
        raise PotentialMismatchError(f"expected a hull of {name}, which relaxes here, got one of {hull.potential}")
    return hull
