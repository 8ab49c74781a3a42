"""Whether known chemistry forms a composition that was asked for by its formula.

A named formula settles its charges, so that their balance decides nothing; but a composition whose charges do not
balance, and whose elements no known crystal holds together, is likely to be none, whatever a potential says of it.
"""

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache

from matgen.chemistry.charges import can_be_neutral
from matgen.novelty.crystals import known_formulas
from matgen.structures.candidate import Candidate, Verdict

KNOWN_CHEMISTRY = "known_chemistry"
"""Name of the verdict, which decides nothing."""

_SYMBOL = re.compile(r"[A-Z][a-z]?")


def why_unknown(amounts: Mapping[str, float]) -> str:
    """Return why no known chemistry forms a composition; empty if it may.

    Args:
        amounts: of the elements in a formula unit, by symbol.
    """
    symbols = frozenset(amounts)
    if can_be_neutral(amounts) or symbols in _systems():
        return ""
    names = sorted(symbols)
    together = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"no oxidation states of {together} balance (SMACT), and no known crystal holds just these elements"


def known_chemistry(candidate: Candidate) -> Verdict:
    """The charges of the composition balance, all elements are metals, or a known crystal holds the same elements."""
    reason = why_unknown(candidate.crystal.composition.reduced_composition.get_el_amt_dict())
    told = reason or "its charges balance, or a known crystal holds the same elements"
    return Verdict(KNOWN_CHEMISTRY, passed=not reason, value=math.nan, unit="", reason=told)


@cache
def _systems() -> frozenset[frozenset[str]]:
    """Return the sets of elements of all known crystals."""
    return frozenset(_elements(known_formulas()))


def _elements(formulas: Iterable[str]) -> Iterable[frozenset[str]]:
    return (frozenset(_SYMBOL.findall(formula)) for formula in formulas)
