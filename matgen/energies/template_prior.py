"""The learned prior of crystal templates as an energy."""

import math
from collections import Counter

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.energies.sharing import single_templates
from matgen.nn.conditions import Conditions
from matgen.nn.sites import pad_sites
from matgen.nn.template_prior import TemplatePrior
from matgen.templates.batch import TemplateBatch, crystals_of
from matgen.templates.crystal import CrystalTemplate


class LearnedTemplatePrior(TemplateEnergy):
    """-log p(template) under a `TemplatePrior`, given conditions.

    The network gives the probability of sites in one order. The probability of the set is taken as that of the
    ascending order times the number of distinct orders, which is exact if the network has learned that order does not
    matter.
    """

    name = "template_prior"

    def __init__(self, prior: TemplatePrior, conditions: Conditions) -> None:
        super().__init__()
        self.prior, self.conditions = prior, conditions

    def network_read(self) -> object:
        """Return the network."""
        return self.prior

    def floor(self, templates: TemplateBatch) -> Tensor:
        """Return minus the logarithm of the number of orders (n_systems,): no order is more probable than one."""
        orders = [log_orders(template) for template in crystals_of(single_templates(templates))]
        return -torch.tensor(orders, device=templates.device)

    @torch.no_grad()
    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,), nats; `conditions` have one row, used for all."""
        conditions = self.conditions.to(templates.device).select(torch.zeros_like(templates.space_group))
        log_p = self.prior(conditions, templates.space_group, pad_sites(templates))
        orders = [log_orders(template) for template in crystals_of(single_templates(templates))]
        return -log_p - log_p.new_tensor(orders)


def log_orders(template: CrystalTemplate) -> float:
    """Return the logarithm of the number of distinct orders of a template's sites."""
    repeats = Counter(template.sites).values()
    return math.lgamma(len(template.sites) + 1) - sum(math.lgamma(n + 1) for n in repeats)
