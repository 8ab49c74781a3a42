"""Pairs of generated crystals and the true structures that they are to reproduce, and match rates."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from pymatgen.core.structure import Structure

from matgen.evaluation.crystal_rows import CrystalRow
from matgen.evaluation.findings import EvaluationError
from matgen.metrics import Bootstrap, Estimate, match_everyone, match_rate
from matgen.structures.files import Entry


def paired(entries: Sequence[Entry], truth: Sequence[Entry]) -> list[tuple[Structure, int]]:
    """Pair true structures with entries.

    They are paired by name (without folder and suffix) if each entry has the name of one true structure; otherwise by
    order, if both have the same number.

    Returns:
        True structures, and the index of the entry of each; -1 for none.

    Raises:
        EvaluationError: neither is possible, or a true structure cannot be read.
    """
    for entry in truth:
        if entry.structure is None:
            raise EvaluationError(f"expected every true structure to be readable, but {entry.name}: {entry.error}")
    structures = [crystal for crystal in (entry.crystal for entry in truth) if crystal is not None]
    names, wanted = [_stem(entry.name) for entry in entries], [_stem(entry.name) for entry in truth]
    if len(set(wanted)) == len(wanted) and len(set(names)) == len(names) and set(names) <= set(wanted):
        place = {name: index for index, name in enumerate(names)}
        found = [(true, place.get(name, -1)) for name, true in zip(wanted, structures, strict=True)]
        return _in_order(found, entries) if all(name.startswith("#") for name in names) else found
    if len(entries) == len(truth):
        return _in_order([(true, index) for index, true in enumerate(structures)], entries)
    raise EvaluationError(
        f"expected predictions named as the true structures, or as many: got {len(entries)} predictions, such as "
        f"{entries[0].name}, for {len(truth)}, such as {truth[0].name}"
    )


def _in_order(pairs: list[tuple[Structure, int]], entries: Sequence[Entry]) -> list[tuple[Structure, int]]:
    """Return pairs by order, which must be that of the true structures.

    Raises:
        EvaluationError: the compositions are those of the true structures, but in another order.
    """
    guesses = [None if index < 0 else entries[index].crystal for _, index in pairs]
    both = [
        (true.composition.reduced_formula, guess.composition.reduced_formula)
        for (true, _), guess in zip(pairs, guesses, strict=True)
        if guess is not None
    ]
    different = sum(wanted != got for wanted, got in both)
    if different and Counter(wanted for wanted, _ in both) == Counter(got for _, got in both):
        raise EvaluationError(
            f"expected predictions in the order of the true structures, got {different} of {len(both)} of another "
            "composition, though the same compositions occur; give predictions the file names of the true structures"
        )
    return pairs


def _stem(name: str) -> str:
    """Return a name without folder and suffix, such as `a` of `x/a.cif`; of a frame of a file only `#frame`."""
    file, hash_sign, frame = name.rpartition("#")
    return f"#{frame}" if hash_sign else PurePosixPath(frame or file).stem


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
