"""Edits of kekulised molecular skeletons, each with its ratio of probabilities."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import TypeVar

from matgen.templates.skeleton import ATOM_TYPES, MAX_HEAVY, MAX_ORDER, VALENCE, Skeleton

T = TypeVar("T")

Edit = Callable[[Skeleton, "Dice"], tuple[Skeleton, float] | None]
"""Returns a changed skeleton and log q(new | old) - log q(old | new) over labelled skeletons, or None for no change.
The new one may violate valences, connectivity or size: the move then rejects it."""

_TYPE = {(z, charge): i for i, (z, charge, _) in enumerate(ATOM_TYPES)}


class Dice:
    """Random numbers that are used one after another."""

    def __init__(self, numbers: Iterable[float]) -> None:
        self._numbers = iter(numbers)

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options, uniformly."""
        return options[int(next(self._numbers) * len(options))]


def retype(types: Sequence[int]) -> Edit:
    """Give one atom another of these types, uniformly among those of equal charge and sufficient valence; symmetric."""

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
    """Give two atoms another bond order, 0 to 3, uniformly among those that their valences allow; symmetric."""
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
    """Raise the bond order of one random pair of atoms by one and lower that of another; symmetric.

    Hydrogens follow, and the formula is kept.
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
    """Exchange the types of two atoms; symmetric."""
    one, other = (dice.pick(range(len(old.types))) for _ in range(2))
    if old.types[one] == old.types[other]:
        return None
    return _with_types(old, {one: old.types[other], other: old.types[one]}), 0.0


def transfer(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
    """Move a proton from one atom to another, which changes both charges; symmetric."""
    donor, acceptor = (dice.pick(range(len(old.types))) for _ in range(2))
    (z, charge, _), (other_z, other_charge, _) = (ATOM_TYPES[old.types[atom]] for atom in (donor, acceptor))
    given, taken = _TYPE.get((z, charge - 1)), _TYPE.get((other_z, other_charge + 1))
    if donor == acceptor or given is None or taken is None:
        return None
    return _with_types(old, {donor: given, acceptor: taken}), 0.0


def shift(old: Skeleton, dice: Dice) -> tuple[Skeleton, float] | None:
    """Move one end of a bond to another atom, uniform among those with free valence for it; the formula is kept."""
    ends = [(i, j, order) for i, j, order in old.bonds] + [(j, i, order) for i, j, order in old.bonds]
    if not ends:
        return None
    atom, left, order = dice.pick(ends)
    targets = _acceptors(old, atom, left, order)
    if not targets:
        return None
    target = dice.pick(targets)
    new = _with_orders(old, {(atom, left): 0, (atom, target): order})
    return new, math.log(len(_acceptors(new, atom, target, order))) - math.log(len(targets))


def resize(types: Sequence[int]) -> Edit:
    """Add a terminal atom or remove one, each with probability one half.

    An addition chooses an anchor with free valence, one of these types, a bond order that both allow, and a number for
    the new atom, each uniformly.
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
    atom = _removable(old, terminal, types, dice)
    if atom is None:
        return None
    anchor = _neighbours(old, atom)[0]
    new = _without(old, atom, {})
    free = new.free_valence
    most = min(MAX_ORDER, free[anchor - (anchor > atom)], VALENCE[old.types[atom]])
    anchors = sum(valence > 0 for valence in free)
    backward = -math.log(anchors * len(types) * most * n)
    return new, -math.log(len(terminal)) - backward


def insert(types: Sequence[int]) -> Edit:
    """Insert an atom into a single bond, or remove one between two single bonds, each with probability one half."""
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
    atom = _removable(old, bridges, types, dice)
    if atom is None:
        return None
    one, other = _neighbours(old, atom)
    new = _without(old, atom, {(one, other): 1})
    single = sum(order == 1 for _, _, order in new.bonds)
    backward = -math.log(single * len(types) * n)
    return new, -math.log(len(bridges)) - backward


def _removable(old: Skeleton, atoms: Sequence[int], types: Sequence[int], dice: Dice) -> int | None:
    """One of these atoms, uniformly; None if there is none, or it is not of these types."""
    if not atoms:
        return None
    atom = dice.pick(atoms)
    return atom if old.types[atom] in types else None


def _with_types(old: Skeleton, changes: dict[int, int]) -> Skeleton:
    return Skeleton(tuple(changes.get(atom, kind) for atom, kind in enumerate(old.types)), old.bonds)


def _with_orders(old: Skeleton, changes: dict[tuple[int, int], int]) -> Skeleton:
    bonds = {(i, j): order for i, j, order in old.bonds}
    for (i, j), order in changes.items():
        bonds[min(i, j), max(i, j)] = order
    return Skeleton(old.types, tuple(sorted((i, j, order) for (i, j), order in bonds.items() if order)))


def _without(old: Skeleton, atom: int, bonds: dict[tuple[int, int], int]) -> Skeleton:
    """Remove an atom and its bonds, and add these bonds; later atoms are renumbered."""
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
    """Atoms with two single bonds, to neighbours that are not bonded to each other."""
    orders = skeleton.orders
    found = []
    for atom in range(len(skeleton.types)):
        pair = _neighbours(skeleton, atom)
        if len(pair) == 2 and orders[atom].sum() == 2 and orders[pair[0], pair[1]] == 0:
            found.append(atom)
    return found


def _acceptors(skeleton: Skeleton, atom: int, left: int, order: int) -> list[int]:
    """Atoms with free valence for a bond of this order to `atom`, not bonded to it; without the atom `left`."""
    free, orders = skeleton.free_valence, skeleton.orders
    others = (other for other in range(len(skeleton.types)) if other not in {atom, left})
    return [other for other in others if free[other] >= order and orders[atom, other] == 0]
