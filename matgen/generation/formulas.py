"""Chemical symbols and formulas, as a user types them."""

import math
import re
from collections import Counter

from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS, UnknownElementError, atomic_number
from matgen.generation.errors import RequestError
from matgen.runtime.config import did_you_mean

_SYMBOL_COUNT = re.compile(r"([A-Z][a-z]?)(\d*)")
_GROUP = re.compile(r"\(([^()]*)\)(\d*)")


def element(symbol: str, *, must_be_known: bool = True) -> int:
    """Return the atomic number of a symbol.

    Args:
        symbol: as typed.
        must_be_known: whether a training crystal must hold the element.

    Raises:
        UnknownElementError: no element, or one that no training crystal holds.
    """
    name = symbol.strip().capitalize()
    if name not in ATOMIC_NUMBERS:
        hint = did_you_mean(name, SYMBOLS[1:]) if name else "check the commas"
        hint = hint if len(hint) < 40 else "check the spelling"  # not the whole periodic table
        raise UnknownElementError(f"expected a chemical symbol from H to Pu, got {symbol!r}; {hint}")
    return atomic_number(name) if must_be_known else ATOMIC_NUMBERS[name]


def parse_formula(text: str) -> dict[int, int]:
    """Return the atoms of each element in the smallest formula unit, by atomic number.

    Args:
        text: a formula such as SrTiO3 or Ca(OH)2.

    Raises:
        RequestError: the text is no formula.
        UnknownElementError: it holds an element that no training crystal has.
    """
    counts = formula_counts(text)
    divisor = math.gcd(*counts.values())
    return {z: n // divisor for z, n in counts.items()}


def formula_counts(text: str, *, known: bool = True) -> dict[int, int]:
    """Return the atoms of each element as written, by atomic number.

    Args:
        text: a formula.
        known: whether training crystals must hold every element.

    Raises:
        RequestError: the text is no formula.
        UnknownElementError: it holds an unknown element.
    """
    flat = text.strip()
    while _GROUP.search(flat):
        flat = _GROUP.sub(lambda group: _times(group[1], int(group[2] or 1)), flat)
    if not re.fullmatch(f"(?:{_SYMBOL_COUNT.pattern})+", flat):
        raise RequestError(f"expected a formula such as SrTiO3 or Ca(OH)2, got {text!r}; write whole numbers of atoms")
    counts: Counter[int] = Counter()
    for symbol, count in _SYMBOL_COUNT.findall(flat):
        counts[element(symbol, must_be_known=known)] += int(count or 1)
    if not min(counts.values()):
        raise RequestError(f"expected at least one atom of each element in {text!r}, got none of some; leave it out")
    return dict(sorted(counts.items()))


def _times(formula: str, factor: int) -> str:
    return "".join(f"{symbol}{int(count or 1) * factor}" for symbol, count in _SYMBOL_COUNT.findall(formula))
