"""An autoregressive density over molecules as kekulised skeletons of heavy atoms.

The network reads conditions, then the tokens of a skeleton (`matgen.nn.skeleton_tokens`). With tokens x_1..x_T in one
order, p(x) = Π_t p(x_t | x_<t), which is exact; order and Kekulé form are auxiliary variables, and p(molecule) is the
sum over all sequences of that molecule. Tokens that would exceed a valence or the number of atoms have probability
zero. (Cf. You et al., GraphRNN, 2018; Li et al., Learning Deep Generative Models of Graphs, 2018.)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matgen.nn.conditions import MOLECULE_GRIDS, ConditionEmbedding, Conditions
from matgen.nn.skeleton_tokens import N_FEATURES, N_TOKENS, Reading
from matgen.nn.transformer import Transformer, causal
from matgen.templates.skeleton import MAX_HEAVY, MAX_ORDER, N_TYPES


@dataclass(frozen=True)
class GraphPriorConfig:
    """Size of the network."""

    width: int = 160
    layers: int = 5
    heads: int = 5
    key: int = 32
    dropout: float = 0.0


class GraphPrior(nn.Module):
    """Log probabilities of each token given the conditions and the tokens before it."""

    def __init__(self, config: GraphPriorConfig = GraphPriorConfig()) -> None:
        super().__init__()
        self.config = config
        width, key = config.width, config.key
        self.conditions = ConditionEmbedding(width, MAX_HEAVY, MOLECULE_GRIDS)
        self.token = nn.Embedding(N_TOKENS + 1, width)
        self.newest = nn.Embedding(MAX_HEAVY + 1, width)
        self.atoms = nn.Linear(MAX_HEAVY * N_FEATURES, width, bias=False)
        self.transformer = Transformer(width, config.layers, config.heads, dropout=config.dropout)
        self.to_token = nn.Linear(width, N_TOKENS)
        self.query = nn.Linear(width, MAX_ORDER * key)
        self.keys = nn.Linear(N_FEATURES, key, bias=False)

    def hidden(self, conditions: Conditions, tokens: Tensor, reading: Reading) -> Tensor:
        """Return hidden states after the conditions and each token (n_systems, 1 + length, width).

        Args:
            conditions: one row for each system.
            tokens: written so far (n_systems, length).
            reading: of these tokens.
        """
        condition = self.conditions(conditions)
        sequence = self.token(F.pad(tokens, (1, 0), value=N_TOKENS)) + condition[:, None]
        sequence = sequence + self.newest(reading.newest.clamp(max=MAX_HEAVY - 1) + 1)
        sequence = sequence + self.atoms(reading.features().flatten(2).to(sequence.dtype))
        return self.transformer(sequence, causal(sequence.shape[1], tokens.device))

    def log_probs(self, hidden: Tensor, reading: Reading, legal: Tensor) -> Tensor:
        """Return log probabilities of the next token (n_systems, length, N_TOKENS), -inf where it is not legal.

        A bond is scored by a product of a query of the sequence and a key of the partner.

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

    def forward(self, conditions: Conditions, tokens: Tensor) -> Tensor:
        """Return log probabilities (n_systems,) of sequences (n_systems, length) that end in `STOP`."""
        reading = Reading.of(tokens[:, :-1])
        steps = self.log_probs(self.hidden(conditions, tokens[:, :-1], reading), reading, reading.legal())
        return steps.gather(2, tokens[..., None]).squeeze(2).sum(1)
