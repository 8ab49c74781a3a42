"""Elements that `--avoid-hazard` leaves out: those toxic in most of their compounds, and those without stable isotopes.

Toxic are the elements whose compounds as such, whatever the compound, are carcinogenic to humans (IARC, group 1:
arsenic, beryllium, cadmium), or of major public health concern (WHO, ten chemicals of 2020: arsenic, cadmium, lead,
mercury), or fatal if swallowed (harmonised classification of Regulation (EC) No 1272/2008, annex VI: thallium). What
depends on the compound is not an element's matter: chromium(VI), nickel, cobalt, selenium, osmium tetroxide.

Radioactive are those without a stable isotope (IUPAC, standard atomic weights of 2021): technetium, promethium, and
polonium onwards. Bismuth, with a half-life of 2e19 years, counts as stable.
"""

from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS

TOXIC = frozenset(ATOMIC_NUMBERS[symbol] for symbol in ("Be", "As", "Cd", "Hg", "Tl", "Pb"))
"""Atomic numbers."""

POLONIUM = 84
"""Neither it nor any heavier element has a stable isotope."""


def is_radioactive(atomic_number: int) -> bool:
    """Return whether an element has no stable isotope."""
    return atomic_number in {43, 61} or atomic_number >= POLONIUM


RADIOACTIVE = frozenset(filter(is_radioactive, range(1, len(SYMBOLS))))
"""Atomic numbers, as far as the table of elements goes."""

HAZARDOUS = TOXIC | RADIOACTIVE


def hazard(atomic_number: int) -> str:
    """Return "toxic" or "radioactive"; empty for an element that is neither."""
    if atomic_number in TOXIC:
        return "toxic"
    return "radioactive" if is_radioactive(atomic_number) else ""
