"""The known crystal that a crystal is nearest to, and in words how they differ: formula, type, substitution."""

from typing import Any

from pymatgen.core.structure import Structure

from matgen.novelty.crystals import POSSIBLE_MATCH, Known
from matgen.novelty.fingerprint import TOLERANCE, fingerprint
from matgen.report.structure_types import SAME_TYPE, Match, StructureTypes, shipped_types


def nearest(structure: Structure, space_group: int, types: StructureTypes | None = None) -> dict[str, Any] | None:
    """Return the nearest known crystal and how it differs; None if none has this stoichiometry.

    `distance` is the largest difference between logarithms of mean distances.

    Args:
        structure: of the crystal.
        space_group: of it.
        types: known crystals; those of the shipped index if None.

    Raises:
        NoFingerprintError: the structure is disordered or broken.
    """
    types = types or shipped_types()
    target = fingerprint(structure)
    same = types.index.nearest(target)
    if same is not None and same.difference <= POSSIBLE_MATCH:
        return _record(same.material_id, same.formula, same.difference, _same_formula(same))
    match = types.nearest(target, space_group)
    if match is None:
        return None if same is None else _record(same.material_id, same.formula, same.difference, _other_form(same))
    text = _of_type(match, target.formula, space_group)
    if same is not None:
        text += f" {_other_form(same)}"
    return _record(match.name, match.formula, match.difference, text)


def _record(name: str, formula: str, difference: float, text: str) -> dict[str, Any]:
    return {"name": name, "formula": formula, "distance": difference, "text": text}


def _same_formula(known: Known) -> str:
    sure = "The same crystal as" if known.difference <= TOLERANCE else "Perhaps a form of"
    volume = "" if known.similar_volume() else f"; its volume per atom is {known.volume_ratio:.2f} times as large"
    named = f"{known.material_id} ({known.formula}{_group(known.space_group)})"
    return f"{sure} {named}: distances differ by up to {known.difference:.1%}{volume}."


def _other_form(known: Known) -> str:
    return (
        f"The nearest known form of {known.formula} itself, {known.material_id}{_group(known.space_group)}, is another "
        f"structure (distances differ by up to {known.difference:.0%})."
    )


def _of_type(match: Match, formula: str, space_group: int) -> str:
    swaps = ", ".join(f"{new} in place of {old}" for old, new in match.replaced.items())
    changed = f": {swaps}" if swaps else ""
    apart = f"distances, scaled to one volume, differ by up to {match.difference:.1%}"
    if match.space_group == space_group and match.difference <= SAME_TYPE:
        return f"{formula} has the structure type of {match.formula} ({match.name}){changed}; {apart}."
    named = f"{match.formula} ({match.name}{_group(match.space_group)})"
    return f"The most similar of its stoichiometry is {named}{changed}; {apart}."


def _group(number: int) -> str:
    return f", space group {number}" if number else ""
