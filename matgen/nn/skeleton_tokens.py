"""Molecular skeletons as sequences of tokens, and the state of a sequence after each token.

A skeleton is written atom by atom, each atom followed by its bonds to earlier atoms (descending), then stop:
`C C 0-1 O 1-2 stop` is acetaldehyde. Each atom bonds to an earlier one before the next atom comes, so all skeletons are
connected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from matgen.runtime.devices import per_device
from matgen.templates.skeleton import MAX_HEAVY, MAX_ORDER, N_TYPES, VALENCE, Skeleton

STOP = N_TYPES + (MAX_HEAVY - 1) * MAX_ORDER
N_TOKENS = STOP + 1
"""Types of atoms, then bonds to earlier atoms (partner, order), then stop."""

FAR = MAX_HEAVY
"""Number of bonds to an atom that is not connected with the newest one."""

N_FEATURES = (N_TYPES + 1) + (max(VALENCE) + 1) + (FAR + 1)
"""Columns of `Reading.features`."""


@dataclass(frozen=True)
class PaddedSkeletons:
    """Skeletons as rectangles.

    Attributes:
        kind: row of `ATOM_TYPES`, `N_TYPES` where padded (n_systems, MAX_HEAVY).
        orders: bond orders, 0 where there is no bond, symmetric (n_systems, MAX_HEAVY, MAX_HEAVY).
    """

    kind: Tensor
    orders: Tensor

    @classmethod
    def of(cls, skeletons: Sequence[Skeleton]) -> Self:
        """Pad skeletons."""
        kind = torch.full((len(skeletons), MAX_HEAVY), N_TYPES)
        orders = torch.zeros(len(skeletons), MAX_HEAVY, MAX_HEAVY, dtype=torch.long)
        for row, skeleton in enumerate(skeletons):
            n = len(skeleton.types)
            kind[row, :n] = torch.tensor(skeleton.types)
            orders[row, :n, :n] = torch.from_numpy(skeleton.orders)
        return cls(kind, orders)

    @property
    def present(self) -> Tensor:
        """False where padded (n_systems, MAX_HEAVY)."""
        return self.kind < N_TYPES

    def select(self, rows: Tensor) -> Self:
        """Return these systems (indices, repeats allowed)."""
        return replace(self, kind=self.kind[rows], orders=self.orders[rows])

    def permuted(self, order: Tensor) -> Self:
        """Return the same with atom order[:, k] in place k (n_systems, MAX_HEAVY)."""
        rows = torch.arange(len(order), device=order.device)[:, None, None]
        orders = self.orders[rows, order[:, :, None], order[:, None, :]]
        return replace(self, kind=self.kind.gather(1, order), orders=orders)

    def tokens(self) -> Tensor:
        """Return the sequence of each in the order of its atoms, which must be a connected one (n_systems, length)."""
        slots = torch.arange(MAX_HEAVY - 1, device=self.kind.device)
        bonds = self.orders[:, :, :-1]
        partner = N_TYPES + MAX_ORDER * slots + bonds - 1
        earlier = slots < torch.arange(MAX_HEAVY, device=slots.device)[:, None]
        written = torch.cat([self.present[:, :, None], ((bonds > 0) & earlier).flip(2)], dim=2).flatten(1)
        every = torch.cat([self.kind[:, :, None], partner.flip(2)], dim=2).flatten(1)
        length = int(written.sum(1).max()) + 1
        place = (~written).long().argsort(dim=1, stable=True)[:, :length]
        return torch.where(written.gather(1, place), every.gather(1, place), STOP)


def connected_orders(skeletons: PaddedSkeletons, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample connected orders: a random first atom, then always a random neighbour of the atoms so far.

    Args:
        skeletons: connected ones.
        uniforms: random numbers in [0, 1), one for each choice (n_systems, MAX_HEAVY).

    Returns:
        Permutations, padding last (n_systems, MAX_HEAVY), and their log probabilities (n_systems,).
    """
    bonded, present = skeletons.orders > 0, skeletons.present
    taken = torch.zeros_like(present)
    log_q = torch.zeros_like(uniforms[:, 0])
    order = []
    for number in uniforms.unbind(1):
        frontier = (bonded & taken[:, None]).any(2) & ~taken
        frontier = torch.where(taken.any(1, keepdim=True), frontier, present)
        count = frontier.sum(1)
        log_q = log_q - count.clamp(min=1).log()
        candidates = torch.where(count[:, None] > 0, frontier, ~taken)
        rank = (number * count).long() + 1
        atom = (candidates & (candidates.long().cumsum(1) == rank[:, None])).long().argmax(1)
        taken = taken | F.one_hot(atom, MAX_HEAVY).bool()
        order.append(atom)
    return torch.stack(order, dim=1), log_q


def spelled(tokens: Tensor) -> list[Skeleton]:
    """Return the skeletons of sequences (n_systems, length), up to their stops."""
    return [_spelled(row) for row in tokens.tolist()]


