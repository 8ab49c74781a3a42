"""Sequences of skeletons that begin with a fragment, and what may follow it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from matgen.nn.skeleton_tokens import N_TOKENS, STOP, PaddedSkeletons, Reading, connected_orders
from matgen.templates.fragments import Fragment
from matgen.templates.skeleton import MAX_HEAVY, MAX_ORDER, N_TYPES


@dataclass(frozen=True)
class HeldFragments:
    """The beginnings of sequences, each with the atoms of the fragment in an order of its own.

    Attributes:
        tokens: of the fragment, with all its bonds (n_systems, length).
        opened: open positions of each of its atoms, in that order; 0 for other atoms (n_systems, MAX_HEAVY).
        n_atoms: of the fragment.
    """

    tokens: Tensor
    opened: Tensor
    n_atoms: int

    @classmethod
    def of(cls, fragment: Fragment, n: int, generator: torch.Generator) -> "HeldFragments":
        """Write a fragment n times, each in a random Kekulé form and a random connected order."""
        form = torch.randint(len(fragment.skeletons), (n,), generator=generator)
        forms = PaddedSkeletons.of(fragment.skeletons).select(form)
        order, _ = connected_orders(forms, torch.rand(n, MAX_HEAVY, generator=generator))
        opened = F.pad(torch.tensor(fragment.opened), (0, MAX_HEAVY - fragment.n_heavy))
        tokens = forms.permuted(order).tokens()[:, :-1]
        return cls(tokens, opened[order], fragment.n_heavy)

    def to(self, device: torch.device) -> "HeldFragments":
        """The same on another device."""
        return replace(self, tokens=self.tokens.to(device), opened=self.opened.to(device))

    def select(self, rows: Tensor) -> "HeldFragments":
        """The beginnings of these rows, or of this mask."""
        return replace(self, tokens=self.tokens[rows], opened=self.opened[rows])

    def limited(self, tokens: Tensor, now: Reading) -> Reading:
        """Return a reading in which an atom of the fragment has as much free valence as open positions are left.

        Args:
            tokens: so far (n_systems, length).
            now: the reading after the last token.
        """
        own = torch.arange(MAX_HEAVY, device=tokens.device) < self.n_atoms
        return replace(now, free=torch.where(own, self._left(tokens)[:, None], now.free))

    def permitted(self, tokens: Tensor, now: Reading) -> Tensor:
        """Return which next tokens (n_systems, N_TOKENS) keep the fragment.

        Its atoms take single bonds at open positions only, none among each other and each to an atom of its own;
        the end comes when none is open.
        """
        allowed = torch.ones(len(tokens), N_TOKENS, dtype=torch.bool, device=tokens.device)
        bond = torch.arange(N_TYPES, STOP, device=tokens.device)
        to_fragment = (bond - N_TYPES) // MAX_ORDER < self.n_atoms
        single = (bond - N_TYPES) % MAX_ORDER == 0
        allowed[:, N_TYPES:STOP] = ~to_fragment | (single & ~self._bonded(tokens)[:, None])
        within = now.newest[:, 0] < self.n_atoms
        allowed[:, N_TYPES:STOP] &= ~within[:, None]
        allowed[:, STOP] = self._left(tokens).sum(1) == 0
        return allowed

    def _bonded(self, tokens: Tensor) -> Tensor:
        """Whether the newest atom of the rest is bonded to the fragment already (n_systems,)."""
        added = tokens[:, self.tokens.shape[1] :]
        is_bond = (added >= N_TYPES) & (added < STOP)
        of_newest = (added < N_TYPES).flip(1).cumsum(1).flip(1) == 0
        return (is_bond & of_newest & ((added - N_TYPES) // MAX_ORDER < self.n_atoms)).any(1)

    def _left(self, tokens: Tensor) -> Tensor:
        """Open positions of each atom that are left (n_systems, MAX_HEAVY)."""
        added = tokens[:, self.tokens.shape[1] :]
        is_bond = (added >= N_TYPES) & (added < STOP)
        partner = ((added - N_TYPES) // MAX_ORDER).clamp(0, MAX_HEAVY - 1)
        used = F.one_hot(partner, MAX_HEAVY) * is_bond[..., None]
        own = torch.arange(MAX_HEAVY, device=tokens.device) < self.n_atoms
        return (self.opened - used.sum(1)).clamp(min=0) * own
