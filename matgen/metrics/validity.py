"""Validity of a structure and its composition, by the definition of CDVAE and by stricter ones.

CDVAE: Xie et al., "Crystal Diffusion Variational Autoencoder", ICLR 2022; its successors (DiffCSP, FlowMM, MatterGen)
use the definition of its evaluation script.
"""

from functools import cache

import numpy as np
from pymatgen.core.composition import Composition
from pymatgen.core.structure import Structure

from matgen.checks.contacts import closest_contact
from matgen.checks.pair_distances import OF_RADII

SEPARATION = 0.5
"""Least distance between two atoms, Å."""

SMALLEST_VOLUME = 0.1
"""Least volume of a cell, Å³."""


def is_separated(structure: Structure) -> bool:
    """Return structural validity by CDVAE: no two atoms closer than 0.5 Å, a cell of at least 0.1 Å³.

    The distance of an atom to its own images does not count.
    """
    if not _is_finite(structure) or structure.volume < SMALLEST_VOLUME:
        return False
    distances = structure.distance_matrix[~np.eye(len(structure), dtype=bool)]
    return bool((distances >= SEPARATION).all())


def is_spaced(structure: Structure, limit: float = OF_RADII) -> bool:
    """Return whether no contact, own images included, is below `limit` times the sum of covalent radii."""
    if not _is_finite(structure) or structure.volume < SMALLEST_VOLUME:
        return False
    return closest_contact(structure).ratio >= limit


def _is_finite(structure: Structure) -> bool:
    return bool(np.isfinite(structure.frac_coords).all() and np.isfinite(structure.lattice.matrix).all())


def is_balanced_smact14(composition: Composition) -> bool:
    """Return compositional validity by CDVAE: the test of SMACT as of 2019, with its oxidation states of 2014.

    Valid are elements, alloys (all elements metals), and compositions with a neutral choice of one oxidation state per
    element in which each cation is less electronegative than each anion. If an element has no electronegativity (He,
    Ne, Ar, Pm, Rn) neutrality is enough. `matgen.chemistry.charges.is_valid` is the present rule, with the table of
    2024.
    """
    from smact import metals

    amounts = {symbol: round(amount) for symbol, amount in composition.get_el_amt_dict().items()}
    symbols = list(amounts)
    if len(symbols) == 1 or all(symbol in metals for symbol in symbols):
        return True
    elements = [_element(symbol) for symbol in symbols]
    charged = [(amounts[s], states) for s, (states, _) in zip(symbols, elements, strict=True)]
    negativities = [negativity for _, negativity in elements]
    known = [x for x in negativities if x is not None]
    if len(known) < len(negativities):
        return 0 in _sums(charged)
    # An electronegativity separates cations from anions: elements up to it are positive, the others negative.
    order = sorted(range(len(symbols)), key=known.__getitem__)
    for first_anion in range(1, len(order)):
        low, high = order[:first_anion], order[first_anion:]
        if known[low[-1]] < known[high[0]]:
            positive = [(charged[i][0], tuple(q for q in charged[i][1] if q > 0)) for i in low]
            negative = [(charged[i][0], tuple(q for q in charged[i][1] if q < 0)) for i in high]
            if 0 in _sums(positive + negative):
                return True
    return False


def _sums(charged: list[tuple[int, tuple[int, ...]]]) -> set[int]:
    """Return every net charge that the oxidation states allow, e."""
    sums = {0}
    for count, states in charged:
        sums = {total + count * state for total in sums for state in states}
    return sums


@cache
def _element(symbol: str) -> tuple[tuple[int, ...], float | None]:
    """Return oxidation states (SMACT 2014) and Pauling electronegativity."""
    from smact import Element

    element = Element(symbol)
    states = element.oxidation_states_smact14 or []
    return tuple(int(state) for state in states), element.pauling_eneg
