"""An autoregressive density over molecules as kekulised skeletons of heavy atoms.

A skeleton is read as: conditions, then atom after atom, each with its bonds to earlier atoms (descending), then stop:
`C C 0-1 O 1-2 stop` is acetaldehyde. With tokens x_1..x_T in one order, p(x) = Π_t p(x_t | x_<t), which is exact; order
and Kekulé form are auxiliary variables, and p(molecule) is the sum over the sequences that spell it. An atom bonds to
what is there before the next one comes, so that all skeletons are connected; whatever would overrun a valence or the
number of atoms has probability zero. (Cf. You et al., GraphRNN, 2018; Li et al., Learning Deep Generative Models of
Graphs, 2018.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matgen.nn.sites import ElementEmbedding
from matgen.nn.template_prior import N_ELEMENTS, soft_bins
from matgen.nn.transformer import Transformer, causal
from matgen.runtime.devices import per_device, placed
from matgen.templates.skeleton import MAX_HEAVY, MAX_ORDER, N_TYPES, VALENCE, Skeleton

STOP = N_TYPES + (MAX_HEAVY - 1) * MAX_ORDER
N_TOKENS = STOP + 1
"""Types of atoms, then bonds to earlier atoms (partner, order), then stop."""

FAR = MAX_HEAVY
"""Number of bonds to an atom that does not hang together with the newest one."""

PROPERTY_GRIDS: dict[str, tuple[float, float, int]] = {
    "gap": (0.0, 17.0, 69),
    "homo": (-12.0, -2.0, 41),
    "lumo": (-5.0, 6.0, 45),
    "dipole": (0.0, 12.0, 49),
    "polarizability": (0.0, 150.0, 51),
    "atomization_energy": (-120.0, 0.0, 49),
    "heat_capacity": (0.0, 60.0, 41),
}
"""Lowest, highest and number of points of the grid on which each property is told, in the units of the labels: eV,
debye, cubic bohr, cal/(mol K)."""


@dataclass(frozen=True)
class GraphPriorConfig:
    """Size of the network."""

    width: int = 160
    layers: int = 5
    heads: int = 5
    key: int = 32
    dropout: float = 0.0


@dataclass(frozen=True)
class GraphConditions:
    """What is asked of molecules; any subset may be given.

    Attributes:
        n_heavy: heavy atoms (n_systems,), 0 where not asked.
        elements: elements that must occur, hydrogen aside (n_systems, 95), bool.
        complete: whether `elements` are all elements (n_systems,), bool.
        properties: in the order and units of `PROPERTY_GRIDS`; NaN where not asked (n_systems, 7).
    """

    n_heavy: Tensor
    elements: Tensor
    complete: Tensor
    properties: Tensor

    @classmethod
    def none(cls, n_systems: int) -> Self:
        """Nothing asked."""
        return cls(
            torch.zeros(n_systems, dtype=torch.long),
            torch.zeros(n_systems, N_ELEMENTS, dtype=torch.bool),
            torch.zeros(n_systems, dtype=torch.bool),
            torch.full((n_systems, len(PROPERTY_GRIDS)), math.nan),
        )

    def select(self, rows: Tensor) -> Self:
        """These systems."""
        return replace(
            self,
            n_heavy=self.n_heavy[rows],
            elements=self.elements[rows],
            complete=self.complete[rows],
            properties=self.properties[rows],
        )

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return placed(self, device)


class GraphConditionEmbedding(nn.Module):
    """One vector for all conditions; a condition that is not given adds a learned 'unknown'."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.n_heavy = nn.Embedding(MAX_HEAVY + 1, width)
        self.elements = ElementEmbedding(width)
        self.complete = nn.Embedding(2, width)
        self.grids = nn.ModuleList(nn.Linear(n + 1, width, bias=False) for _, _, n in PROPERTY_GRIDS.values())
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, conditions: GraphConditions) -> Tensor:
        """(n_systems, width)."""
        total = self.n_heavy(conditions.n_heavy) + self.complete(conditions.complete.long())
        total = total + conditions.elements.to(total.dtype) @ self.elements.table()
        columns = conditions.properties.unbind(1)
        for column, grid, (low, high, n) in zip(columns, self.grids, PROPERTY_GRIDS.values(), strict=True):
            total = total + grid(soft_bins(column, low, high, n).to(total.dtype))
        return self.mix(total)


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
        """These systems (indices, repeats allowed)."""
        return replace(self, kind=self.kind[rows], orders=self.orders[rows])

    def permuted(self, order: Tensor) -> Self:
        """The same with atom order[:, k] in place k (n_systems, MAX_HEAVY)."""
        rows = torch.arange(len(order), device=order.device)[:, None, None]
        orders = self.orders[rows, order[:, :, None], order[:, None, :]]
        return replace(self, kind=self.kind.gather(1, order), orders=orders)

    def tokens(self) -> Tensor:
        """The sequence that spells each, in the order of its atoms, which must grow connected (n_systems, length)."""
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
    """Orders of atoms that grow connected: the first one at random, each next one among the neighbours of those before.

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
    """The skeletons of sequences (n_systems, length), up to their stops."""
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
    """What has been written after none, one, two … tokens; `length` counts these prefixes.

    Attributes:
        kind: type of each atom, `N_TYPES` where there is none yet (n_systems, length, MAX_HEAVY).
        free: valence that is left to each atom (n_systems, length, MAX_HEAVY).
        apart: bonds between each atom and the newest one, `FAR` where no path leads (n_systems, length, MAX_HEAVY).
        newest: number of the newest atom, -1 before the first (n_systems, length).
        below: the next bond must lead to an atom before this one (n_systems, length).
        settled: whether the newest atom hangs together with the others (n_systems, length).
        stopped: whether it is over (n_systems, length).
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
        """After the last token only."""
        return Reading(*(getattr(self, field.name)[:, -1:] for field in fields(self)))

    def legal(self) -> Tensor:
        """Which tokens may come next (n_systems, length, N_TOKENS)."""
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
        """Each atom as the network sees it (n_systems, length, MAX_HEAVY, N_FEATURES)."""
        columns = [
            F.one_hot(self.kind, N_TYPES + 1),
            F.one_hot(self.free.clamp(0, max(VALENCE)), max(VALENCE) + 1),
            F.one_hot(self.apart, FAR + 1),
        ]
        return torch.cat(columns, dim=-1)


