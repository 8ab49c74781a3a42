"""Training of the density of geometries: maximum likelihood."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from matgen.datasets.crystals import CrystalTable
from matgen.nn import layout_embedding
from matgen.nn.geometry_density import GeometryDensity
from matgen.templates.batch import crystals_of
from matgen.templates.prototypes import layout
from matgen.training.config import TrainConfig
from matgen.training.loop import bucketed
from matgen.training.plan import Plan, rows_in_words
from matgen.training.properties import trainable


def plan(table: CrystalTable, config: TrainConfig) -> Plan:
    """Train the density of geometries."""
    objective = GeometryObjective(table)
    known = table.templates.select(objective.rows)
    n_layouts, n_parameters = layout_embedding.sizes(known)
    model = GeometryDensity(replace(config.model, known_layouts=n_layouts, known_parameters=n_parameters))
    model.layout_embedding.register(known)
    return Plan(model, objective, rows_in_words(len(objective.rows)))


class GeometryObjective:
    """Negative log likelihood per crystal; crystals of rare Wyckoff layouts are sampled more often than they occur.

    A layout with n crystals has the weight √n instead of n: where many crystals share a layout, averages over them
    serve as well, and the network is needed for the rare layouts.
    """

    def __init__(self, table: CrystalTable) -> None:
        self.table = table
        self.rows = trainable(table).nonzero().ravel()
        self.val_rows = (table.split == 1).nonzero().ravel()[::4]
        some = table.templates.select(self.rows)
        layouts = [layout(template) for template in crystals_of(some.unbatch())]
        number = {where: i for i, where in enumerate(dict.fromkeys(layouts))}
        index = torch.tensor([number[where] for where in layouts])
        self.weight = torch.bincount(index)[index].double() ** -0.5
        lattice = table.templates.free_lattice.sum(1)
        coords = torch.zeros_like(lattice)
        coords = coords.index_add(0, table.templates.site_system, table.templates.free_coords.sum(1))
        sites = torch.bincount(table.templates.site_system)
        self.sizes = (lattice + coords + sites)[self.rows]

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield weighted rows of the training split, similar lengths together."""
        while True:
            sampled = torch.multinomial(self.weight, 64 * batch_size, replacement=True, generator=generator)
            inner = bucketed(self.sizes[sampled], batch_size, generator, pool=64)
            for _ in range(64):
                yield self.rows[sampled[next(inner)]]

    def loss(self, model: GeometryDensity, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the mean NLL in nats per free parameter."""
        del generator
        templates = self.table.templates.select(rows)
        log_prob = model.log_prob(templates, self.table.geometry.select(self.table.templates, rows))
        count = templates.free_lattice.sum() + templates.free_coords.sum()
        loss = -log_prob.sum() / count
        return loss, {"nll": -log_prob.mean().item()}

    @torch.no_grad()
    def validate(self, model: GeometryDensity) -> dict[str, float]:
        """Return NLL per crystal and per free parameter on the validation split (every fourth row)."""
        total, count = 0.0, 0
        for rows in self.val_rows.split(256):
            templates = self.table.templates.select(rows)
            total -= model.log_prob(templates, self.table.geometry.select(self.table.templates, rows)).sum().item()
            count += int(templates.free_lattice.sum() + templates.free_coords.sum())
        return {"nll": total / len(self.val_rows), "nll_per_parameter": total / count}
