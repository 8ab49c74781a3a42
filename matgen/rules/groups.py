"""Groups of elements that rules may name."""

from matgen.chemistry.elements import ATOMIC_NUMBERS


def _numbers(symbols: str) -> frozenset[int]:
    return frozenset(ATOMIC_NUMBERS[symbol] for symbol in symbols.split())


_ALL = frozenset(ATOMIC_NUMBERS.values())
_HALOGENS = _numbers("F Cl Br I")
_CHALCOGENS = _numbers("O S Se Te")
NOBLE_GASES = _numbers("He Ne Ar Kr Xe")
_METALLOIDS = _numbers("B Si Ge As Sb Te")
_NONMETALS = _HALOGENS | NOBLE_GASES | _numbers("H C N O P S Se")
_LANTHANIDES = frozenset(range(57, 72))
_ACTINIDES = frozenset(range(89, 95))

GROUPS: dict[str, frozenset[int]] = {
    "element": _ALL,
    "alkali": _numbers("Li Na K Rb Cs"),
    "alkaline_earth": _numbers("Be Mg Ca Sr Ba"),
    "transition_metal": frozenset([*range(21, 31), *range(39, 49), *range(72, 81)]),
    "rare_earth": _numbers("Sc Y") | _LANTHANIDES,
    "lanthanide": _LANTHANIDES,
    "actinide": _ACTINIDES,
    "f_block": _LANTHANIDES | _ACTINIDES,
    "pnictogen": _numbers("N P As Sb Bi"),
    "chalcogen": _CHALCOGENS,
    "halogen": _HALOGENS,
    "noble_gas": NOBLE_GASES,
    "metal": _ALL - _NONMETALS - _METALLOIDS - _numbers("Po At Rn"),
    "metalloid": _METALLOIDS,
    "nonmetal": _NONMETALS,
    "anion": _HALOGENS | _CHALCOGENS | _numbers("N"),
}
"""Atomic numbers by name; a plural s may follow. Metalloids and noble gases are no metals; an anion is an element whose
commonest oxidation state in the ICSD is negative (SMACT's table of 2024); f_block are lanthanides and actinides."""


def group(name: str) -> frozenset[int] | None:
    """Return the elements of a group by its name, singular or plural; None if there is no such group."""
    return GROUPS.get(name, GROUPS.get(name.removesuffix("s")))
