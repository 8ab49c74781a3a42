"""Formal charges of the elements of a composition."""

from functools import cache

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
