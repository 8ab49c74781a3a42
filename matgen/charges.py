"""Whether a composition can be neutral, as SMACT counts."""

from functools import cache

from pymatgen.core.composition import Composition
from smact import Element, metals
from smact.screening import ICSD24FilterConfig, smact_validity
from smact.utils.oxidation import ICSD24OxStatesFilter


@cache
def oxidation_states() -> dict[str, tuple[int, ...]]:
    """Oxidation states by symbol that `smact_validity` uses by default: ICSD 2024, three reports or more."""
    config = ICSD24FilterConfig()
    table = ICSD24OxStatesFilter().filter(
        consensus=config.consensus, include_zero=config.include_zero, commonality=config.commonality
    )
    return {
        symbol: tuple(int(state) for state in str(states).split())
        for symbol, states in zip(table["element"], table["oxidation_state"], strict=True)
    }


def smallest_net_charge(composition: Composition) -> float:
    """Charge nearest to zero that a formula unit can carry, e; NaN if an element has no known state."""
    charges = {0}
    for symbol, count in composition.reduced_composition.get_el_amt_dict().items():
        states = oxidation_states().get(symbol, ())
        charges = {charge + round(count) * state for charge in charges for state in states}
    return float(min(charges, key=abs)) if charges else float("nan")


def is_valid(composition: Composition) -> bool:
    """`smact_validity` with its defaults, as validity is reported in the literature.

    Elements and alloys of metals are valid; the rest needs a neutral combination of oxidation states in which
    anions are more electronegative than cations.

    SMACT tries every combination of oxidation states. Its rule comes to this: for some electronegativity, all elements
    up to it are cations, all beyond it anions, and the charges cancel; sums of charges tell that at once. Where an
    element has no electronegativity, SMACT itself is asked.
    """
    symbols = [element.symbol for element in composition.elements]
    negativity = {symbol: _electronegativity(symbol) for symbol in symbols}
    known = {symbol: x for symbol, x in negativity.items() if x is not None}
    if len(symbols) == 1 or len(known) < len(symbols) or set(symbols) <= set(metals):
        return bool(smact_validity(composition))
    symbols.sort(key=known.__getitem__)
    counts = composition.reduced_composition.get_el_amt_dict()
    charges = [(round(counts[symbol]), oxidation_states().get(symbol, ())) for symbol in symbols]
    splits = [k for k in range(1, len(symbols)) if known[symbols[k - 1]] < known[symbols[k]]]
    return any(_cancel(charges, k) for k in splits)


def _cancel(charges: list[tuple[int, tuple[int, ...]]], n_cations: int) -> bool:
    """Whether the first elements as cations and the others as anions can be neutral together."""
    sums = {0}
    for i, (count, states) in enumerate(charges):
        sums = {total + count * state for total in sums for state in states if (state > 0) is (i < n_cations)}
    return 0 in sums


@cache
def _electronegativity(symbol: str) -> float | None:
    return Element(symbol).pauling_eneg
