"""Whether some composition satisfies a set of rules, and which of them contradict each other.

Elements that no rule tells apart form a class; the unknowns are the atoms and the number of different elements of each
class, and which oxidation state and coordination numbers an element has. A rule is a Boolean function of linear
comparisons of these, so that the question is a mixed-integer program without an objective (Williams, Model Building in
Mathematical Programming, chapter 9), which HiGHS decides through SciPy. That charges cancel, and that a space group has
such sites, is left out: some rules that pass are satisfied by no crystal. What is called a contradiction is one as far
as elements have no other oxidation states than those that rules count (`matgen.chemistry.charges.KNOWN`).
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import combinations
from math import ceil, floor
from typing import TypeVar

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from matgen.chemistry.charges import KNOWN, oxidation_states
from matgen.chemistry.elements import SYMBOLS
from matgen.rules.composition import holds
from matgen.rules.statement import MOST_NEIGHBORS, Comparison, Operator, Quantity, Rule, Tree, comparisons, fold

T = TypeVar("T")

MOST_ITEMS = 12
"""Of so many items the smallest contradiction is found; of more, one from which nothing can be dropped, since the
search for the smallest takes ever longer."""

FEASIBLE, INFEASIBLE = 0, 2
"""Status of `scipy.optimize.milp`."""


def satisfiable(rules: Sequence[Rule], elements: Collection[int], most: int) -> bool:
    """Return whether a composition of 1 to `most` atoms of these elements satisfies rules.

    Args:
        rules: all to hold.
        elements: atomic numbers.
        most: atoms of the largest primitive cell or molecule.
    """
    program = _Program.of(rules, elements, most)
    for rule in rules:
        program.require(rule.tree)
    return program.feasible()


def smallest_contradiction(items: Sequence[T], possible: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """Return the fewest items that are not possible together; none if all are.

    A contradictory subset meets every set of items whose removal restores possibility. Such sets are collected until a
    smallest set that meets them all is itself contradictory (Ignatiev et al., Smallest MUS Extraction with Minimal
    Hitting Set Dualization, CP 2015). Of more than `MOST_ITEMS`, each is dropped in turn if the others contradict each
    other without it.

    Args:
        items: such as rules.
        possible: whether some of them are possible together; removing items never makes them impossible.
    """
    if possible(items):
        return ()
    if len(items) > MOST_ITEMS:
        for i in reversed(range(len(items))):
            fewer = [*items[:i], *items[i + 1 :]]
            items = items if possible(fewer) else fewer
        return tuple(items)
    places = range(len(items))
    to_meet: list[set[int]] = []
    while True:
        chosen = next(
            set(some)
            for size in range(len(items) + 1)
            for some in combinations(places, size)
            if all(not one.isdisjoint(some) for one in to_meet)
        )
        if not possible([items[i] for i in sorted(chosen)]):
            return tuple(items[i] for i in sorted(chosen))
        for i in places:
            if i not in chosen and possible([items[j] for j in sorted(chosen | {i})]):
                chosen.add(i)
        to_meet.append(set(places) - chosen)


@dataclass
class _Program:
    """A mixed-integer program over classes of elements.

    Attributes:
        classes: elements of each class. Its atoms are unknown 2i, and the number of its elements that occur 2i + 1.
        most: atoms in all.
        rows: coefficients by unknown, and lower bound, of each inequality.
        n_switches: unknowns 0 or 1, after those of the classes: whether a part of a rule must hold, or an element has a
            value.
        values: the switch of each value that an element may have, by quantity.
    """

    classes: list[frozenset[int]]
    most: int
    rows: list[tuple[dict[int, float], float]] = field(default_factory=list)
    n_switches: int = 0
    values: dict[Quantity, dict[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: Iterable[Rule], elements: Collection[int], most: int) -> "_Program":
        named = sorted({leaf.quantity.elements for rule in rules for leaf in comparisons(rule.tree)}, key=sorted)
        classes: dict[tuple[bool, ...], set[int]] = {}
        for z in elements:
            classes.setdefault(tuple(z in some for some in named), set()).add(z)
        program = cls([frozenset(some) for some in classes.values()], most)
        everything = {2 * i: 1.0 for i in range(len(program.classes))}
        program.rows += [(everything, 1.0), (dict.fromkeys(everything, -1.0), -float(most))]
        for i in range(len(program.classes)):  # kinds ≤ atoms ≤ most · kinds
            program.rows += [({2 * i: 1.0, 2 * i + 1: -1.0}, 0.0), ({2 * i: -1.0, 2 * i + 1: float(most)}, 0.0)]
        return program

    def require(self, tree: Tree) -> None:
        """Add a rule."""
        switch = fold(tree, self._leaf, self._both, self._either)
        self.rows.append(({switch: 1.0}, 1.0))

    def feasible(self) -> bool:
        """Return whether all inequalities hold for some whole numbers."""
        n = 2 * len(self.classes) + self.n_switches
        matrix = np.zeros((len(self.rows), n))
        for row, (coefficients, _) in enumerate(self.rows):
            matrix[row, list(coefficients)] = list(coefficients.values())
        upper = [float(bound) for some in self.classes for bound in (self.most, min(self.most, len(some)))]
        bounds = Bounds(np.zeros(n), np.array([*upper, *[1.0] * self.n_switches]))
        limits = LinearConstraint(matrix, lb=np.array([bound for _, bound in self.rows]))
        found = milp(np.zeros(n), integrality=np.ones(n), bounds=bounds, constraints=limits)
        if found.status not in {FEASIBLE, INFEASIBLE}:
            raise RuntimeError(f"the check of the rules ended with: {found.message}")
        return bool(found.status == FEASIBLE)

    def _switch(self) -> int:
        self.n_switches += 1
        return 2 * len(self.classes) + self.n_switches - 1

    def _both(self, parts: Sequence[int]) -> int:
        own = self._switch()
        self.rows += [({part: 1.0, own: -1.0}, 0.0) for part in parts]
        return own

    def _either(self, parts: Sequence[int]) -> int:
        own = self._switch()
        self.rows.append((dict.fromkeys(parts, 1.0) | {own: -1.0}, 0.0))
        return own

    def _leaf(self, leaf: Comparison) -> int:
        """Return a switch that holds a comparison."""
        if leaf.quantity.kind in {"oxidation", "coordination"}:
            return self._value_leaf(leaf)
        if leaf.operator == "!=":
            sides: tuple[Operator, Operator] = ("<", ">")
            return self._either([self._leaf(replace(leaf, operator=operator)) for operator in sides])
        own = self._switch()
        for coefficients, bound in self._inequalities(leaf):
            least = min(sum(min(0.0, c * self.most) for c in coefficients.values()), bound)
            self.rows.append((coefficients | {own: least - bound}, least))  # slack unless the switch is on
        return own

    def _value_leaf(self, leaf: Comparison) -> int:
        """Return a switch that holds a comparison of an oxidation state, or of coordination numbers."""
        own, occurs, values = self._switch(), self._occurs(leaf.quantity), self._values(leaf.quantity)
        right = [switch for value, switch in values.items() if holds(value, leaf.operator, leaf.number)]
        wrong = [switch for switch in values.values() if switch not in right]
        if leaf.quantity.kind == "oxidation" and leaf.negated:
            self.rows += [({switch: -1.0, own: -1.0}, -1.0) for switch in right]
        elif leaf.negated:
            self.rows.append((dict.fromkeys(wrong, 1.0) | {occurs: -1.0, own: -1.0}, -1.0))
        else:
            self.rows.append((dict.fromkeys(right, 1.0) | {own: -1.0}, 0.0))
            self.rows += [({switch: -1.0, own: -1.0}, -1.0) for switch in wrong]
        return own

    def _occurs(self, quantity: Quantity) -> int:
        """Return the unknown, 0 or 1, that tells whether the element of a quantity occurs."""
        places = [2 * i + 1 for i, some in enumerate(self.classes) if some == quantity.elements]
        if places:
            return places[0]
        never = self._switch()
        self.rows.append(({never: -1.0}, 0.0))
        return never

    def _values(self, quantity: Quantity) -> dict[int, int]:
        """Return the switch of each value that an element may have: one oxidation state, any coordination numbers."""
        if quantity not in self.values:
            (element,) = quantity.elements
            states = oxidation_states(KNOWN).get(SYMBOLS[element], ())
            possible = states if quantity.kind == "oxidation" else range(MOST_NEIGHBORS + 1)
            self.values[quantity] = {value: self._switch() for value in possible}
            occurs, switches = self._occurs(quantity), list(self.values[quantity].values())
            self.rows += [({occurs: 1.0, switch: -1.0}, 0.0) for switch in switches]
            if quantity.kind == "oxidation" and switches:
                others = {2 * i + 1: 1.0 for i in range(len(self.classes))}
                self.rows.append((dict.fromkeys(switches, -1.0), -1.0))
                self.rows += [(others | {switch: -2.0}, 0.0) for switch in switches]  # another element, of other charge
        return self.values[quantity]

    def _inequalities(self, leaf: Comparison) -> list[tuple[dict[int, float], float]]:
        """Return coefficients and lower bounds that say what a comparison says."""
        inside = [i for i, some in enumerate(self.classes) if some <= leaf.quantity.elements]
        if leaf.quantity.kind == "share":
            p, q = leaf.number.numerator, leaf.number.denominator
            terms = {2 * i: float(q * (i in inside) - p) for i in range(len(self.classes))}
            low, high = _whole(leaf, Fraction(0))
        else:
            kinds = leaf.quantity.kind == "kinds"
            terms = {2 * i + kinds: 1.0 for i in inside}
            low, high = _whole(leaf, leaf.number)
        found = [] if low is None else [(terms, float(low))]
        return found if high is None else [*found, ({i: -c for i, c in terms.items()}, -float(high))]


def _whole(leaf: Comparison, number: Fraction) -> tuple[int | None, int | None]:
    """Return the least and the largest whole number that a comparison admits."""
    match leaf.operator:
        case ">=":
            return ceil(number), None
        case ">":
            return floor(number) + 1, None
        case "<=":
            return None, floor(number)
        case "<":
            return None, ceil(number) - 1
    return ceil(number), floor(number)
