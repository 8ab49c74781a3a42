"""Whether a template in the making can still satisfy rules, for many templates at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from matgen.rules.statement import Comparison, Rule, fold


@dataclass(frozen=True)
class Reach:
    """What is known of some elements in a template in the making; all but `size` of one shape.

    Attributes:
        atoms: of these elements so far.
        kinds: how many of these elements occur so far.
        total: atoms of all elements so far.
        room: atoms that may be added.
        more: how many of these elements do not occur, but may.
        addable: whether atoms of these elements, and of other ones, may be added at all.
    """

    atoms: Tensor
    kinds: Tensor
    total: Tensor
    room: Tensor
    more: Tensor
    addable: tuple[bool, bool]


@dataclass(frozen=True)
class Prospects:
    """Templates in the making.

    Attributes:
        atoms: of each element so far (n, n_elements), by atomic number.
        room: atoms that may be added (n,).
        allowed: elements that may be added (n_elements,), bool.
    """

    atoms: Tensor
    room: Tensor
    allowed: Tensor

    def can_end(self, rules: Iterable[Rule]) -> Tensor:
        """Return where the rules hold (n,) if nothing is added; oxidation states and coordination are left open."""
        ended = Prospects(self.atoms, torch.zeros_like(self.room), self.allowed)
        return ended._possible(rules, ended._so_far)

    def can_follow(self, rules: Iterable[Rule], added: Tensor) -> Tensor:
        """Return where the rules can hold after one more site.

        What is false here cannot be completed; what is true may still turn out to be impossible.

        Args:
            rules: all to hold.
            added: atoms of the site (n, n_choices).

        Returns:
            By choice and element of the site (n, n_choices, n_elements), bool.
        """
        possible = self._possible(rules, lambda elements: self._after(elements, added))
        return possible & (added[..., None] <= self.room[:, None, None]) & self.allowed

    def _possible(self, rules: Iterable[Rule], reach: Callable[[frozenset[int]], Reach]) -> Tensor:
        found = [
            fold(
                rule.tree,
                lambda leaf: _possible(leaf, reach(leaf.quantity.elements)),
                lambda parts: reduce(torch.logical_and, parts),
                lambda parts: reduce(torch.logical_or, parts),
            )
            for rule in rules
        ]
        return reduce(torch.logical_and, found)

    def _so_far(self, elements: frozenset[int]) -> Reach:
        member = self._members(elements)
        present = (self.atoms > 0) & member
        more = ((self.atoms == 0) & member & self.allowed).sum(1)
        addable = bool((member & self.allowed).any()), bool((~member & self.allowed).any())
        return Reach(self.atoms[:, member].sum(1), present.sum(1), self.atoms.sum(1), self.room, more, addable)

    def _after(self, elements: frozenset[int], added: Tensor) -> Reach:
        now, member = self._so_far(elements), self._members(elements)
        new = ((self.atoms == 0) & member)[:, None]
        size = added[..., None]
        return Reach(
            atoms=now.atoms[:, None, None] + size * member,
            kinds=now.kinds[:, None, None] + new.long(),
            total=now.total[:, None, None] + size,
            room=(now.room[:, None] - added)[..., None],
            more=now.more[:, None, None] - (new & self.allowed).long(),
            addable=now.addable,
        )

    def _members(self, elements: frozenset[int]) -> Tensor:
        member = torch.zeros_like(self.allowed)
        member[[z for z in sorted(elements) if z < len(member)]] = True
        return member


def _possible(leaf: Comparison, reach: Reach) -> Tensor:
    """Return where a comparison can hold."""
    if leaf.quantity.kind in {"oxidation", "coordination"}:
        occurs = reach.atoms + reach.room.clamp(min=0) * reach.addable[0] > 0
        return torch.ones_like(occurs) if leaf.negated else occurs
    low, high, number = _bounds(leaf, reach)
    match leaf.operator:
        case ">=":
            return high >= number
        case ">":
            return high > number
        case "<=":
            return low <= number
        case "<":
            return low < number
    between = (low <= number) & (number <= high)
    return between if leaf.operator == "==" else ~(between & (low == high))


def _bounds(leaf: Comparison, reach: Reach) -> tuple[Tensor, Tensor, int]:
    """Return bounds of the quantity of a comparison when the template ends, and the number to compare them with."""
    own, other = reach.addable
    room = reach.room.clamp(min=0)
    match leaf.quantity.kind:
        case "kinds":
            return reach.kinds, reach.kinds + torch.minimum(room, reach.more), int(leaf.number)
        case "count":
            return reach.atoms, reach.atoms + room * own, int(leaf.number)
    p, q = leaf.number.numerator, leaf.number.denominator  # of a share: q · atoms - p · total against zero
    now = q * reach.atoms - p * reach.total
    return now - p * room * other, now + (q - p) * room * own, 0
