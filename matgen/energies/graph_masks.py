"""Masks of the next token of a skeleton, from the rules on molecules."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from matgen.nn.skeleton_tokens import STOP, Reading, valences
from matgen.runtime.devices import per_device
from matgen.templates.molecule_rules import HEAVY_ELEMENTS, MoleculeRules, hydrogens_at_most
from matgen.templates.skeleton import ATOM_TYPES, MAX_HEAVY, MAX_ORDER, N_TYPES

_HIGHEST = max(HEAVY_ELEMENTS)
_MANY = MAX_HEAVY**2


def permitted(rules: MoleculeRules, tokens: Tensor, now: Reading) -> Tensor:
    """Return which next tokens (n_systems, N_TOKENS) leave the rules, except patterns, satisfiable.

    Args:
        rules: hard constraints.
        tokens: so far (n_systems, length).
        now: the reading after the last token.
    """
    limits, counts = _Limits.of(rules, tokens.device), _Counts.of(tokens, now)
    return torch.cat([_atoms(limits, counts), _bonds(limits, counts), _stop(limits, counts)[:, None]], dim=1)


@dataclass(frozen=True)
class _Limits:
    """Rules as numbers: limits on a complete skeleton.

    Attributes:
        limit: most atoms of each element, by atomic number (_HIGHEST + 1,).
        required: elements that must occur (_HIGHEST + 1,), bool.
        n_heavy: fewest and most atoms.
        charge: net formal charge.
        closures: fewest and most bond orders beyond those of a tree of single bonds.
        max_rings: most rings.
    """

    limit: Tensor
    required: Tensor
    n_heavy: tuple[int, int]
    charge: int
    closures: tuple[int, int]
    max_rings: int

    @classmethod
    def of(cls, rules: MoleculeRules, device: torch.device) -> "_Limits":
        heavy = {z: n for z, n in rules.composition if z != 1} or dict.fromkeys(rules.allowed_elements, MAX_HEAVY)
        limit = torch.zeros(_HIGHEST + 1, dtype=torch.long, device=device)
        limit[list(heavy)] = limit.new_tensor(list(heavy.values()))
        required = torch.zeros_like(limit, dtype=torch.bool)
        required[sorted(rules.required_elements)] = True
        n_heavy, closures = rules.n_heavy, (0, _MANY)
        if rules.composition:
            spare = hydrogens_at_most(dict(rules.composition), rules.charge) - dict(rules.composition).get(1, 0)
            required, n_heavy, closures = limit > 0, (sum(heavy.values()),) * 2, (spare // 2,) * 2
        max_rings = _MANY if rules.max_rings is None else rules.max_rings
        return cls(limit, required, n_heavy, rules.charge, closures, max_rings)

    def needed(self, count: Tensor, net: Tensor, size: Tensor) -> Tensor:
        """Least number of further atoms (...), given counts (..., _HIGHEST + 1), net charges and sizes (...)."""
        missing = (self.required & (count == 0)).sum(-1)
        return torch.stack([missing, (net - self.charge).abs(), self.n_heavy[0] - size]).amax(0).clamp(min=0)


@dataclass(frozen=True)
class _Counts:
    """The skeleton so far, as numbers.

    Attributes:
        count: atoms by atomic number (n_systems, _HIGHEST + 1).
        net: charge (n_systems,).
        size: atoms (n_systems,).
        free: free valence of all atoms together (n_systems,).
        closures: bond orders beyond those of a tree of single bonds; a new atom still lacks its first (n_systems,).
        rings: bonds beyond those of a tree, likewise (n_systems,).
    """

    count: Tensor
    net: Tensor
    size: Tensor
    free: Tensor
    closures: Tensor
    rings: Tensor

    @classmethod
    def of(cls, tokens: Tensor, now: Reading) -> "_Counts":
        number, charge = _type_tables(tokens.device)
        kind, size = now.kind[:, 0], now.newest[:, 0] + 1
        is_bond = (tokens >= N_TYPES) & (tokens < STOP)
        tree = (size - 1).clamp(min=0)
        return cls(
            count=F.one_hot(number[kind], _HIGHEST + 1).sum(1),
            net=charge[kind].sum(1),
            size=size,
            free=now.free[:, 0].sum(1),
            closures=((tokens - N_TYPES) % MAX_ORDER + 1).mul(is_bond).sum(1) - tree,
            rings=is_bond.sum(1) - tree,
        )


def _atoms(limits: _Limits, counts: _Counts) -> Tensor:
    """Types of atoms (n_systems, N_TYPES) that may follow."""
    number, charge = _type_tables(counts.size.device)
    own = F.one_hot(number[:-1], _HIGHEST + 1)
    count, size = counts.count[:, None] + own, counts.size[:, None] + 1
    needed = limits.needed(count, counts.net[:, None] + charge[:-1], size.expand(-1, N_TYPES))
    free = counts.free[:, None] + valences(size.device)[:-1] - 2 * (size > 1).long()
    fits = ((count <= limits.limit) | (own == 0)).all(2) & (needed <= limits.n_heavy[1] - size)
    return fits & ((free > 0) | (needed == 0))


def _bonds(limits: _Limits, counts: _Counts) -> Tensor:
    """Bonds (n_systems, (MAX_HEAVY - 1) × MAX_ORDER) that may follow; the partner does not matter."""
    order = torch.arange(1, MAX_ORDER + 1, device=counts.size.device)
    done = limits.needed(counts.count, counts.net, counts.size) == 0
    bond = (counts.free[:, None] > 2 * order) | done[:, None]
    bond = bond & (counts.closures[:, None] + order <= limits.closures[1])
    bond = bond & (counts.rings < limits.max_rings)[:, None]
    return bond.repeat(1, MAX_HEAVY - 1)


def _stop(limits: _Limits, counts: _Counts) -> Tensor:
    """Whether the skeleton may end here (n_systems,)."""
    return (limits.needed(counts.count, counts.net, counts.size) == 0) & (counts.closures >= limits.closures[0])


@per_device
def _type_tables() -> tuple[Tensor, Tensor]:
    """Atomic number and charge of each type of atom, zero for none (N_TYPES + 1,)."""
    number, charge, _ = zip(*ATOM_TYPES, (0, 0, 0), strict=True)
    return torch.tensor(number), torch.tensor(charge)
