"""Training of a graph energy: denoising, contrast with negatives, and properties, in one pass per batch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matgen.batch.state import State
from matgen.datasets.crystals import Crystals
from matgen.nn.graph_energy import GraphEnergy, GraphOutput, energy_per_atom
from matgen.runtime.random import normal, uniform
from matgen.targets.distributions import Distribution
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.templates.noise import CLEAN, difference, per_system, scales
from matgen.templates.steps import square_length
from matgen.training.config import TrainConfig
from matgen.training.denoising import conservative_loss, denoising_loss, noised, own_samples, turned_to
from matgen.training.graph_loss import GraphLoss
from matgen.training.likelihood import errors, joined, negative_log_likelihood, predicted
from matgen.training.loop import bucketed
from matgen.training.negatives import NEGATIVES, Wrong
from matgen.training.plan import Plan, Predict, rows_in_words
from matgen.training.properties import PropertyTargets, trainable, validation


class Table(Protocol):
    """Materials as templates and geometries."""

    @property
    def n_atoms(self) -> Tensor:
        """Atoms of each material (n,)."""
        ...

    def batch(self, rows: Tensor) -> tuple[TemplateBatch, Geometry]:
        """Return templates and geometries of some rows."""
        ...


CRYSTAL_LOSS = GraphLoss()

Negative = Callable[[TemplateBatch, Geometry, torch.Generator], Wrong]


class GraphObjective:
    """Sum of denoising, contrast with negatives, and likelihood of the properties.

    Args:
        table: crystals or molecules.
        rows: rows to train on.
        val_rows: rows to validate on.
        targets: labels of the table.
        loss: noise levels and weights.
        negatives: classes of negatives, by name.
    """

    def __init__(
        self,
        table: Table,
        rows: Tensor,
        val_rows: Tensor,
        targets: PropertyTargets,
        loss: GraphLoss = CRYSTAL_LOSS,
        negatives: Mapping[str, Negative] = NEGATIVES,
    ) -> None:
        self.table, self.rows, self.val_rows = table, rows, val_rows
        self.targets, self.weights, self.negatives = targets, loss, negatives
        self.sizes = table.n_atoms[rows]

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield rows of the training split, similar numbers of atoms together."""
        for batch in bucketed(self.sizes, batch_size, generator):
            yield self.rows[batch]

    def loss(self, model: GraphEnergy, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and its parts."""
        w = self.weights
        templates, geometry = self.table.batch(rows)
        templates = _some_stereo_dropped(templates, w.drop_stereo, generator)
        n_real = max(1, int(w.real_share * len(rows)))
        sigma = torch.exp(w.spread_sigma * normal(rows.shape, generator, geometry.lattice))
        sigma = (w.median_sigma * sigma).clamp(w.lowest_sigma, w.highest_sigma)
        sigma[:n_real] = self._low(n_real, generator, sigma)
        dirty, back = noised(templates, geometry, sigma, generator)
        width = sigma
        if n_own := int(w.own_share * len(rows)):
            noise = (sigma, dirty, back)
            sigma, width, dirty, back = self.with_own(model, templates, geometry, noise, n_own, generator)
        false_templates, false_geometry = self._wrong(model, templates, geometry, n_real, generator)
        n_false = false_templates.n_systems
        false_sigma = self._low(n_false, generator, sigma)
        false_geometry, _ = noised(false_templates, false_geometry, false_sigma, generator)
        state = expand(*concatenated([(templates, dirty), (false_templates, false_geometry)]))
        all_sigma = torch.cat([sigma, false_sigma])
        output = model(state, all_sigma)
        first = _first_systems(output, templates)
        denoising, parts = denoising_loss(first, templates, dirty, back, sigma, width)
        level = detached_level(output, state, all_sigma)
        contrast = F.softplus(level[:n_real]).mean() + F.softplus(-level[len(rows) :]).sum() / max(1, n_false)
        likelihood, figures = negative_log_likelihood(model.heads(first.embedding), self.targets.rows(rows))
        total = w.direct * denoising + w.contrast * contrast + w.properties * likelihood
        if w.conservative:
            slope = conservative_loss(model, templates, dirty, back, sigma, width)
            total, parts = total + w.conservative * slope, {**parts, "dsm_slope": slope.item()}
        return total, {**parts, "contrast": contrast.item(), "nll": likelihood.item(), **figures}

    def with_own(
        self,
        model: GraphEnergy,
        templates: TemplateBatch,
        geometry: Geometry,
        noise: tuple[Tensor, Geometry, Geometry],
        n: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Geometry, Geometry]:
        """Replace the last n systems by the model's own samples, conditioned on a low noise level.

        Returns:
            σ (n_systems,), distance from the clean system, Å (n_systems,), dirty geometries, displacements back.
        """
        sigma, dirty, back = noise
        place = torch.arange(len(sigma), device=sigma.device)
        own = place >= len(sigma) - n
        some, where = templates.select(place[own]), geometry.select(templates, place[own])
        low, high = self.weights.own_sigma
        level = low * (high / low) ** uniform((n,), generator, sigma)
        _, ended, _ = own_samples(model, some, where, generator)
        ended, _ = noised(some, ended, level / 2, generator)
        home = difference(some, turned_to(some, where, ended), ended, scales(some, ended))
        count = per_system(some, Geometry(some.free_lattice.float(), some.free_coords.float()))
        far = (square_length(some, home) / count.clamp(min=1)).sqrt()
        rest = place[~own]
        others = templates.select(rest)
        _, dirty = concatenated([(others, dirty.select(templates, rest)), (some, ended)])
        _, back = concatenated([(others, back.select(templates, rest)), (some, home)])
        sigma = torch.cat([sigma[~own], level])
        return sigma, torch.cat([sigma[~own], (level**2 + far**2).sqrt()]), dirty, back

    def _low(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        low, high = self.weights.low_sigma
        return low * (high / low) ** uniform((n,), generator, like)

    def _wrong(
        self, model: GraphEnergy, templates: TemplateBatch, geometry: Geometry, n: int, generator: torch.Generator
    ) -> tuple[TemplateBatch, Geometry]:
        """Return negatives of the first n systems, class by class, without those that could not be made wrong."""
        kinds = [*self.negatives, "sample"]
        n_kinds = len(self.negatives)
        chance = torch.tensor([(1 - self.weights.sample_share) / n_kinds] * n_kinds + [0.0])
        chance[-1] = self.weights.sample_share
        kind = torch.multinomial(chance, n, replacement=True, generator=generator)
        parts: list[tuple[TemplateBatch, Geometry]] = []
        for number, name in enumerate(kinds):
            chosen = (kind == number).nonzero().ravel().to(templates.device)
            if len(chosen) == 0:
                continue
            some, where = templates.select(chosen), geometry.select(templates, chosen)
            if name == "sample":
                made = own_samples(model, some, where, generator)
            else:
                made = self.negatives[name](some, where, generator)
            keep = made[2].nonzero().ravel()
            if len(keep):
                parts.append((made[0].select(keep), made[1].select(made[0], keep)))
        nothing = torch.zeros(0, dtype=torch.long, device=templates.device)
        return concatenated(parts or [(templates.select(nothing), geometry.select(templates, nothing))])

    @torch.no_grad()
    def validate(self, model: GraphEnergy) -> dict[str, float]:
        """Return denoising errors by noise level, AUROC by class of negatives, and property errors."""
        generator = torch.Generator().manual_seed(1)
        figures: dict[str, list[float]] = {}
        real: list[Tensor] = []
        false: dict[str, list[Tensor]] = {name: [] for name in self._classes()}
        predictions = []
        for rows in self.val_rows.split(128):
            templates, geometry = self.table.batch(rows)
            for level in (0.05, 0.2, 0.5, 1.5):
                sigma = geometry.lattice.new_full(rows.shape, level)
                dirty, back = noised(templates, geometry, sigma, generator)
                output = model(expand(templates, dirty), sigma)
                _, parts = denoising_loss(output, templates, dirty, back, sigma)
                for name, value in parts.items():
                    figures.setdefault(f"{name}_{level}", []).append(value)
            sigma = geometry.lattice.new_full(rows.shape, 0.05)
            real.append(self._levels(model, templates, geometry, sigma, generator))
            for name, levels in false.items():
                wrong = self.negatives.get(name, lambda t, g, r: own_samples(model, t, g, r))
                made = wrong(templates, geometry, generator)
                keep = made[2].nonzero().ravel()
                if len(keep):
                    some = made[0].select(keep)
                    where = made[1].select(made[0], keep)
                    levels.append(self._levels(model, some, where, sigma[keep], generator))
            low = geometry.lattice.new_full(rows.shape, 0.02)
            predictions.append(model.heads(model(expand(templates, geometry), low).embedding))
        scores = {f"auroc_{name}": auroc(torch.cat(real), torch.cat(levels)) for name, levels in false.items()}
        scores["auroc"] = sum(scores.values()) / len(scores)
        means = {name: sum(values) / len(values) for name, values in figures.items()}
        return means | scores | errors(joined(predictions), self.targets.rows(self.val_rows))

    def _classes(self) -> list[str]:
        return [*self.negatives, *(["sample"] if self.weights.sample_share else [])]

    def _levels(
        self, model: GraphEnergy, templates: TemplateBatch, geometry: Geometry, sigma: Tensor, rng: torch.Generator
    ) -> Tensor:
        dirty, _ = noised(templates, geometry, sigma, rng)
        state = expand(templates, dirty)
        return detached_level(model(state, sigma), state, sigma)


def _some_stereo_dropped(templates: TemplateBatch, share: float, generator: torch.Generator) -> TemplateBatch:
    """Remove the stereo of each molecule with this chance, since without it either enantiomer is right."""
    if len(templates.graphs.stereo_sign) == 0:
        return templates
    forget = (torch.rand(templates.n_systems, generator=generator) < share).to(templates.device)
    return replace(templates, graphs=templates.graphs.without_stereo(forget, templates.site_system))


def detached_level(output: GraphOutput, state: State, sigma: Tensor) -> Tensor:
    """Return E / N with gradients to the scalar h only (n_systems,)."""
    fixed = replace(output, displacement=output.displacement.detach(), strain=output.strain.detach())
    return energy_per_atom(fixed, state, sigma)


def auroc(real: Tensor, false: Tensor) -> float:
    """Return the probability that a negative lies above a real system; ties count half."""
    ordered = real.sort().values
    below, up_to = (torch.searchsorted(ordered, false, right=right) for right in (False, True))
    return ((below + up_to).double().mean() / (2 * len(real))).item()


def _first_systems(output: GraphOutput, templates: TemplateBatch) -> GraphOutput:
    n_sites, n = len(templates.site_system), templates.n_systems
    return GraphOutput(
        output.displacement[:n_sites], output.strain[:n], output.site_energy[:n_sites], output.embedding[:n]
    )


def plan(table: Crystals, config: TrainConfig) -> Plan:
    """Train the graph energy of crystals."""
    rows = trainable(table).nonzero().ravel()
    val = (table.split == 1).nonzero().ravel()[::9]
    objective = GraphObjective(table, rows, val, PropertyTargets.of(table, rows), config.loss or CRYSTAL_LOSS)
    model = GraphEnergy(config.model)
    predict = predictions_of_clean(table)
    return Plan(model, objective, rows_in_words(len(rows)), objective.targets, predict, validation(table))


def predictions_of_clean(table: Table) -> Predict:
    """Return a function that predicts properties of rows of a table from their noiseless geometries."""

    def embedding(model: nn.Module, rows: Tensor) -> Tensor:
        state = expand(*table.batch(rows))
        return model(state, state.cell.new_full(rows.shape, CLEAN)).embedding

    def predict(model: nn.Module, rows: Tensor) -> dict[str, Distribution]:
        return predicted(lambda chunk: model.heads(embedding(model, chunk)), rows, batch_size=128)  # type: ignore[operator]

    return predict
