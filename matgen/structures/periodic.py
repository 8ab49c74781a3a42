"""Whether a cell repeats along three axes, as that of a crystal does."""

from collections.abc import Iterable

from matgen.structures.broken import BrokenStructureError


def check_periodic(pbc: Iterable[object] | object) -> None:
    """Check that a cell repeats along all of its axes; a slab or a wire would be taken for a crystal of stacked ones.

    Args:
        pbc: whether it repeats, along all axes or along each.

    Raises:
        BrokenStructureError: it does not.
    """
    axes = [bool(one) for one in pbc] if isinstance(pbc, Iterable) else [bool(pbc)]
    if not all(axes):
        along = " and ".join(name for name, repeats in zip("abc", axes, strict=False) if repeats) or "none"
        raise BrokenStructureError(
            "no crystal: expected a cell (Lattice=...) that repeats along three axes, "
            f"got one that repeats along {along}"
        )


FARTHEST = 1e4
"""Cells; an atom further away is a wrong number, and its place within the cell is lost to rounding."""


def check_near(farthest: float) -> None:
    """Refuse an atom too many cells away from the origin.

    Args:
        farthest: its largest fractional coordinate, without sign.

    Raises:
        BrokenStructureError: it is too far.
    """
    if farthest > FARTHEST:
        raise BrokenStructureError(f"an atom lies {farthest:.3g} cells away from the origin; correct its coordinates")
