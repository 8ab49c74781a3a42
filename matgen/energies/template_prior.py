"""The learned template prior as an energy, and templates drawn from it under rules."""

import math
from collections import Counter

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.nn.conditions import Conditions
from matgen.nn.sites import pad_sites
from matgen.nn.template_prior import TemplatePrior
from matgen.templates.batch import TemplateBatch, crystals_of
from matgen.templates.crystal import CrystalTemplate


class LearnedTemplatePrior(TemplateEnergy):
    """-log p(template) under a `TemplatePrior`, given conditions.

    The network gives the probability of sites in one order; that of the set is taken as that of the ascending order
    times the number of distinct orders, which is exact as far as the network has learned that order does not matter.
    """

    name = "template_prior"

    def __init__(self, prior: TemplatePrior, conditions: Conditions) -> None:
        super().__init__()
        self.prior, self.conditions = prior, conditions

    @torch.no_grad()
    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,), nats; `conditions` hold one row, that serves for all."""
        asked = self.conditions.to(templates.device).select(torch.zeros_like(templates.space_group))
        log_p = self.prior(asked, templates.space_group, pad_sites(templates))
        orders = [log_orders(template) for template in crystals_of(templates.unbatch())]
        return -log_p - log_p.new_tensor(orders)


def log_orders(template: CrystalTemplate) -> float:
    """Logarithm of the number of distinct orders of a template's sites."""
    repeats = Counter(template.sites).values()
    return math.lgamma(len(template.sites) + 1) - sum(math.lgamma(n + 1) for n in repeats)