def _spelled(tokens: Sequence[int]) -> Skeleton:
    types: list[int] = []
    bonds: list[tuple[int, int, int]] = []
    for token in tokens:
        if token < N_TYPES:
            types.append(token)
        elif token < STOP:
            partner, order = divmod(token - N_TYPES, MAX_ORDER)
            bonds.append((partner, len(types) - 1, order + 1))
    return Skeleton(tuple(types), tuple(sorted(bonds)))


@dataclass(frozen=True)
class Reading:
    """State of a sequence after none, one, two … tokens; `length` counts these prefixes.

    Attributes:
        kind: type of each atom, `N_TYPES` where there is none yet (n_systems, length, MAX_HEAVY).
        free: valence left to each atom (n_systems, length, MAX_HEAVY).
        apart: bonds between each atom and the newest one, `FAR` where not connected (n_systems, length, MAX_HEAVY).
        newest: number of the newest atom, -1 before the first (n_systems, length).
        below: the next bond must lead to an atom before this one (n_systems, length).
        settled: whether the newest atom is bonded to an earlier one, or is the first (n_systems, length).
        stopped: whether the sequence has ended (n_systems, length).
    """

    kind: Tensor
    free: Tensor
    apart: Tensor
    newest: Tensor
    below: Tensor
    settled: Tensor
    stopped: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> Self:
        """Read sequences (n_systems, length - 1)."""
        is_atom, is_bond = tokens < N_TYPES, (tokens >= N_TYPES) & (tokens < STOP)
        newest = is_atom.long().cumsum(1) - 1
        bond = (tokens - N_TYPES).clamp(min=0)
        partner, order = bond // MAX_ORDER, (bond % MAX_ORDER + 1) * is_bond
        slots = torch.arange(MAX_HEAVY, device=tokens.device)
        here, there = newest[..., None] == slots, partner[..., None] == slots
        born = is_atom[..., None] & here
        kind = N_TYPES + ((tokens - N_TYPES)[..., None] * born).cumsum(1)
        valence = valences(tokens.device)[tokens.clamp(max=N_TYPES)]
        free = (valence[..., None] * born - order[..., None] * (here.long() + there.long())).cumsum(1)
        bonded = ((here[..., None] & there[..., None, :]) & is_bond[..., None, None]).long().cumsum(1) > 0
        return cls(
            kind=F.pad(kind, (0, 0, 1, 0), value=N_TYPES),
            free=F.pad(free, (0, 0, 1, 0)),
            apart=F.pad(_distances(here, bonded | bonded.transpose(2, 3)), (0, 0, 1, 0), value=FAR),
            newest=F.pad(newest, (1, 0), value=-1),
            below=F.pad(torch.where(is_bond, partner, newest), (1, 0)),
            settled=F.pad(is_bond | (newest == 0), (1, 0), value=True),
            stopped=F.pad(tokens == STOP, (1, 0)),
        )

    def last(self) -> "Reading":
        """Return the state after the last token only."""
        return Reading(*(getattr(self, field.name)[:, -1:] for field in fields(self)))

    def legal(self) -> Tensor:
        """Return which tokens may come next (n_systems, length, N_TOKENS)."""
        slots = torch.arange(MAX_HEAVY - 1, device=self.kind.device)
        own = self.free.gather(2, self.newest.clamp(0, MAX_HEAVY - 1)[..., None])
        possible = torch.minimum(self.free[..., :-1], own) * (slots < self.below[..., None])
        bond = possible[..., None] > torch.arange(MAX_ORDER, device=slots.device)
        anchor = (self.free > 0).any(2) | (self.newest < 0)
        atom = self.settled & anchor & (self.newest < MAX_HEAVY - 1)
        stop = self.settled & (self.newest >= 0)
        going = torch.cat([atom[..., None].expand(-1, -1, N_TYPES), bond.flatten(2), stop[..., None]], dim=2)
        over = torch.arange(N_TOKENS, device=slots.device) == STOP
        return torch.where(self.stopped[..., None], over, going)

    def features(self) -> Tensor:
        """Return the one-hot features of each atom (n_systems, length, MAX_HEAVY, N_FEATURES)."""
        columns = [
            F.one_hot(self.kind, N_TYPES + 1),
            F.one_hot(self.free.clamp(0, max(VALENCE)), max(VALENCE) + 1),
            F.one_hot(self.apart, FAR + 1),
        ]
        return torch.cat(columns, dim=-1)


@per_device
def valences() -> Tensor:
    """Return the valence of each type of atom, and zero for none (N_TYPES + 1,)."""
    return torch.tensor([*VALENCE, 0])


def _distances(start: Tensor, bonded: Tensor) -> Tensor:
    """Return bonds from the start (..., n), one-hot, to each atom of a graph (..., n, n); `FAR` where not connected."""
    reached = start
    distance = torch.where(start, 0, FAR)
    for step in range(1, MAX_HEAVY):
        further = (reached[..., None] & bonded).any(-2) & ~reached
        distance = torch.where(further, step, distance)
        reached = reached | further
    return distance
