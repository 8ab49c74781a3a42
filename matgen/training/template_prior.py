"""Training of the template prior: maximum likelihood, with conditions dropped at random."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from matgen.datasets.crystals import Crystals
from matgen.nn.conditions import CRYSTAL_GRIDS, N_ELEMENTS, Conditions
from matgen.nn.sites import pad_sites
from matgen.nn.template_prior import TemplatePrior
from matgen.runtime.random import uniform
from matgen.templates.batch import TemplateBatch
from matgen.templates.wyckoff import wyckoff_table
from matgen.training.config import TrainConfig
from matgen.training.loop import bucketed
from matgen.training.plan import Plan, rows_in_words
from matgen.training.properties import AT_ONCE


def plan(table: Crystals, config: TrainConfig) -> Plan:
    """Train the template prior."""
    objective = PriorObjective(table)
    return Plan(TemplatePrior(config.model), objective, rows_in_words(len(objective.rows)))


def true_conditions(templates: TemplateBatch, properties: Tensor) -> Conditions:
    """Return all conditions that these crystals meet; properties (n_systems, 3) as of `known_properties`."""
    elements = torch.zeros(templates.n_systems, N_ELEMENTS, dtype=torch.bool, device=templates.device)
    elements[templates.site_system, templates.site_element] = True
    complete = torch.ones_like(templates.space_group, dtype=torch.bool)
    return Conditions(templates.n_atoms, elements, complete, properties)


def known_properties(table: Crystals) -> Tensor:
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

    def __init__(self, table: Crystals) -> None:
        self.table, self.properties = table, known_properties(table)
        self.rows, val_rows = ((table.split == split).nonzero().ravel() for split in (0, 1))
        self.val_rows = val_rows[::4]
        self.sizes = table.n_sites[self.rows]

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield rows of the training split, similar numbers of sites together."""
        for batch in bucketed(self.sizes, batch_size, generator):
            yield self.rows[batch]

    def loss(self, model: TemplatePrior, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the mean NLL in nats per crystal."""
        templates, _ = self.table.batch(rows)
        conditions = dropped(true_conditions(templates, self.properties[rows]), generator)
        nll = -model(conditions, templates.space_group, pad_sites(templates, generator)).mean()
        return nll, {"nll": nll.item()}

    @torch.no_grad()
    def validate(self, model: TemplatePrior) -> dict[str, float]:
        """Return NLL per crystal on the validation split (every fourth row), without and with all conditions."""
        plain, conditional = [], []
        generator = torch.Generator().manual_seed(0)
        for chunk in self.val_rows.split(512):
            templates, _ = self.table.batch(chunk)
            sites = pad_sites(templates, generator)
            known = true_conditions(templates, self.properties[chunk])
            plain.append(
                -model(Conditions.none(len(chunk), CRYSTAL_GRIDS).to(chunk.device), templates.space_group, sites)
            )
            conditional.append(-model(known, templates.space_group, sites))
        return {"nll": torch.cat(plain).mean().item(), "nll_conditional": torch.cat(conditional).mean().item()}


def unigram_nll(table: Crystals) -> float:
    """Return NLL per validation crystal of independent tokens: group, positions given it, elements, number of sites.

    Frequencies are those of the training split with one pseudo-count; sites in random order, as for the model.
    """
    group, element, position, sizes = (torch.ones(n) for n in (230, N_ELEMENTS, 1731, 22))
    for templates in _in_chunks(table, 0):
        group += torch.bincount(templates.space_group, minlength=231)[1:]
        element += torch.bincount(templates.site_element, minlength=N_ELEMENTS)
        position += torch.bincount(templates.site_position, minlength=1731)[:1731]
        sizes += torch.bincount(templates.n_sites, minlength=22)
    element[0] = 0
    owner = wyckoff_table().space_group[:1731]
    in_group = torch.zeros(231).index_add(0, owner, position)[owner]
    found = []
    for val in _in_chunks(table, 1):
        per_site = -(position / in_group).log()[val.site_position] - (element / element.sum()).log()[val.site_element]
        total = -(group / group.sum()).log()[val.space_group - 1] - (sizes / sizes.sum()).log()[val.n_sites]
        found.append(total.index_add(0, val.site_system, per_site))
    return torch.cat(found).mean().item()


def _in_chunks(table: Crystals, split: int) -> Iterator[TemplateBatch]:
    """Yield the templates of a split."""
    for rows in (table.split == split).nonzero().ravel().split(AT_ONCE):
        yield table.batch(rows)[0].to("cpu")
