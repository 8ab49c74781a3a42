"""Whether a composition can be neutral, as SMACT counts."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING

from matgen.chemistry.elements import SYMBOLS

if TYPE_CHECKING:
    from pymatgen.core.composition import Composition

COMMON = 10.0
"""Per cent of an element's reports in the ICSD from which on an oxidation state is common: SMACT's `medium`."""


@cache
def oxidation_states(at_least: float = 0.0) -> dict[str, tuple[int, ...]]:
    """Oxidation states by symbol that make so many per cent of an element's reports: ICSD 2024, three reports or more.

    Those of 0 % or more are what `smact_validity` uses by default.
    """
    from smact.screening import ICSD24FilterConfig
    from smact.utils.oxidation import ICSD24OxStatesFilter

    config = ICSD24FilterConfig()
    table = ICSD24OxStatesFilter().filter(
        consensus=config.consensus, include_zero=config.include_zero, commonality=at_least
    )
    return {
        symbol: tuple(int(state) for state in str(states or "").split())
        for symbol, states in zip(table["element"], table["oxidation_state"], strict=True)
    }


def smallest_net_charge(composition: "Composition") -> float:
    """Charge nearest to zero that a formula unit can carry, e; NaN if an element has no known state."""
    charges = {0}
    for symbol, count in composition.reduced_composition.get_el_amt_dict().items():
        states = oxidation_states().get(symbol, ())
        charges = {charge + round(count) * state for charge in charges for state in states}
    return float(min(charges, key=abs)) if charges else float("nan")


def is_valid(composition: "Composition") -> bool:
    """`smact_validity` with its defaults, as validity is reported in the literature; see `can_be_neutral`."""
    return can_be_neutral(composition.get_el_amt_dict())


def can_be_neutral(amounts: Mapping[str, float]) -> bool:
    """What `smact_validity` says of so much of each element, by symbol, in a formula unit.

    Elements and alloys of metals are valid; the rest needs a neutral combination of oxidation states in which
    anions are more electronegative than cations.

    SMACT tries every combination of oxidation states; `_neutral` tells the same at once. Where an element has no
    electronegativity, SMACT itself is asked.
    """
    from pymatgen.core.composition import Composition
    from smact import metals
    from smact.screening import smact_validity

    negativity = _electronegativities(amounts)
    if len(amounts) == 1 or negativity is None or set(amounts) <= set(metals):
        return bool(smact_validity(Composition(amounts)))
    return _neutral(amounts, negativity, oxidation_states())


def commonly_neutral(amounts: Mapping[str, float]) -> bool:
    """Whether common oxidation states (`COMMON`) cancel, for so much of each element, by symbol.

    As in SMACT's rule, anions are more electronegative than cations; but alloys must cancel too, and elements without
    an electronegativity never do.
    """
    negativity = _electronegativities(amounts)
    return negativity is not None and _neutral(amounts, negativity, oxidation_states(COMMON))


@cache
def commonly_neutral_formula(formula: tuple[tuple[int, int], ...]) -> bool:
    """The same of a reduced formula, as (atomic number, count)."""
    return commonly_neutral({SYMBOLS[z]: n for z, n in formula})


def _neutral(
    amounts: Mapping[str, float], negativity: Mapping[str, float], states: Mapping[str, tuple[int, ...]]
) -> bool:
    """Whether charges cancel with cations up to some electronegativity and anions beyond it."""
    symbols = sorted(amounts, key=negativity.__getitem__)
    charges = [(round(amounts[symbol]), states.get(symbol, ())) for symbol in symbols]
    splits = [k for k in range(1, len(symbols)) if negativity[symbols[k - 1]] < negativity[symbols[k]]]
    return any(_cancel(charges, k) for k in splits)


def _cancel(charges: list[tuple[int, tuple[int, ...]]], n_cations: int) -> bool:
    """Whether the first elements as cations and the others as anions can be neutral together."""
    sums = {0}
    for i, (count, states) in enumerate(charges):
        sums = {total + count * state for total in sums for state in states if (state > 0) is (i < n_cations)}
    return 0 in sums


def _electronegativities(symbols: Collection[str]) -> dict[str, float] | None:
    """Pauling's, by symbol; None where one of the elements has none."""
    known = {symbol: x for symbol in symbols if (x := _electronegativity(symbol)) is not None}
    return known if len(known) == len(symbols) else None


@cache
def _electronegativity(symbol: str) -> float | None:
    from smact import Element

    return Element(symbol).pauling_eneg
