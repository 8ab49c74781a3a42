"""A simple prior of crystal templates: independent frequencies, against which the learned one can be compared."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.energies.template_prior import log_orders
from matgen.templates.batch import TemplateBatch, crystals_of
from matgen.templates.wyckoff import wyckoff_table

N_GROUPS, N_POSITIONS, N_ELEMENTS, MOST_SITES = 230, 1731, 95, 20


@dataclass(frozen=True)
class Frequencies:
    """Counts of templates, each beginning at one, so that nothing has probability zero.

    Attributes:
        group: space groups, from 1 (230,).
        position: Wyckoff positions (1731,).
        element: elements, from hydrogen (95,).
        n_sites: numbers of sites, from 1 (20,).
    """

    group: Tensor
    position: Tensor
    element: Tensor
    n_sites: Tensor

    @classmethod
    def none(cls) -> Self:
        """Return the pseudo-counts alone."""
        return cls(*(torch.ones(n, dtype=torch.float64) for n in (N_GROUPS, N_POSITIONS, N_ELEMENTS, MOST_SITES)))

    def plus(self, templates: TemplateBatch) -> Self:
        """Return the counts with those of more templates, of at most 20 sites each."""
        return type(self)(
            self.group + torch.bincount(templates.space_group - 1, minlength=N_GROUPS),
            self.position + torch.bincount(templates.site_position, minlength=N_POSITIONS),
            self.element + torch.bincount(templates.site_element - 1, minlength=N_ELEMENTS),
            self.n_sites + torch.bincount(templates.n_sites - 1, minlength=MOST_SITES),
        )


class FrequencyPrior(TemplateEnergy):
    """-log p(template), p = p(group) p(number of sites) Π p(position | group) p(element) times the distinct orders.

    Attributes:
        frequencies: of known templates.
    """

    name = "frequency_prior"

    def __init__(self, frequencies: Frequencies) -> None:
        super().__init__()
        self.frequencies = frequencies

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,), nats."""
        counts = self.frequencies
        owner = wyckoff_table().space_group[:N_POSITIONS]
        in_group = torch.zeros(N_GROUPS + 1, dtype=torch.float64).index_add(0, owner, counts.position)[owner]
        position, element = (counts.position / in_group).log(), (counts.element / counts.element.sum()).log()
        group, n_sites = (counts.group / counts.group.sum()).log(), (counts.n_sites / counts.n_sites.sum()).log()
        on_cpu = templates.to("cpu")
        per_site = position[on_cpu.site_position] + element[on_cpu.site_element - 1]
        log_p = group[on_cpu.space_group - 1] + n_sites[on_cpu.n_sites - 1]
        log_p = log_p.index_add(0, on_cpu.site_system, per_site)
        orders = [log_orders(template) for template in crystals_of(on_cpu.unbatch())]
        return -(log_p + log_p.new_tensor(orders)).to(templates.device)
