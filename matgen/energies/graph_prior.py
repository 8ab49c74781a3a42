"""The learned prior of molecules as an energy."""

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.nn.conditions import Conditions
from matgen.nn.graph_prior import GraphPrior
from matgen.nn.skeleton_tokens import PaddedSkeletons, connected_orders
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.skeleton import MAX_HEAVY, Labelled, labelled_if_any


class LearnedGraphPrior(TemplateEnergy):
    """-log p(molecule) under a `GraphPrior`, given conditions; stereo is ignored.

    With π an order and K a Kekulé form, p(molecule) = Σ_(π,K) p(sequence) / |Aut| = E_q[p / q] / |Aut|; the mean
    runs over a few pairs sampled from q, which are the same for each evaluation of a molecule. It is unbiased for p.
    Molecules that the prior cannot write have infinite energy.
    """

    name = "graph_prior"

    def __init__(self, prior: GraphPrior, conditions: Conditions, *, orders: int = 4) -> None:
        super().__init__()
        self.prior, self.conditions, self.orders = prior, conditions, orders

    def network_read(self) -> object:
        """Return the network."""
        return self.prior

    @torch.no_grad()
    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,), nats; `conditions` have one row, used for all."""
        names = [MoleculeTemplate(name).without_stereo.smiles if name else "" for name in templates.smiles]
        names = names or [""] * templates.n_systems
        known = [(row, name, found) for row, name in enumerate(names) if (found := labelled_if_any(name)) is not None]
        energies = torch.full((len(names),), math.inf, device=templates.device)
        if not known:
            return energies
        sequences = self._sequences([found for _, _, found in known], [name for _, name, _ in known])
        tokens, log_q = (t.to(templates.device) for t in sequences)
        conditions = self.conditions.to(templates.device).select(torch.zeros_like(tokens[:, 0]))
        mean = (self.prior(conditions, tokens) - log_q).view(-1, self.orders).logsumexp(1) - math.log(self.orders)
        symmetry = mean.new_tensor([math.log(found.automorphisms) for _, _, found in known])
        rows = torch.tensor([row for row, _, _ in known], device=templates.device)
        return energies.index_copy(0, rows, symmetry - mean)

    def _sequences(self, molecules: Sequence[Labelled], names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens (n × orders, length) and log q (n × orders,) of the sequences of each molecule."""
        count = torch.tensor([len(found.skeletons) for found in molecules])
        forms = PaddedSkeletons.of([skeleton for found in molecules for skeleton in found.skeletons])
        uniforms = torch.cat([_uniforms(name, self.orders) for name in names])
        count, first = (t.repeat_interleave(self.orders) for t in (count, count.cumsum(0) - count))
        forms = forms.select(first + (uniforms[:, 0] * count).long())
        order, log_q = connected_orders(forms, uniforms[:, 1:])
        return forms.permuted(order).tokens(), log_q - count.log()


def _uniforms(name: str, n: int) -> Tensor:
    """Random numbers (n, 1 + MAX_HEAVY) in [0, 1) that depend on the molecule only."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.rand(n, 1 + MAX_HEAVY, generator=generator)
