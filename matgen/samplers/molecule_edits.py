"""Edits of kekulised molecular skeletons, each with its ratio of probabilities."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import TypeVar

from matgen.templates.skeleton import ATOM_TYPES, MAX_HEAVY, MAX_ORDER, VALENCE, Skeleton

T = TypeVar("T")


Edit = Callable[[Skeleton, "Dice"], tuple[Skeleton, float] | None]
"""A changed skeleton with log q(new | old) - log q(old | new) over labelled ones; None where it finds nothing to do.
The new one may break valences, connection or size: the move refuses it then."""


_TYPE = {(z, charge): i for i, (z, charge, _) in enumerate(ATOM_TYPES)}


class Dice:
    """A few random numbers, used one after another."""

    def __init__(self, numbers: Iterable[float]) -> None:
        self._numbers = iter(numbers)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, uniformly."""
        return options[int(next(self._numbers) * len(options))]


def retype(types: Sequence[int]) -> Edit:
    """Another of these types, uniformly, for one atom, among those of its charge whose valence suffices; symmetric."""

    def edit(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
        atom = dice.pick(range(len(old.types)))
        kind, used = old.types[atom], VALENCE[old.types[atom]] - old.free_valence[atom]
        charge = ATOM_TYPES[kind][1]
        alike = [other for other in types if VALENCE[other] >= used and ATOM_TYPES[other][1] == charge]
        others = [other for other in alike if other != kind]
        if not others or kind not in types:
            return None
        return _with_types(old, {atom: dice.pick(others)}), 0.0

    return edit


def rebond(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
    """Another order, 0 to 3, uniformly, between two atoms, among those that their valences allow; symmetric."""
    if len(old.types) < 2:
        return None
    i, j = dice.pick(list(combinations(range(len(old.types)), 2)))
    orders, free = old.orders, old.free_valence
    now = int(orders[i, j])
    others = [order for order in range(min(MAX_ORDER, now + min(free[i], free[j])) + 1) if order != now]
    if not others:
        return None
    return _with_orders(old, {(i, j): dice.pick(others)}), 0.0


def exchange(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
    """One order more between two atoms and one less between two others, both pairs at random; symmetric.

    Hydrogens move along, and the formula stays.
    """
    pairs = list(combinations(range(len(old.types)), 2))
    if len(pairs) < 2:
        return None
    less, more = dice.pick(pairs), dice.pick(pairs)
    orders = old.orders
    if less == more or orders[less] == 0 or orders[more] == MAX_ORDER:
        return None
    return _with_orders(old, {less: int(orders[less]) - 1, more: int(orders[more]) + 1}), 0.0


def swap(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
    """The types of two atoms change places; symmetric."""
    one, other = (dice.pick(range(len(old.types))) for _ in range(2))
    if old.types[one] == old.types[other]:
        return None
    return _with_types(old, {one: old.types[other], other: old.types[one]}), 0.0


def transfer(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
    """A proton goes from one atom to another, which changes both charges; symmetric."""
    giver, taker = (dice.pick(range(len(old.types))) for _ in range(2))
    (z, charge, _), (other_z, other_charge, _) = (ATOM_TYPES[old.types[atom]] for atom in (giver, taker))
    given, taken = _TYPE.get((z, charge - 1)), _TYPE.get((other_z, other_charge + 1))
    if giver == taker or given is None or taken is None:
        return None
    return _with_types(old, {giver: given, taker: taken}), 0.0


def shift(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
    """One end of a bond moves to another atom, drawn uniformly among those with room for it; the formula stays."""
    ends = [(i, j, order) for i, j, order in old.bonds] + [(j, i, order) for i, j, order in old.bonds]
    if not ends:
        return None
    atom, left, order = dice.pick(ends)
    goals = _with_room(old, atom, left, order)
    if not goals:
        return None
    goal = dice.pick(goals)
    new = _with_orders(old, {(atom, left): 0, (atom, goal): order})
    return new, math.log(len(_with_room(new, atom, goal, order))) - math.log(len(goals))


def resize(types: Sequence[int]) -> Edit:
    """With even chances an atom is added at the end of a bond, or an atom that has only one neighbour is removed.

    To add: an anchor with free valence, one of these types, an order that both allow, and a number for the new atom,
    each uniformly.
    """

    def edit(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
        return _added(old, types, dice) if dice.pick((True, False)) else _removed(old, types, dice)

    return edit


def _added(old: Skeleton, types: Sequence[int], dice: Dice) -> tuple[Skeleton, float] | None:
    n, free = len(old.types), old.free_valence
    anchors = [atom for atom in range(n) if free[atom] > 0]
    if n == MAX_HEAVY or not anchors or not types:
        return None
    anchor, kind = dice.pick(anchors), dice.pick(types)
    most = min(MAX_ORDER, free[anchor], VALENCE[kind])
    order = dice.pick(range(1, most + 1))
    new = Skeleton((*old.types, kind), tuple(sorted((*old.bonds, (anchor, n, order)))))
    forward = -math.log(len(anchors) * len(types) * most * (n + 1))
    return new, forward + math.log(len(_terminal(new)))


def _removed(old: Skeleton, types: Sequence[int], dice: Dice) -> tuple[Skeleton, float] | None:
    n, terminal = len(old.types), _terminal(old)
    if not terminal:
        return None
    atom = dice.pick(terminal)
    if old.types[atom] not in types:
        return None
    anchor = _neighbours(old, atom)[0]
    new = _without(old, atom, {})
    free = new.free_valence
    most = min(MAX_ORDER, free[anchor - (anchor > atom)], VALENCE[old.types[atom]])
    anchors = sum(valence > 0 for valence in free)
    backward = -math.log(anchors * len(types) * most * n)
    return new, -math.log(len(terminal)) - backward


def insert(types: Sequence[int]) -> Edit:
    """With even chances an atom is put into a single bond, or an atom between two single bonds is taken out of it."""
    types = tuple(kind for kind in types if VALENCE[kind] >= 2)

    def edit(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
        return _inserted(old, types, dice) if dice.pick((True, False)) else _contracted(old, types, dice)

    return edit


def _inserted(old: Skeleton, types: Sequence[int], dice: Dice) -> tuple[Skeleton, float] | None:
    n, single = len(old.types), [bond for bond in old.bonds if bond[2] == 1]
    if n == MAX_HEAVY or not single or not types:
        return None
    bond = dice.pick(single)
    kept = [other for other in old.bonds if other != bond]
    new = Skeleton((*old.types, dice.pick(types)), tuple(sorted((*kept, (bond[0], n, 1), (bond[1], n, 1)))))
    forward = -math.log(len(single) * len(types) * (n + 1))
    return new, forward + math.log(len(_bridges(new)))


def _contracted(old: Skeleton, types: Sequence[int], dice: Dice) -> tuple[Skeleton, float] | None:
    n, bridges = len(old.types), _bridges(old)
    if not bridges:
        return None
    atom = dice.pick(bridges)
    if old.types[atom] not in types:
        return None
    one, other = _neighbours(old, atom)
    new = _without(old, atom, {(one, other): 1})
    single = sum(order == 1 for _, _, order in new.bonds)
    backward = -math.log(single * len(types) * n)
    return new, -math.log(len(bridges)) - backward


def _with_types(old: Skeleton, changes: dict[int, int]) -> Skeleton:
    return Skeleton(tuple(changes.get(atom, kind) for atom, kind in enumerate(old.types)), old.bonds)


def _with_orders(old: Skeleton, changes: dict[tuple[int, int], int]) -> Skeleton:
    bonds = {(i, j): order for i, j, order in old.bonds}
    for (i, j), order in changes.items():
        bonds[min(i, j), max(i, j)] = order
    return Skeleton(old.types, tuple(sorted((i, j, order) for (i, j), order in bonds.items() if order)))


def _without(old: Skeleton, atom: int, bonds: dict[tuple[int, int], int]) -> Skeleton:
    """One atom and its bonds less, these bonds more; the numbers of later atoms move up."""
    joined = _with_orders(old, bonds)
    kept = [(i, j, order) for i, j, order in joined.bonds if atom not in {i, j}]
    renumbered = tuple((i - (i > atom), j - (j > atom), order) for i, j, order in kept)
    return Skeleton((*old.types[:atom], *old.types[atom + 1 :]), renumbered)


def _neighbours(skeleton: Skeleton, atom: int) -> list[int]:
    return [i + j - atom for i, j, _ in skeleton.bonds if atom in {i, j}]


def _terminal(skeleton: Skeleton) -> list[int]:
    """Atoms with one neighbour."""
    return [atom for atom in range(len(skeleton.types)) if len(_neighbours(skeleton, atom)) == 1]


def _bridges(skeleton: Skeleton) -> list[int]:
    """Atoms with two single bonds, to neighbours that have no bond with each other."""
    orders = skeleton.orders
    found = []
    for atom in range(len(skeleton.types)):
        around = _neighbours(skeleton, atom)
        if len(around) == 2 and orders[atom].sum() == 2 and orders[around[0], around[1]] == 0:
            found.append(atom)
    return found


def _with_room(skeleton: Skeleton, atom: int, left: int, order: int) -> list[int]:
    """Atoms with valence for a bond of this order from `atom`, which has none to them; not the one that it leaves."""
    free, orders = skeleton.free_valence, skeleton.orders
    others = (goal for goal in range(len(skeleton.types)) if goal not in {atom, left})
    return [goal for goal in others if free[goal] >= order and orders[atom, goal] == 0]
