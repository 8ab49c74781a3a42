"""Training of the template prior: maximum likelihood, with conditions dropped at random."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from matgen.datasets.crystals import CrystalTable
from matgen.nn.conditions import CRYSTAL_GRIDS, N_ELEMENTS, Conditions
from matgen.nn.sites import pad_sites
from matgen.nn.template_prior import TemplatePrior
from matgen.runtime.random import uniform
from matgen.templates.batch import TemplateBatch
from matgen.templates.wyckoff import wyckoff_table
from matgen.training.config import TrainConfig
from matgen.training.loop import bucketed
from matgen.training.plan import Plan, rows_in_words


def plan(table: CrystalTable, config: TrainConfig) -> Plan:
    """Train the template prior."""
    objective = PriorObjective(table)
    return Plan(TemplatePrior(config.model), objective, rows_in_words(len(objective.train)))


def true_conditions(templates: TemplateBatch, properties: Tensor) -> Conditions:
    """Return all conditions that these crystals meet; properties (n_systems, 3) as of `known_properties`."""
    elements = torch.zeros(templates.n_systems, N_ELEMENTS, dtype=torch.bool, device=templates.device)
    elements[templates.site_system, templates.site_element] = True
    complete = torch.ones_like(templates.space_group, dtype=torch.bool)
    return Conditions(templates.n_atoms, elements, complete, properties)


def known_properties(table: CrystalTable) -> Tensor:
    """Return the labels that are conditions of the prior (n, 3), NaN where unknown, in the order of `CRYSTAL_GRIDS`."""
    return torch.stack([table.label(name) for name in CRYSTAL_GRIDS], dim=1)


def dropped(known: Conditions, generator: torch.Generator, keep: float = 0.35) -> Conditions:
    """Keep each condition with probability `keep`, and of elements sometimes only some."""
    n = len(known.n_atoms)

    def coin(probability: float, *shape: int) -> Tensor:
        return uniform((n, *shape), generator, known.properties) < probability

    complete = coin(keep / 2)
    some = coin(keep / 2, 1) & coin(0.5, N_ELEMENTS)
    unknown = torch.full_like(known.properties, math.nan)
    return Conditions(
        n_atoms=torch.where(coin(keep), known.n_atoms, 0),
        elements=known.elements & (complete[:, None] | some),
        complete=complete,
        properties=torch.where(coin(keep + 0.15, 3), known.properties, unknown),
    )


class PriorObjective:
    """Negative log likelihood of randomly ordered templates."""

    def __init__(self, table: CrystalTable) -> None:
        self.train = table.select(table.split == 0)
        self.val = table.select(table.split == 1)
        self.sizes = torch.bincount(self.train.templates.site_system)

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield rows of the training split, similar numbers of sites together."""
        return bucketed(self.sizes, batch_size, generator)

    def loss(self, model: TemplatePrior, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the mean NLL in nats per crystal."""
        templates = self.train.templates.select(rows)
        conditions = dropped(true_conditions(templates, known_properties(self.train)[rows]), generator)
        nll = -model(conditions, templates.space_group, pad_sites(templates, generator)).mean()
        return nll, {"nll": nll.item()}

    @torch.no_grad()
    def validate(self, model: TemplatePrior) -> dict[str, float]:
        """Return NLL per crystal on the validation split (every fourth row), without and with all conditions."""
        rows = torch.arange(0, len(self.val), 4, device=self.val.split.device)
        plain, conditional = [], []
        generator = torch.Generator().manual_seed(0)
        for chunk in rows.split(512):
            templates = self.val.templates.select(chunk)
            sites = pad_sites(templates, generator)
            known = true_conditions(templates, known_properties(self.val)[chunk])
            plain.append(
                -model(Conditions.none(len(chunk), CRYSTAL_GRIDS).to(chunk.device), templates.space_group, sites)
            )
            conditional.append(-model(known, templates.space_group, sites))
        return {"nll": torch.cat(plain).mean().item(), "nll_conditional": torch.cat(conditional).mean().item()}


def unigram_nll(table: CrystalTable) -> float:
    """Return NLL per validation crystal of independent tokens: group, positions given it, elements, number of sites.

    Frequencies are those of the training split with one pseudo-count; sites in random order, as for the model.
    """
    train, val = table.select(table.split == 0).templates, table.select(table.split == 1).templates
    group = torch.bincount(train.space_group, minlength=231)[1:] + 1.0
    element = torch.bincount(train.site_element, minlength=N_ELEMENTS) + 1.0
    element[0] = 0
    position = torch.bincount(train.site_position, minlength=1731) + 1.0
    owner = wyckoff_table().space_group[:1731]
    in_group = torch.zeros(231).index_add(0, owner, position)[owner]
    sizes = torch.bincount(torch.bincount(train.site_system), minlength=22) + 1.0
    per_site = -(position / in_group).log()[val.site_position] - (element / element.sum()).log()[val.site_element]
    total = -(group / group.sum()).log()[val.space_group - 1]
    total = total - (sizes / sizes.sum()).log()[torch.bincount(val.site_system)]
    return total.index_add(0, val.site_system, per_site).mean().item()
