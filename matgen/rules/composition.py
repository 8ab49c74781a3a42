"""How far a composition, or a structure, is from satisfying a rule.

    E(A and B) = E(A) + E(B),    E(A or B) = min(E(A), E(B)),    E(A) = 0 exactly where A holds

The distance of a comparison is the number of atoms (or elements, or units of charge) by which it fails. The logic of
`matgen.energies.logic` is another one: it joins predicted probabilities, and is zero only where a statement is certain;
here the facts are known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from matgen.chemistry.charges import likely_states
from matgen.chemistry.elements import reduced
from matgen.rules.statement import Comparison, Operator, Rule, fold

UNDEFINED = 4.0
"""Distance of an oxidation state or coordination number that does not exist."""


@dataclass(frozen=True)
class Facts:
    """What rules read of a material.

    Attributes:
        atoms: number of atoms of each element, by atomic number, in the primitive cell or molecule.
        coordination: coordination numbers of the atoms of each element; None where the structure is not known, and then
            a comparison holds if its element occurs.
    """

    atoms: Mapping[int, int]
    coordination: Mapping[int, Sequence[float]] | None = None
    states: Mapping[int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Find the oxidation states."""
        present = {z: n for z, n in self.atoms.items() if n}
        object.__setattr__(self, "states", likely_states(reduced(present)) if present else {})


def distance(rule: Rule, facts: Facts) -> float:
    """Return how far a material is from satisfying a rule; zero exactly where it does."""

    def leaf(comparison: Comparison) -> float:
        return _distance(comparison, facts)

    return fold(rule.tree, leaf, math.fsum, _least)


def _least(parts: Sequence[float]) -> float:
    return min(parts)


@lru_cache(maxsize=100_000)
def composition_distance(rule: Rule, atoms: tuple[tuple[int, int], ...]) -> float:
    """Return the distance of a composition, (atomic number, atoms) of each element, whatever the coordination."""
    return distance(rule, Facts(dict(atoms)))


def _distance(leaf: Comparison, facts: Facts) -> float:
    quantity, atoms = leaf.quantity, facts.atoms
    if quantity.kind == "coordination":
        return _coordination_distance(leaf, facts)
    if quantity.kind == "oxidation":
        state = facts.states.get(*quantity.elements)
        if state is None:
            return 0.0 if leaf.negated else UNDEFINED
        gap = float(_gap(state, leaf.operator, leaf.number))
        return float(gap == 0) if leaf.negated else gap
    inside = [n for z, n in atoms.items() if n and z in quantity.elements]
    if quantity.kind == "kinds":
        return float(_gap(len(inside), leaf.operator, leaf.number))
    scale = sum(atoms.values()) if quantity.kind == "share" else 1
    return float(_gap(sum(inside), leaf.operator, leaf.number * scale))


def holds(value: int, operator: Operator, bound: Fraction) -> bool:
    """Return whether a whole number satisfies a comparison."""
    return _gap(value, operator, bound) == 0


def _gap(value: int, operator: Operator, bound: Fraction) -> int:
    """Return the least change of a whole number that satisfies a comparison, rounded up where none does."""
    match operator:
        case ">=":
            return max(0, math.ceil(bound) - value)
        case ">":
            return max(0, math.floor(bound) + 1 - value)
        case "<=":
            return max(0, value - math.floor(bound))
        case "<":
            return max(0, value - math.ceil(bound) + 1)
        case "==":
            return math.ceil(abs(bound - value))
    return int(value == bound)


def _coordination_distance(leaf: Comparison, facts: Facts) -> float:
    """Largest distance of an atom of the element, which must occur, from a number that rounds to a permitted one."""
    (element,) = leaf.quantity.elements
    if facts.coordination is None:
        return 0.0 if leaf.negated or facts.atoms.get(element) else UNDEFINED
    numbers = facts.coordination.get(element, ())
    gap = max((_real_gap(number, leaf.operator, int(leaf.number)) for number in numbers), default=UNDEFINED)
    return float(gap == 0) if leaf.negated else gap


def _real_gap(value: float, operator: Operator, bound: int) -> float:
    """Return the distance of a real number from those that round to whole numbers that satisfy a comparison."""
    match operator:
        case ">=":
            return max(0.0, bound - 0.5 - value)
        case ">":
            return max(0.0, bound + 0.5 - value)
        case "<=":
            return max(0.0, value - bound - 0.5)
        case "<":
            return max(0.0, value - bound + 0.5)
        case "==":
            return max(0.0, abs(value - bound) - 0.5)
    return max(0.0, 0.5 - abs(value - bound))
