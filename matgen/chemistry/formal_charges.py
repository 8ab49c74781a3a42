"""Formal charges of the elements of a composition."""

from functools import cache
from math import comb

from matgen.chemistry.charges import likely_states
from matgen.chemistry.elements import SYMBOLS


@cache
def formal_charges(formula: tuple[tuple[int, int], ...]) -> dict[int, float] | None:
    """Return the charge of each element in a composition whose common oxidation states balance.

    The guesses are pymatgen's (`Composition.oxi_state_guesses`): common oxidation states that sum to zero. Where
    several balance, the most probable one is taken, by how often the states of its elements occur in the ICSD. An
    element that needs several states has their mean, such as 8/3 for iron in Fe3O4.

    Args:
        formula: atomic numbers and counts, as `matgen.chemistry.elements.reduced` gives them.

    Returns:
        Charges in e by atomic number; None where nothing balances, as in alloys and elements.
    """
    from pymatgen.core.composition import Composition

    if len(formula) < 2:
        return None
    guesses = Composition({SYMBOLS[z]: n for z, n in formula}).oxi_state_guesses()
    return {z: float(guesses[0][SYMBOLS[z]]) for z, _ in formula} if guesses else None


MOST_COMBINATIONS = 200_000
"""Combinations of oxidation states that are tried; pymatgen's guesses for larger formulas take minutes."""

MOST_SINGLE = 7
"""Elements of which all combinations of one state each are tried."""


def quick_charges(formula: tuple[tuple[int, int], ...]) -> dict[int, float] | None:
    """Return charges in bounded time: one known state of each element if that balances, otherwise `formal_charges`.

    Metals among themselves have none: SMACT's list of metals.

    Args:
        formula: atomic numbers and counts, as `matgen.chemistry.elements.reduced` gives them.

    Returns:
        Charges in e by atomic number; None for alloys, where nothing balances, or there are too many combinations.
    """
    from smact import metals

    if {SYMBOLS[z] for z, _ in formula} <= set(metals):
        return None
    single = likely_states(formula) if len(formula) <= MOST_SINGLE else {}
    if single:
        return {z: float(charge) for z, charge in single.items()}
    return formal_charges(formula) if _combinations(formula) <= MOST_COMBINATIONS else None


def _combinations(formula: tuple[tuple[int, int], ...]) -> int:
    """Return how many combinations `formal_charges` tries: of states for each element, and of their sums."""
    from pymatgen.core.periodic_table import Element

    of_elements, of_sums = 0, 1
    for z, n in formula:
        states = Element(SYMBOLS[z]).icsd_oxidation_states or Element(SYMBOLS[z]).common_oxidation_states
        if not states:
            return 0
        of_elements += comb(n + len(states) - 1, n)
        of_sums *= n * (max(states) - min(states)) + 1
    return of_elements + of_sums
