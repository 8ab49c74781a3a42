"""Whether a crystal is the one that its CIF describes.

A parser leaves out sites that it does not understand, and takes an unknown space group for P1: the result is a
plausible crystal that is not the one of the file. These checks compare the two, and refuse what does not agree.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import spglib
from pymatgen.core.composition import Composition
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure
from pymatgen.symmetry.groups import SpaceGroup

from matgen.structures.broken import BrokenStructureError
from matgen.structures.symmetry import SYMPREC

Block = Mapping[str, Any]
"""Items of a data block, by their names in lower case."""

OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
NAMES = ("_symmetry_space_group_name_h-m", "_space_group_name_h-m_alt", "_space_group_name_h-m_full")
HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")

TWO_ORIGINS = frozenset(
    {48, 50, 59, 68, 70, 85, 86, 88, 125, 126, 129, 130, 133, 134, 137, 138, 141, 142, 201, 203, 222, 224, 227, 228}
)
"""Space groups with two choices of the origin in the International Tables."""

RHOMBOHEDRAL = frozenset({146, 148, 155, 160, 161, 166, 167})
"""Space groups with hexagonal and rhombohedral axes."""

TOLERANCE = 0.01
"""Relative difference of stoichiometry that rounding explains."""

NO_ELEMENT = frozenset({"Oh", "Wat"})
"""Letters of labels that stand for several atoms."""


def check_cif(items: Mapping[str, Any], structure: Structure) -> None:
    """Check that a structure is the one of a data block, as far as the block tells.

    Args:
        items: of the block, by name.
        structure: that a parser made of it.

    Raises:
        BrokenStructureError: it is not, or the block does not determine the structure.
    """
    block = {name.lower(): value for name, value in items.items()}
    _check_features(block)
    _check_symbols(block)
    _check_composition(block, structure)
    _check_symmetry(block, structure)


def _check_features(block: Block) -> None:
    """Refuse what a parser of plain crystals leaves out."""
    if _text(block, ("_cell_modulation_dimension",)) not in {"", "0"}:
        raise BrokenStructureError("modulated: the file holds the average of a structure that does not repeat")
    if any(re.match(r"[1-9]", value) for value in _column(block, "_atom_site_attached_hydrogens")):
        raise BrokenStructureError("hydrogen atoms are attached to other sites and have no positions; place them")
    if "dum" in _column(block, "_atom_site_calc_flag"):
        raise BrokenStructureError("a site is a dummy (_atom_site_calc_flag dum), which is no atom; leave it out")
    magnetic = any("magn" in name for name in block)
    if not magnetic and any(name.startswith("_atom_site_moment") for name in block):
        raise BrokenStructureError("magnetic moments without magnetic symmetry operations; leave the moments out")


def _check_symbols(block: Block) -> None:
    """Refuse symbols that are no elements, and labels that may be two elements where there are no symbols."""
    types = _column(block, "_atom_site_type_symbol")
    for symbol in types:
        if not _is_element(_element(symbol)):
            raise BrokenStructureError(f"{symbol} is no element")
    for label in () if types else _column(block, "_atom_site_label"):
        letters = re.sub(r"[^A-Za-z].*", "", label)
        name, first = letters.capitalize(), letters[:1].upper()
        if name in NO_ELEMENT or not (_is_element(name[:2]) or _is_element(first)):
            raise BrokenStructureError(f"the label {label} tells no element; give _atom_site_type_symbol")
        if len(letters) > 1 and letters[1].isupper() and _is_element(name[:2]) and _is_element(first):
            raise BrokenStructureError(f"the label {label} may be {first} or {name[:2]}; give _atom_site_type_symbol")


def _check_composition(block: Block, structure: Structure) -> None:
    """Compare elements and stoichiometry with those that the file gives."""
    found = {_hydrogen(symbol): n for symbol, n in structure.composition.get_el_amt_dict().items()}
    sites = {_hydrogen(_element(symbol)) for symbol in _column(block, "_atom_site_type_symbol")}
    if lost := sorted(sites - set(found)):
        raise BrokenStructureError(f"the sites of {', '.join(lost)} cannot be read; check occupancies and positions")
    formula = _text(block, ("_chemical_formula_sum",))
    try:
        given = {_hydrogen(symbol): n for symbol, n in Composition(formula).get_el_amt_dict().items()}
    except ValueError:
        return  # a formula with an unknown number, such as x
    if not given:
        return
    shares = [{symbol: n / sum(one.values()) for symbol, n in one.items()} for one in (given, found)]
    if any(abs(shares[0].get(s, 0.0) - shares[1].get(s, 0.0)) > TOLERANCE for s in {*given, *found}):
        has = structure.composition.reduced_formula
        raise BrokenStructureError(f"its sites are {has}, and its formula is {formula}; atoms are missing or too many")


def _check_symmetry(block: Block, structure: Structure) -> None:
    """Check that the operations are those of the space group that the file names."""
    named = _text(block, NAMES) or _text(block, HALL)
    number = _number(block)
    if number == 1 or not (named or number):
        return
    named = named or f"number {number}"
    listed = next((operations for name in OPERATIONS if (operations := _column(block, name))), [])
    if "_space_group_symop_magn_operation.xyz" in block or any("magn" in name for name in block):
        return
    if not listed:
        _check_without_operations(named, number, structure)
        return
    if number and len(listed) not in _orders(number) and _space_group(structure) != number:
        raise BrokenStructureError(
            f"the file lists {len(listed)} symmetry operations, and its space group {named} has {_orders(number)[0]}; "
            "list all of them"
        )


def _check_without_operations(named: str, number: int, structure: Structure) -> None:
    """Refuse a space group that is unknown, or that does not say which setting is meant."""
    advice = "list the symmetry operations"
    if not number:
        raise BrokenStructureError(f"its space group {named} is unknown, and it lists no symmetry operations; {advice}")
    marked = re.search(r"[:(]|\s[ZSHR]$", named)
    if number in TWO_ORIGINS or marked:
        raise BrokenStructureError(f"its space group {named} does not say which origin or axes are meant; {advice}")
    angles = structure.lattice.angles
    if number in RHOMBOHEDRAL and abs(angles[2] - 120.0) > 1.0:
        raise BrokenStructureError(f"its space group {named} is given in rhombohedral axes; {advice}")


def _number(block: Block) -> int:
    """Return the number of the space group that a block names, by its symbol if it has one; 0 if it is unknown."""
    for text in (_text(block, NAMES), _text(block, NUMBERS)):
        if found := _number_of(text):
            return found
    return 0


@cache
def _number_of(text: str) -> int:
    """Return the number of a space group by its Hermann-Mauguin symbol or number; 0 if it is unknown."""
    if text.isdigit():
        return int(text) if 1 <= int(text) <= 230 else 0
    symbol = re.sub(r"[\s_]|[:(].*$|\s[ZSHR]$", "", text)
    try:
        return int(SpaceGroup(symbol).int_number)
    except (ValueError, KeyError):
        return 0


@cache
def _orders(number: int) -> tuple[int, ...]:
    """Return the possible numbers of operations: of the conventional cell, and of rhombohedral axes."""
    order = len(SpaceGroup.from_int_number(number).symmetry_ops)
    return (order, order // 3) if number in RHOMBOHEDRAL else (order,)


def _space_group(structure: Structure) -> int:
    """Return the number of the space group of the atoms as they are; 0 if it is not found."""
    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    return 0 if found is None else int(found.number)


def _text(block: Block, names: Sequence[str]) -> str:
    """Return the first of several items that has a value; empty if none has."""
    values = (block.get(name) for name in names)
    return next((one for one in values if isinstance(one, str) and one.strip() not in {"", "?", "."}), "").strip()


def _column(block: Block, name: str) -> list[str]:
    value = block.get(name, [])
    return [str(one) for one in ([value] if isinstance(value, str) else value)]


def _element(symbol: str) -> str:
    """Return the element of a type symbol, such as Fe of `FE3+` and C of `Cval`."""
    return re.sub(r"[^A-Za-z].*", "", symbol).removesuffix("val").capitalize()


def _is_element(symbol: str) -> bool:
    return symbol in {"D", "T"} or Element.is_valid_symbol(symbol)


def _hydrogen(symbol: str) -> str:
    return "H" if symbol in {"D", "T"} else symbol
