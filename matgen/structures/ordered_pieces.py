"""A partially occupied crystal of a file, replaced by its best orderings."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from matgen.runtime.failures import guarded
from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif_block import HAS_CELL, CifBlock
from matgen.structures.cif_sites import FRACT
from matgen.structures.faithful import FromFile
from matgen.structures.files import Found
from matgen.structures.formats import Piece
from matgen.structures.ids import id_in_label, id_of
from matgen.structures.orderings import Orderings, orderings
from matgen.structures.reading import disordered

SAME_COMPOSITION = 0.01
"""Difference of the share of an element among the atoms that rounding of occupancies may make."""

GROUP, ASSEMBLY = "_atom_site_disorder_group", "_atom_site_disorder_assembly"


def ordered(one: Found, most: int) -> list[Found]:
    """Return the best orderings of a partially occupied crystal, `matgen.structures.orderings`; another one as it is.

    They are named `file.cif#order1`, `file.cif#order2`, best first. A crystal that cannot be ordered gives an entry
    with the reason.

    Args:
        one: not read yet.
        most: orderings at most.
    """
    return guarded(partial(_ordered, most=most), one, lambda one, reason: [not_ordered(one, reason)])


def not_ordered(one: Found, reason: str) -> Found:
    """Return the entry of a crystal in whose ordering something failed."""
    return _refused(one, f"not ordered: {reason}")


def _refused(one: Found, reason: str) -> Found:
    return Found(one.name, one.path, one.index, Piece(one.piece.label, None, None, reason, one.piece.id))


def _ordered(one: Found, most: int) -> list[Found]:
    read = disordered(one.piece)
    if read is None:
        return [one]
    try:
        _check_groups(one.piece.content)
        found = orderings(read.structure, most)
    except BrokenStructureError as error:
        return [_refused(one, str(error))]
    own_id = id_of(one.piece) or id_in_label(one.piece.label)
    return [
        Found(
            f"{one.name}#order{rank}",
            one.path,
            one.index,
            Piece("", "ordering", _content(read, found, rank), id=own_id),
        )
        for rank in range(1, len(found.best) + 1)
    ]


def _content(read: FromFile, found: Orderings, rank: int) -> dict[str, Any]:
    """Return what `matgen.structures.reading` reads: the supercell, with remarks and the comparison with the file."""
    given, ordered = (_shares(amounts) for amounts in (found.as_given, found.as_ordered))
    away = max(abs(given.get(one, 0.0) - ordered.get(one, 0.0)) for one in {*given, *ordered})
    said = f"ordered it is {_formula(found.as_ordered)}, and its occupancies are {_formula(found.as_given)}"
    return {
        "structure": found.best[rank - 1].structure.as_dict(),
        "remarks": [*read.remarks, *_remarks(found, rank)],
        "compared": [*read.faithful.compared, "composition by occupancies"],
        "contradictions": [*read.faithful.contradictions, *([said] if away > SAME_COMPOSITION else [])],
    }


def _remarks(found: Orderings, rank: int) -> Iterator[str]:
    """Yield in words which ordering this is, of how many, by what energy, and of what composition."""
    one = found.best[rank - 1]
    cells = "the primitive cell" if found.n_cells == 1 else f"supercells of {found.n_cells} primitive cells"
    numbers = f"{found.n_distinct:,} distinct ones ({found.n_all:,} arrangements, {one.n_equal:,} like this)"
    yield f"ordering {rank} of {numbers} in {cells}"
    if math.isnan(one.energy):
        yield "not ranked by Ewald energy, since no oxidation states balance: the highest symmetry comes first"
    elif found.n_distinct > 1:
        charges = ", ".join(f"{symbol} {charge:+.3g}" for symbol, charge in sorted(found.charges.items()))
        height = f"{one.energy:.3f} eV/atom above the lowest" if rank > 1 else "the lowest"
        same = "; all have the same, and the highest symmetry comes first" if found.same_energy else ""
        yield f"Ewald energy of {charges}: {height}{same}"
    if found.rounded:
        yield f"occupancies rounded from {_formula(found.as_given)} to {_formula(found.as_ordered)}"


def _shares(amounts: Mapping[str, float]) -> dict[str, float]:
    total = sum(amounts.values())
    return {symbol: amount / total for symbol, amount in amounts.items()}


def _formula(amounts: Mapping[str, float]) -> str:
    return " ".join(f"{symbol}{amount:.4g}" for symbol, amount in sorted(amounts.items()))


def _check_groups(content: Any) -> None:
    """Refuse alternatives of several atoms, which belong together.

    Raises:
        BrokenStructureError: a disorder group of a CIF has several positions.
    """
    if not isinstance(content, str) or not HAS_CELL.search(content):
        return
    block = CifBlock.of(content)
    groups, coords = block.column(GROUP), [block.column(name) for name in FRACT]
    assemblies = block.column(ASSEMBLY) or [""] * len(groups)
    if not any(groups) or any(len(column) != len(groups) for column in (*coords, assemblies)):
        return
    positions = defaultdict[tuple[str, str], set[tuple[str, ...]]](set)
    for *place, group, assembly in zip(*coords, groups, assemblies, strict=True):
        if group:
            positions[assembly, group].add(tuple(place))
    largest = Counter({group: len(places) for (_, group), places in positions.items()}).most_common(1)
    if largest and largest[0][1] > 1:
        raise BrokenStructureError(
            f"disordered: the {largest[0][1]} sites of the alternative {largest[0][0]} ({GROUP}) belong together; "
            "choose one alternative"
        )
