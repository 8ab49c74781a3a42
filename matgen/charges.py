"""Whether a composition can be neutral, as SMACT counts."""

from functools import cache

from pymatgen.core.composition import Composition
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
    """
    return bool(smact_validity(composition))
