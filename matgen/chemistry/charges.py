"""Charge neutrality of compositions, by the rules of SMACT."""

from collections import Counter
from collections.abc import Collection, Mapping
from functools import cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS

if TYPE_CHECKING:
    from pymatgen.core.composition import Composition

COMMON = 10.0
"""Percentage of an element's reports in the ICSD above which an oxidation state is common: SMACT's `medium`."""

KNOWN = 1.0
"""Percentage of an element's reports in the ICSD above which rules count an oxidation state, such as Ti2+ and S-."""


@cache
def oxidation_states(at_least: float = 0.0) -> dict[str, tuple[int, ...]]:
    """Return oxidation states by symbol, from ICSD 2024 with three reports or more.

    Args:
        at_least: smallest percentage of the element's reports; 0 gives the default of `smact_validity`.
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
    """Return the net charge of a formula unit that is closest to zero, e; NaN if an element has no known state."""
    charges = {0}
    for symbol, count in composition.reduced_composition.get_el_amt_dict().items():
        states = oxidation_states().get(symbol, ())
        charges = {charge + round(count) * state for charge in charges for state in states}
    return float(min(charges, key=abs)) if charges else float("nan")


def is_valid(composition: "Composition") -> bool:
    """Return `smact_validity` with its defaults, the validity of the literature; see `can_be_neutral`."""
    return can_be_neutral(composition.get_el_amt_dict())


def can_be_neutral(amounts: Mapping[str, float]) -> bool:
    """Return the result of `smact_validity` for the amounts of elements in a formula unit, by symbol.

    Elements and alloys of metals are valid; other compositions need a neutral combination of oxidation states in which
    anions are more electronegative than cations.

    SMACT tries every combination of oxidation states; `_neutral` gives the same result faster. If an element has no
    electronegativity, SMACT itself is called.
    """
    from pymatgen.core.composition import Composition
    from smact import metals
    from smact.screening import smact_validity

    negativity = _electronegativities(amounts)
    if len(amounts) == 1 or negativity is None or set(amounts) <= set(metals):
        return bool(smact_validity(Composition(amounts)))
    return _neutral(amounts, negativity, oxidation_states())


def commonly_neutral(amounts: Mapping[str, float]) -> bool:
    """Return whether common oxidation states (`COMMON`) sum to zero for the amounts of elements, by symbol.

    As in SMACT's rule, anions are more electronegative than cations; but alloys must be neutral too, and elements
    without an electronegativity never are.
    """
    negativity = _electronegativities(amounts)
    return negativity is not None and _neutral(amounts, negativity, oxidation_states(COMMON))


@cache
def likely_states(formula: tuple[tuple[int, int], ...]) -> dict[int, int]:
    """Return the oxidation state of each element of a formula, by atomic number; empty if there are none.

    Of the assignments of one known state (`KNOWN`) to each element that are neutral by the rule of `_neutral`, this
    is the one whose product of shares of the elements' reports in the ICSD is largest. There is none for elements,
    most alloys, and most compounds in which an element has two states, such as Fe3O4, whose mean states
    `matgen.chemistry.formal_charges` gives.

    Args:
        formula: (atomic number, count) of each element.
    """
    amounts = {SYMBOLS[z]: n for z, n in formula}
    negativity = _electronegativities(amounts)
    if negativity is None:
        return {}
    symbols = sorted(amounts, key=negativity.__getitem__)
    known, shares = oxidation_states(KNOWN), _report_shares()
    best, found = 0.0, {}
    for states in product(*(known.get(symbol, ()) for symbol in symbols)):
        cations = [x for x, state in zip(symbols, states, strict=True) if state > 0]
        split = 0 < len(cations) < len(symbols) and cations == symbols[: len(cations)]
        split = split and negativity[cations[-1]] < negativity[symbols[len(cations)]]
        weight = prod(shares[x, state] for x, state in zip(symbols, states, strict=True))
        if split and weight > best and not sum(amounts[x] * s for x, s in zip(symbols, states, strict=True)):
            best, found = weight, {ATOMIC_NUMBERS[x]: state for x, state in zip(symbols, states, strict=True)}
    return found


@cache
def _report_shares() -> dict[tuple[str, int], float]:
    """Return the share of an element's reports in the ICSD that have an oxidation state other than zero."""
    from smact.utils.oxidation import ICSD24OxStatesFilter

    table = ICSD24OxStatesFilter().ox_states_df
    rows = [
        (str(symbol), int(state), int(count))
        for symbol, state, count in zip(table["element"], table["oxidation_state"], table["results_count"], strict=True)
        if state and count
    ]
    totals = Counter[str]()
    for symbol, _, count in rows:
        totals[symbol] += count
    return {(symbol, state): count / totals[symbol] for symbol, state, count in rows}


@cache
def commonly_neutral_formula(formula: tuple[tuple[int, int], ...]) -> bool:
    """Return `commonly_neutral` of a reduced formula, given as (atomic number, count)."""
    return commonly_neutral({SYMBOLS[z]: n for z, n in formula})


def _neutral(
    amounts: Mapping[str, float], negativity: Mapping[str, float], states: Mapping[str, tuple[int, ...]]
) -> bool:
    """Return whether charges sum to zero with cations below some electronegativity and anions above it."""
    symbols = sorted(amounts, key=negativity.__getitem__)
    charges = [(round(amounts[symbol]), states.get(symbol, ())) for symbol in symbols]
    splits = [k for k in range(1, len(symbols)) if negativity[symbols[k - 1]] < negativity[symbols[k]]]
    return any(_cancel(charges, k) for k in splits)


def _cancel(charges: list[tuple[int, tuple[int, ...]]], n_cations: int) -> bool:
    """Return whether the first elements as cations and the others as anions can sum to zero."""
    sums = {0}
    for i, (count, states) in enumerate(charges):
        sums = {total + count * state for total in sums for state in states if (state > 0) is (i < n_cations)}
    return 0 in sums


def _electronegativities(symbols: Collection[str]) -> dict[str, float] | None:
    """Return Pauling electronegativities by symbol; None if an element has none."""
    known = {symbol: x for symbol in symbols if (x := _electronegativity(symbol)) is not None}
    return known if len(known) == len(symbols) else None


@cache
def _electronegativity(symbol: str) -> float | None:
    from smact import Element

    return Element(symbol).pauling_eneg
