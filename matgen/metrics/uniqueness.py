"""Uniqueness of the structures of a set, independent of their order."""

from collections.abc import Sequence

from pymatgen.core.structure import Structure

from matgen.novelty.duplicates import SeenStructures
from matgen.runtime.failures import guarded


def first_of_kind(structures: Sequence[Structure | None], among: Sequence[bool] | None = None) -> list[bool]:
    """Return one flag per structure, true for one structure of each group of equal ones (`SeenStructures`).

    Similarity within a tolerance is not transitive, so a count could depend on the order. Structures are therefore
    compared in a canonical order, by formula, volume per atom and size.

    Args:
        structures: asked for at most twice each, so that they may be built on access; None for a missing one. Its flag
            is false, as is that of a structure whose comparison raises an exception.
        among: flags of those that take part; all if left out.
    """
    indices = [index for index in range(len(structures)) if among is None or among[index]]
    taking_part = [(*_place(structure), index) for index in indices if (structure := structures[index]) is not None]
    seen = SeenStructures()
    flags = [False] * len(structures)
    for *_, index in sorted(taking_part):
        structure = structures[index]
        flags[index] = structure is not None and _is_new(structure, seen)
    return flags


def _place(structure: Structure) -> tuple[str, float, int]:
    """Return formula, volume per atom and size, by which structures are sorted."""
    return structure.composition.reduced_formula, round(structure.volume / len(structure), 6), len(structure)


def _is_new(structure: Structure, seen: SeenStructures) -> bool:
    return guarded(lambda one: seen.add(one) is None, structure, lambda _, __: False)
