"""Rules as trees of comparisons joined by `and` and `or`.

Negation, implication and exclusive or are resolved when a tree is built:

    not (A and B)    not A or not B
    A implies B      not A or B
    A xor B          (A and not B) or (not A and B)

so that a tree holds nothing but comparisons, conjunctions and disjunctions, and whatever is made of a rule is a fold
over these three.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeVar

T = TypeVar("T")

Kind = Literal["count", "share", "kinds", "oxidation", "coordination"]
"""Atoms of some elements in the primitive cell or molecule; their share of all atoms; how many of them occur; the
oxidation state of an element; the coordination number of each of its atoms."""

Operator = Literal["<", "<=", "==", "!=", ">=", ">"]

MOST_NEIGHBORS = 24
"""Largest coordination number that a rule may name."""

OPPOSITE: dict[Operator, Operator] = {"<": ">=", "<=": ">", "==": "!=", "!=": "==", ">=": "<", ">": "<="}


@dataclass(frozen=True)
class Quantity:
    """What a comparison reads.

    Attributes:
        kind: of quantity.
        elements: atomic numbers; one for oxidation states and coordination numbers.
    """

    kind: Kind
    elements: frozenset[int]


@dataclass(frozen=True)
class Comparison:
    """A quantity against a number.

    Attributes:
        quantity: on the left.
        operator: between them.
        number: on the right.
        negated: whether the comparison must fail; False for counts, shares and kinds, which have an opposite operator.
            An oxidation state or coordination number may be undefined, and the comparison fails then.
    """

    quantity: Quantity
    operator: Operator
    number: Fraction
    negated: bool = False


@dataclass(frozen=True)
class And:
    """All parts hold."""

    parts: tuple["Tree", ...]


@dataclass(frozen=True)
class Or:
    """At least one part holds."""

    parts: tuple["Tree", ...]


Tree = Comparison | And | Or


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        text: as typed.
        tree: what it says.
    """

    text: str
    tree: Tree

    @property
    def reads_coordination(self) -> bool:
        """Whether it takes a structure to decide the rule."""
        return bool(coordinated_elements([self]))


def present(elements: frozenset[int]) -> Comparison:
    """Return the statement that at least one of these elements occurs."""
    return Comparison(Quantity("count", elements), ">=", Fraction(1))


def negation(tree: Tree) -> Tree:
    """Return not A."""
    match tree:
        case And(parts):
            return Or(tuple(map(negation, parts)))
        case Or(parts):
            return And(tuple(map(negation, parts)))
    if tree.quantity.kind in {"oxidation", "coordination"}:
        return replace(tree, negated=not tree.negated)
    return replace(tree, operator=OPPOSITE[tree.operator])


def implication(one: Tree, other: Tree) -> Tree:
    """Return A implies B."""
    return Or((negation(one), other))


def exclusive_or(one: Tree, other: Tree) -> Tree:
    """Return A xor B."""
    return Or((And((one, negation(other))), And((negation(one), other))))


def fold(
    tree: Tree, leaf: Callable[[Comparison], T], both: Callable[[Sequence[T]], T], either: Callable[[Sequence[T]], T]
) -> T:
    """Return the value of a tree.

    Args:
        tree: of comparisons.
        leaf: value of a comparison.
        both: value of a conjunction, from those of its parts.
        either: value of a disjunction.
    """
    match tree:
        case And(parts):
            return both([fold(part, leaf, both, either) for part in parts])
        case Or(parts):
            return either([fold(part, leaf, both, either) for part in parts])
    return leaf(tree)


def comparisons(tree: Tree) -> Iterator[Comparison]:
    """Yield the comparisons of a tree."""
    if isinstance(tree, Comparison):
        yield tree
    else:
        for part in tree.parts:
            yield from comparisons(part)


def coordinated_elements(rules: Iterable[Rule]) -> frozenset[int]:
    """Return the elements whose coordination numbers rules read."""
    leaves = (leaf for rule in rules for leaf in comparisons(rule.tree))
    return frozenset(z for leaf in leaves if leaf.quantity.kind == "coordination" for z in leaf.quantity.elements)