N_FEATURES = (N_TYPES + 1) + (max(VALENCE) + 1) + (FAR + 1)


@per_device
def valences() -> Tensor:
    """Valence of each type of atom, and zero for none (N_TYPES + 1,)."""
    return torch.tensor([*VALENCE, 0])


def _distances(start: Tensor, bonded: Tensor) -> Tensor:
    """Bonds from the start (..., n), one-hot, to each atom of a graph (..., n, n); `FAR` where no path leads."""
    reached = start
    distance = torch.where(start, 0, FAR)
    for step in range(1, MAX_HEAVY):
        further = (reached[..., None] & bonded).any(-2) & ~reached
        distance = torch.where(further, step, distance)
        reached = reached | further
    return distance


class GraphPrior(nn.Module):
    """The network; log probabilities of every token, in training and in drawing."""

    def __init__(self, config: GraphPriorConfig = GraphPriorConfig()) -> None:
        super().__init__()
        self.config = config
        width, key = config.width, config.key
        self.conditions = GraphConditionEmbedding(width)
        self.token = nn.Embedding(N_TOKENS + 1, width)
        self.newest = nn.Embedding(MAX_HEAVY + 1, width)
        self.atoms = nn.Linear(MAX_HEAVY * N_FEATURES, width, bias=False)
        self.transformer = Transformer(width, config.layers, config.heads, dropout=config.dropout)
        self.to_token = nn.Linear(width, N_TOKENS)
        self.query = nn.Linear(width, MAX_ORDER * key)
        self.keys = nn.Linear(N_FEATURES, key, bias=False)

    def hidden(self, conditions: GraphConditions, tokens: Tensor, reading: Reading) -> Tensor:
        """Hidden states after the conditions and each token (n_systems, 1 + length, width).

        Args:
            conditions: one row for each system.
            tokens: what has been written (n_systems, length).
            reading: of these tokens.
        """
        asked = self.conditions(conditions)
        sequence = self.token(F.pad(tokens, (1, 0), value=N_TOKENS)) + asked[:, None]
        sequence = sequence + self.newest(reading.newest.clamp(max=MAX_HEAVY - 1) + 1)
        sequence = sequence + self.atoms(reading.features().flatten(2).to(sequence.dtype))
        return self.transformer(sequence, causal(sequence.shape[1], tokens.device))

    def log_probs(self, hidden: Tensor, reading: Reading, legal: Tensor) -> Tensor:
        """Log probabilities of the next token (n_systems, length, N_TOKENS), minus infinity where it is not legal.

        A bond is scored by what the sequence asks for against what its partner is like.

        Args:
            hidden: (n_systems, length, width).
            reading: after each of the same prefixes.
            legal: which tokens may come next, at least one (n_systems, length, N_TOKENS).
        """
        keys = self.keys(reading.features()[:, :, :-1].to(hidden.dtype))
        query = self.query(hidden).unflatten(2, (MAX_ORDER, -1))
        fit = torch.einsum("blok,blpk->blpo", query, keys) / keys.shape[-1] ** 0.5
        scores = self.to_token(hidden) + F.pad(fit.flatten(2), (N_TYPES, 1))
        return scores.masked_fill(~legal, -math.inf).log_softmax(-1)

    def forward(self, conditions: GraphConditions, tokens: Tensor) -> Tensor:
        """Log probability (n_systems,) of ordered skeletons, as sequences (n_systems, length) that end in `STOP`."""
        reading = Reading.of(tokens[:, :-1])
        steps = self.log_probs(self.hidden(conditions, tokens[:, :-1], reading), reading, reading.legal())
        return steps.gather(2, tokens[..., None]).squeeze(2).sum(1)
