"""The element of a site of a CIF: by its type symbol, or by its label, which may be ambiguous."""

import re
from collections.abc import Collection, Sequence

from pymatgen.core.periodic_table import Element

from matgen.structures.broken import BrokenStructureError

ISOTOPES = frozenset({"D", "T"})

NO_ATOM = frozenset({"Va", "Vac", "Vacancy", "Vc", "Cg", "Cnt", "Q", "Dum", "Du", "Dummy", "Bq"})
"""Vacancies, centroids, peaks of a difference map, dummies: nothing is there."""

GROUPS = frozenset({"OH", "NH", "CH", "CN", "NC", "NO", "WAT", "HOH", "NHH", "OHH", "SCN"})
"""Letters that stand for several atoms; those of an element, such as No, do so only in capitals."""

HEAVIEST = 103
"""Number of the heaviest element of a crystal; symbols of heavier ones, such as Cn, are those of groups of atoms."""

HYDROGENS = re.compile(r"[ONC]H\d*|H\dO")
"""Type symbols that stand for an atom with its hydrogens."""

CHARGE = re.compile(r"[\d.]*[+-]?[\d.]*|\((?:[IVX]+|[\d+-]+)\)")
"""What may follow the letters of a type symbol."""

SUFFIXES = ("val", "va", "v")
"""Letters that tables of scattering factors add to an element: valence electrons."""


def is_element(symbol: str) -> bool:
    """Return whether a symbol is that of an element that crystals have, or of an isotope of hydrogen."""
    return symbol in ISOTOPES or (Element.is_valid_symbol(symbol) and Element(symbol).Z <= HEAVIEST)


def hydrogen(symbol: str) -> str:
    """Return H for isotopes of hydrogen, any other element unchanged."""
    return "H" if symbol in ISOTOPES else symbol


def is_no_atom(name: str) -> bool:
    """Return whether a type symbol or label says that nothing is there."""
    return _letters(name).capitalize() in NO_ATOM


def element_of_type(symbol: str, formula: Collection[str]) -> str:
    """Return the element of a type symbol, such as Fe of `FE3+`, C of `Cval` and D of `2H`.

    Args:
        symbol: of a site.
        formula: elements of the formula of the file; empty if it gives none.

    Raises:
        BrokenStructureError: it is no element.
    """
    if re.fullmatch(r"[23]H\d*[+-]?", symbol):
        return "D" if symbol[0] == "2" else "T"
    symbol = symbol.replace(" ", "")
    letters = _letters(symbol.lstrip("0123456789"))
    if (letters.upper() in GROUPS and (letters.isupper() or not is_element(letters))) or HYDROGENS.fullmatch(symbol):
        raise BrokenStructureError(f"{symbol} is no element: it stands for several atoms; give each its position")
    if not CHARGE.fullmatch(symbol.lstrip("0123456789")[len(letters) :]):
        raise BrokenStructureError(f"{symbol} is no element; list each element of a site on a line of its own")
    for suffix in ("", *SUFFIXES):
        name = letters.removesuffix(suffix).capitalize() if letters.endswith(suffix) else ""
        if name == "T" and "H" not in formula:
            raise BrokenStructureError("T is tritium or a tetrahedral site, which holds several elements; name them")
        if is_element(name):
            return name
    roman = re.fullmatch(r"([A-Z][a-z]?)(?:[IV]+|[iv]+)", letters)
    if roman and is_element(roman[1]):
        return roman[1]
    raise BrokenStructureError(f"{symbol} is no element; name the element of each site")


def element_of_label(label: str, formula: Collection[str]) -> str:
    """Return the element of a label such as `Na1`, `O2W` or `HB1`.

    Args:
        label: of a site without type symbol.
        formula: elements of the formula of the file, which decides between several; empty if it gives none.

    Raises:
        BrokenStructureError: it tells no element, or may be two.
    """
    letters = _letters(label)
    if re.search(r"[/,]\s*[A-Za-z]", label):
        raise BrokenStructureError(f"the label {label} names several elements; list each on a line of its own")
    if letters.upper() in GROUPS or re.match("wat", label, re.IGNORECASE):
        raise BrokenStructureError(f"the label {label} stands for several atoms; give each its position")
    possible = [one for one in _possible(letters) if one != "T" or "H" in formula]
    if not possible:
        raise BrokenStructureError(f"the label {label} tells no element; give _atom_site_type_symbol")
    agreeing = [one for one in possible if hydrogen(one) in formula] if formula else list(possible)
    if formula and not agreeing:
        others = [one for one in (letters[:2].capitalize(), letters[:1].upper()) if one in formula and is_element(one)]
        agreeing = others or list(possible)
    if len(agreeing) > 1:
        raise BrokenStructureError(f"the label {label} may be {' or '.join(agreeing)}; give _atom_site_type_symbol")
    return agreeing[0]


def _possible(letters: str) -> Sequence[str]:
    """Return elements that the letters of a label may mean: both where the second letter is a capital."""
    two, one = letters[:2].capitalize(), letters[:1].upper()
    if len(letters) > 1 and letters[1].islower() and is_element(two):
        return (two,)
    several = [one] if is_element(one) else []
    if len(letters) > 1 and is_element(two):
        several.append(two)
    return several


def _letters(name: str) -> str:
    """Return the letters at the head of a name."""
    return re.match("[A-Za-z]*", name)[0]  # type: ignore[index]  # it matches nothing at least
