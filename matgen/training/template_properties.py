"""Training of the properties of templates, in random equivalent descriptions of each crystal."""

from dataclasses import replace

import torch
from torch import Tensor

from matgen.datasets.crystals import Crystals
from matgen.datasets.molecules import MoleculeTable
from matgen.nn.ensemble import Ensemble
from matgen.nn.template_properties import TemplateProperties
from matgen.runtime.devices import per_device
from matgen.templates.batch import TemplateBatch
from matgen.templates.wyckoff import alternatives, wyckoff_table
from matgen.training.config import TrainConfig
from matgen.training.likelihood import LikelihoodObjective
from matgen.training.plan import Plan, rows_in_words
from matgen.training.properties import PropertyTargets, trainable, validation


def plan(table: Crystals, config: TrainConfig) -> Plan:
    """Train the properties of templates."""
    train = trainable(table).nonzero().ravel()
    targets = PropertyTargets.of(table, train)
    objective = from_templates(table, targets, train, validation(table))
    model = Ensemble(TemplateProperties, config.model)
    return Plan(model, objective, rows_in_words(len(train)), targets, objective.predict, objective.val)


def from_templates(
    table: Crystals | MoleculeTable, targets: PropertyTargets, train: Tensor, val: Tensor
) -> LikelihoodObjective:
    """Return the likelihood of the labels given templates; in training, crystals are redescribed at random."""

    def inputs(rows: Tensor, generator: torch.Generator | None) -> TemplateBatch:
        templates, _ = table.batch(rows)
        vary = generator is not None and not isinstance(table, MoleculeTable)
        return redescribed(templates, generator) if vary else templates  # type: ignore[arg-type]

    return LikelihoodObjective(inputs, table.n_sites[train], targets, train, val)


@per_device
def _equivalents() -> tuple[Tensor, Tensor, Tensor]:
    """Return position (n_alternatives, 28) by letter, and the first alternative and their number of each group."""
    offset = wyckoff_table().group_offset
    rows, counts = [], []
    for group in range(1, 231):
        letters = {tuple(a.letters.tolist()) for a in alternatives(group)}
        counts.append(len(letters))
        first = int(offset[group - 1])
        rows += [[first + letter for letter in found] + [0] * (28 - len(found)) for found in sorted(letters)]
    count = torch.tensor(counts)
    return torch.tensor(rows), count.cumsum(0) - count, count


def redescribed(templates: TemplateBatch, generator: torch.Generator) -> TemplateBatch:
    """Return each template in a random one of the equivalent descriptions that its group's normalizer gives."""
    position, first, count = _equivalents(templates.device)
    group = templates.space_group - 1
    uniform = torch.rand(templates.n_systems, generator=generator).to(templates.device)
    choice = (uniform * count[group]).long()
    letter = wyckoff_table(templates.device).letter[templates.site_position]
    renamed = position[(first[group] + choice)[templates.site_system], letter]
    return replace(templates, site_position=renamed)
