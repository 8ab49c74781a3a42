"""An autoregressive density over crystal templates.

The network reads conditions, the space group, then sites in random order (position, then element), then stop. With
tokens x_1..x_T in one order, p(x) = Π_t p(x_t | x_<t). The order is an auxiliary variable: the density is exact over
ordered templates, and a bound over templates. Illegal continuations have probability zero: positions of other groups, a
second use of a position without free coordinates, too many atoms. (Cf. WyFormer, Kazeev et al. 2025.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matgen.nn.conditions import CRYSTAL_GRIDS, N_ELEMENTS, ConditionEmbedding, Conditions
from matgen.nn.sites import ElementEmbedding, PaddedSites, PositionEmbedding
from matgen.nn.transformer import Transformer, causal
from matgen.runtime.devices import per_device
from matgen.templates.wyckoff import wyckoff_table

MAX_POSITIONS = 27


@dataclass(frozen=True)
class TemplatePriorConfig:
    """Size of the network."""

    width: int = 192
    layers: int = 5
    heads: int = 6
    dropout: float = 0.1
    max_atoms: int = 20


@per_device
def group_positions() -> tuple[Tensor, Tensor]:
    """Return rows of the Wyckoff table by space_group - 1 and letter (230, 27), and which of them exist."""
    table = wyckoff_table()
    rows = torch.zeros(230, MAX_POSITIONS, dtype=torch.long)
    n = table.n_positions
    group, letter = table.space_group[:n] - 1, table.letter[:n]
    rows[group, letter] = torch.arange(n)
    exists = torch.zeros(230, MAX_POSITIONS, dtype=torch.bool)
    exists[group, letter] = True
    return rows, exists


class TemplatePrior(nn.Module):
    """Log probabilities of each token given the conditions and the tokens before it."""

    def __init__(self, config: TemplatePriorConfig = TemplatePriorConfig()) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conditions = ConditionEmbedding(width, config.max_atoms, CRYSTAL_GRIDS)
        self.group = nn.Embedding(231, width)
        self.position = PositionEmbedding(width)
        self.element = ElementEmbedding(width)
        self.remaining = nn.Embedding(config.max_atoms + 1, width)
        self.transformer = Transformer(width, config.layers, config.heads, dropout=config.dropout)
        self.to_group = nn.Linear(width, 230)
        self.to_position = nn.Linear(width, width)
        self.stop = nn.Linear(width, 1)
        self.position_bias = nn.Embedding(wyckoff_table().n_positions, 1)
        self.to_element = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.element_bias = nn.Parameter(torch.zeros(N_ELEMENTS))

    def hidden(self, conditions: Conditions, space_group: Tensor, sites: PaddedSites) -> Tensor:
        """Return hidden states (n_systems, 2 + length, width): after the conditions, the group, each site."""
        condition = self.conditions(conditions)
        n_atoms = wyckoff_table(condition.device).multiplicity[sites.position] * sites.present
        remaining = (self.config.max_atoms - n_atoms.cumsum(1)).clamp(min=0)
        tokens = self.position(sites.position) + self.element(sites.element) + self.remaining(remaining)
        sequence = torch.cat([torch.zeros_like(condition)[:, None], self.group(space_group)[:, None], tokens], dim=1)
        sequence = sequence + condition[:, None]
        return self.transformer(sequence, causal(sequence.shape[1], condition.device))

    def group_logits(self, hidden: Tensor) -> Tensor:
        """Return log probabilities of the space group (n_systems, 230) from the first hidden state."""
        return self.to_group(hidden).log_softmax(-1)

    def position_logits(self, hidden: Tensor, space_group: Tensor, legal: Tensor) -> Tensor:
        """Return log probabilities of the next position by letter, and of stopping in the last column.

        Args:
            hidden: (n_systems, length, width).
            space_group: (n_systems,).
            legal: which continuations exist (n_systems, length, 28), the last column for stopping.

        Returns:
            (n_systems, length, 28).
        """
        rows = group_positions(space_group.device)[0][space_group - 1]
        keys = self.position.table()[rows]
        scores = torch.einsum("btw,bpw->btp", self.to_position(hidden), keys) / keys.shape[-1] ** 0.5
        scores = scores + self.position_bias(rows).squeeze(-1)[:, None]
        return torch.cat([scores, self.stop(hidden)], dim=-1).masked_fill(~legal, -1e9).log_softmax(-1)

    def element_logits(self, hidden: Tensor, position: Tensor, allowed: Tensor) -> Tensor:
        """Return log probabilities of the element (..., 95) on a position (...), among the allowed ones (..., 95)."""
        query = self.to_element(torch.cat([hidden, self.position(position)], dim=-1))
        scores = query @ self.element.table().T / query.shape[-1] ** 0.5 + self.element_bias
        return scores.masked_fill(~allowed, -1e9).log_softmax(-1)

    def forward(self, conditions: Conditions, space_group: Tensor, sites: PaddedSites) -> Tensor:
        """Return log probabilities (n_systems,) of ordered templates."""
        hidden = self.hidden(conditions, space_group, sites)
        total = self.group_logits(hidden[:, 0]).gather(1, (space_group - 1)[:, None]).squeeze(1)
        legal = legal_continuations(space_group, sites, self.config.max_atoms)
        steps = self.position_logits(hidden[:, 1:], space_group, legal)
        count = sites.present.sum(1)
        total = total + steps[torch.arange(len(count), device=count.device), count, -1]
        letter = wyckoff_table(count.device).letter[sites.position]
        chosen = steps[:, :-1].gather(2, letter[..., None]).squeeze(2)
        allowed = torch.arange(N_ELEMENTS, device=count.device) > 0
        elements = self.element_logits(hidden[:, 1:-1], sites.position, allowed)
        chosen = chosen + elements.gather(2, sites.element[..., None]).squeeze(2)
        return total + (chosen * sites.present).sum(1)


def legal_continuations(space_group: Tensor, sites: PaddedSites, max_atoms: int) -> Tensor:
    """Return which letters, or the stop, may come after the first t sites (n_systems, 1 + length, 28), bool."""
    table = wyckoff_table(space_group.device)
    rows, exists = (t[space_group - 1] for t in group_positions(space_group.device))
    n_systems, length = sites.position.shape
    atoms = (table.multiplicity[sites.position] * sites.present).cumsum(1)
    remaining = max_atoms - nn.functional.pad(atoms, (1, 0))
    fits = table.multiplicity[rows][:, None] <= remaining[..., None]
    used = atoms.new_zeros(n_systems, length + 1, MAX_POSITIONS)
    used[:, 1:].scatter_(2, table.letter[sites.position][..., None], sites.present[..., None].long())
    taken = (used.cumsum(1) > 0) & (table.dof[rows] == 0)[:, None]
    may_stop = torch.arange(length + 1, device=atoms.device)[None, :, None] > 0
    return torch.cat([exists[:, None] & fits & ~taken, may_stop.expand(n_systems, -1, 1)], dim=2)
