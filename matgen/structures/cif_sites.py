"""The sites that a CIF lists: elements, positions and occupancies, and what is left out of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pymatgen.core.composition import Composition

from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif_block import CifBlock, as_number
from matgen.structures.cif_elements import element_of_label, element_of_type, hydrogen, is_element, is_no_atom
from matgen.structures.periodic import check_near

FRACT = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
LABEL, TYPE, OCCUPANCY = "_atom_site_label", "_atom_site_type_symbol", "_atom_site_occupancy"
MULTIPLICITY = ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
FORMULA, STRUCTURAL = ("_chemical_formula_sum",), ("_chemical_formula_structural",)

PLAIN_FORMULA = re.compile(r"\s*(?:[A-Z][a-z]?\s*\d*\.?\d*\s*|[()]\d*\.?\d*\s*)+")
"""Elements with numbers, and brackets."""

MOST_SITES = 10_000
"""Sites of the largest crystal that is read; more would delay thousands of others."""

THIRDS = ((1 / 3, 2 / 3), 1e-4)
"""Coordinates that are given with four digits at least, and how far they may be off."""


@dataclass(frozen=True)
class CifSite:
    """A site of the list, not expanded by symmetry.

    Attributes:
        label: of the file.
        symbol: its element, D and T for isotopes of hydrogen.
        coords: fractional.
        occupancy: at most 1.05, from 0.
        multiplicity: of the orbit, as the file gives it; None if it does not.
    """

    label: str
    symbol: str
    coords: tuple[float, float, float]
    occupancy: float
    multiplicity: int | None


@dataclass(frozen=True)
class CifSites:
    """All sites of a block.

    Attributes:
        sites: with a position.
        remarks: what was left out or read otherwise than written.
        absent: sentences on atoms that are announced and have no position.
    """

    sites: tuple[CifSite, ...]
    remarks: tuple[str, ...] = ()
    absent: tuple[str, ...] = field(default=())


def formula_text(block: CifBlock) -> str:
    """Return the sum formula, or else a structural formula without spaces, which programs write for it; or nothing."""
    structural = block.text(STRUCTURAL)
    return block.text(FORMULA) or ("" if " " in structural else structural)


def formula_of(block: CifBlock, item: tuple[str, ...] = ()) -> dict[str, float]:
    """Return the amounts of the formula, isotopes as hydrogen; empty if there is none that can be read.

    Args:
        block: of the CIF.
        item: names of another formula.
    """
    text = (block.text(item) if item else formula_text(block)).replace(",", " ")
    if not PLAIN_FORMULA.fullmatch(text):
        return {}  # with an unknown number, such as x
    try:
        amounts = Composition(text.replace(" ", "")).get_el_amt_dict()
    except ValueError:
        return {}
    if not all(is_element(symbol) for symbol in amounts):
        return {}
    found: dict[str, float] = {}
    for symbol, amount in amounts.items():
        found[hydrogen(symbol)] = found.get(hydrogen(symbol), 0.0) + amount
    return found


def read_sites(block: CifBlock) -> CifSites:
    """Return the sites of a block.

    Raises:
        BrokenStructureError: there are none, or a site is not understood.
    """
    columns = [block.column(name) for name in FRACT]
    n_sites = len(columns[0])
    if not n_sites or {len(column) for column in columns} != {n_sites}:
        raise BrokenStructureError("expected sites with fractional coordinates (_atom_site_fract_x, _y and _z)")
    if n_sites > MOST_SITES:
        raise BrokenStructureError(f"{n_sites} sites; more than {MOST_SITES} are not read")
    _check_rows(block, n_sites)
    labels = _filled(block.column(LABEL), n_sites)
    types = _filled(block.column(TYPE), n_sites)
    flags = _filled(block.column("_atom_site_calc_flag"), n_sites)
    occupancies = _filled(block.column(OCCUPANCY), n_sites)
    multiplicities = _filled(next(filter(None, map(block.column, MULTIPLICITY)), []), n_sites)
    formula = set(formula_of(block))
    sites, empty, nowhere = [], [], []
    for i, label in enumerate(labels):
        name = label or types[i] or f"number {i + 1}"
        if flags[i].lower() == "dum" or _nothing(label, types[i], formula):
            empty.append(name)
            continue
        given = [column[i] for column in columns]
        if not all(given):
            nowhere.append(name)
            continue
        symbol = element_of_type(types[i], formula) if types[i] else element_of_label(label, formula)
        times = as_number(multiplicities[i])
        whole = None if times is None else int(times)
        sites.append(CifSite(name, symbol, _coords(name, given), _occupancy(name, occupancies[i]), whole))
    if not sites:
        raise BrokenStructureError("none of its sites is an atom with a position")
    _check_groups(block, sites, labels)
    remarks = [f"{_names(empty)} left out: no atom, but a vacancy, centroid or dummy"] if empty else []
    if unlike := [site.label for site in sites if site.symbol in {"D", "T"}]:
        remarks.append(f"isotopes of hydrogen are read as hydrogen: {_names(unlike)}")
    elements = {site.symbol for site in sites}
    if swapped := [site.label for site in sites if _other_element(site, elements)]:
        remarks.append(f"type symbols are read, though the labels {_names(swapped)} tell other elements")
    absent = [f"{_names(nowhere)} without a position"] if nowhere else []
    return CifSites(tuple(sites), tuple(remarks), tuple(absent))


def _nothing(label: str, kind: str, formula: set[str]) -> bool:
    """Return whether a site is no atom by its type, or else by its label."""
    vacant = label.lower().startswith("va") and kind in {"", "V"}
    if (kind or label).strip("0123456789").upper() == "Q" and not formula:
        raise BrokenStructureError(f"{label} is a peak of unknown origin; leave it out, or give the formula")
    if kind and not (vacant and label.lower().startswith("vac")):
        return is_no_atom(kind)
    if vacant and not formula:
        raise BrokenStructureError(f"{label} may be vanadium or a vacancy; name its type V or Va, or give the formula")
    return is_no_atom(label) and not (vacant and "V" in formula)


def _other_element(site: CifSite, elements: set[str]) -> bool:
    """Return whether the label of a site is that of another element of the file."""
    found = re.fullmatch(r"([A-Z][a-z]?)\d+", site.label)
    return found is not None and found[1] != site.symbol and found[1] in elements


def _check_groups(block: CifBlock, sites: Sequence[CifSite], labels: Sequence[str]) -> None:
    """Refuse alternatives of a disordered part that are all given as fully occupied."""
    groups = _filled(block.column("_atom_site_disorder_group"), len(labels))
    several = {group.lstrip("-") for group in groups} - {"", "0"}
    if len(several) > 1 and all(site.occupancy > 0.995 for site in sites):
        raise BrokenStructureError("disordered: it lists alternative positions (_atom_site_disorder_group); choose one")


def _check_rows(block: CifBlock, n_sites: int) -> None:
    """Refuse elements, labels and occupancies of a second loop that is of other sites than the coordinates."""
    for name in (LABEL, TYPE, OCCUPANCY):
        if (n := len(block.column(name))) not in {0, n_sites}:
            raise BrokenStructureError(f"expected one {name} for each of its {n_sites} sites, got {n}; use one loop")


def _filled(column: list[str], n_sites: int) -> list[str]:
    return column if len(column) == n_sites else [""] * n_sites


def _coords(name: str, given: Sequence[str]) -> tuple[float, float, float]:
    numbers = [as_number(text) for text in given]
    if None in numbers:
        bad = given[numbers.index(None)]
        raise BrokenStructureError(f"expected a number as coordinate of the site {name}, got {bad[:40]!r}")
    x, y, z = (_third(number) for number in numbers if number is not None)
    check_near(max(abs(x), abs(y), abs(z)))  # before operations lose its place
    return x, y, z


def _third(number: float) -> float:
    return next((one for one in THIRDS[0] if abs(number - one) < THIRDS[1]), number)


def _occupancy(name: str, text: str) -> float:
    """Return an occupancy; `.` and `?` stand for the default, 1."""
    if not text:
        return 1.0
    number = as_number(text)
    if number is None or number < 0:
        raise BrokenStructureError(f"expected an occupancy from 0 to 1 of the site {name}, got {text[:40]!r}")
    return number


def _names(several: Sequence[str]) -> str:
    return ", ".join(several[:5]) + (f" and {len(several) - 5} more" if len(several) > 5 else "")
