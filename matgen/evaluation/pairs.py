"""Pairs of generated crystals and the true structures that they are to reproduce, and match rates."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pymatgen.core.structure import Structure

from matgen.evaluation.crystal_rows import CrystalRow
from matgen.evaluation.findings import EvaluationError
from matgen.metrics import Bootstrap, Estimate, match_everyone, match_rate
from matgen.structures.files import Entry
from matgen.structures.ids import natural, stem, told_apart

KEYS: dict[str, Callable[[Sequence[Entry]], list[str]]] = {
    "id": lambda entries: [entry.id for entry in entries],
    "file name": lambda entries: [stem(entry.name) for entry in entries],
    "path": lambda entries: told_apart([entry.name for entry in entries]),
}
"""What entries may be recognised by."""

MOST_STRANGE = 0.5
"""Share of the smaller side that may find no partner by an identifier; with more, identifiers agree by chance."""


@dataclass(frozen=True)
class Pairing:
    """How predictions and true structures were put together.

    Attributes:
        pairs: true structures, and the index of the prediction for each; -1 for none.
        how: what they were paired by, in words.
        lonely: number of predictions for no true structure.
    """

    pairs: tuple[tuple[Structure, int], ...]
    how: str
    lonely: int = 0

    @property
    def missing(self) -> int:
        """Number of true structures without a prediction."""
        return sum(index < 0 for _, index in self.pairs)

    @property
    def record(self) -> dict[str, Any]:
        """The pairing as JSON types."""
        return {
            "by": self.how,
            "pairs": len(self.pairs) - self.missing,
            "predictions_without_partner": self.lonely,
            "true_structures_without_partner": self.missing,
        }

    @property
    def note(self) -> str:
        """The pairing in words."""
        rest = f"{self.lonely} predictions and {self.missing} true structures have no partner"
        return f"{len(self.pairs) - self.missing} pairs of prediction and true structure by {self.how}; {rest}"


def paired(entries: Sequence[Entry], truth: Sequence[Entry]) -> Pairing:
    """Pair true structures with entries.

    They are paired by the identifiers that both sides carry, or by their file names, or by their folders; if nothing
    agrees, in natural order (`gen_2` before `gen_10`), if both sides have the same number.

    Raises:
        EvaluationError: none is possible, as where each identifier that agrees occurs twice, or few agree, or a true
            structure cannot be read.
    """
    for entry in truth:
        if entry.structure is None:
            raise EvaluationError(f"expected every true structure to be readable, but {entry.name}: {entry.error}")
    structures = [crystal for crystal in (entry.crystal for entry in truth) if crystal is not None]
    sides = [{name: key(side) for name, key in KEYS.items()} for side in (entries, truth)]
    faults = []
    for (ours, found), (theirs, wanted) in sorted(
        product(sides[0].items(), sides[1].items()), key=lambda both: both[0][0] != both[1][0]
    ):
        agreeing = set(filter(None, found)) & set(wanted)
        if not agreeing or "" in wanted:
            continue
        if fault := _fault(found, wanted, agreeing):
            faults.append(fault)
            continue
        place = {key: index for index, key in enumerate(found) if key}
        pairs = tuple((true, place.get(key, -1)) for key, true in zip(wanted, structures, strict=True))
        how = ours if ours == theirs else f"{ours} of the prediction and {theirs} of the true structure"
        return Pairing(pairs, how, len(found) - len(agreeing))
    if faults:
        raise EvaluationError(faults[0])
    if len(entries) != len(truth):
        raise EvaluationError(
            f"expected predictions named as the true structures, or as many: got {len(entries)} predictions, such as "
            f"{_called(entries[0])}, for {len(truth)}, such as {_called(truth[0])}"
        )
    return Pairing(_in_order(entries, truth, structures), "natural order")


def _natural_order(entries: Sequence[Entry]) -> list[int]:
    names = [natural(entry.name) for entry in entries]
    return sorted(range(len(names)), key=names.__getitem__)


def _called(entry: Entry) -> str:
    return f"{entry.name} with id {entry.id}" if entry.id else entry.name


def _fault(found: Sequence[str], wanted: Sequence[str], agreeing: set[str]) -> str:
    """Say why predictions and true structures cannot be paired by their keys; empty if they can."""
    for keys, whose in ((found, "predictions"), (wanted, "true structures")):
        key, count = Counter(one for one in keys if one in agreeing).most_common(1)[0]
        if count > 1:
            return (
                f"expected one of the {whose} for each identifier, got {count} with {key!r}; give each its own, or "
                "evaluate one prediction of each at a time"
            )
    if len(agreeing) >= (1 - MOST_STRANGE) * min(len(found), len(wanted)):
        return ""
    return (
        f"expected predictions and true structures that share their identifiers or have none, got {len(found)} "
        f"and {len(wanted)} of which {len(agreeing)} agree, such as {min(agreeing)!r}; give both the same ones"
    )


def _in_order(
    entries: Sequence[Entry], truth: Sequence[Entry], structures: Sequence[Structure]
) -> tuple[tuple[Structure, int], ...]:
    """Return pairs in natural order, which must be that of the true structures.

    Raises:
        EvaluationError: the compositions are those of the true structures, but in another order.
    """
    ours, theirs = _natural_order(entries), _natural_order(truth)
    place = dict(zip(theirs, ours, strict=True))
    pairs = tuple((true, place[index]) for index, true in enumerate(structures))
    both = [
        (true.composition.reduced_formula, guess.composition.reduced_formula)
        for true, index in pairs
        if (guess := entries[index].crystal) is not None
    ]
    different = sum(wanted != got for wanted, got in both)
    if different and Counter(wanted for wanted, _ in both) == Counter(got for _, got in both):
        raise EvaluationError(
            f"expected predictions in the order of the true structures, got {different} of {len(both)} of another "
            "composition, though the same compositions occur; give predictions the file names of the true structures"
        )
    return pairs


def csp_figures(
    entries: Sequence[Entry], rows: Sequence[CrystalRow], pairs: Sequence[tuple[Structure, int]], bootstrap: Bootstrap
) -> list[Estimate]:
    """Estimate match rates and METRe, of the number of true structures, as read."""
    truth = [true for true, _ in pairs]
    guesses = [None if index < 0 else entries[index].crystal for _, index in pairs]
    valid = [index >= 0 and rows[index].separated and rows[index].smact14 for _, index in pairs]
    everyone = [entry.crystal for entry, row in zip(entries, rows, strict=True) if row.separated]
    return [
        *match_rate(guesses, truth, None, bootstrap),
        *match_rate(guesses, truth, valid, bootstrap),
        *match_everyone(everyone, truth, bootstrap),
    ]
