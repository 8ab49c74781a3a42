"""Denoising, contrast and properties for the graph energy of crystals and of molecules."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from matgen.batch.state import State
from matgen.nn.graph_energy import (
    SIGMA_LATTICE,
    SIGMA_SITE,
    GraphEnergy,
    GraphOutput,
    energy_per_atom,
    output_scale,
    predicted_step,
)
from matgen.runtime.config import ConfigError
from matgen.runtime.random import normal, uniform
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.templates.noise import difference, moved, per_system, scales, standard_normal
from matgen.templates.steps import square_length
from matgen.templates.wyckoff import wyckoff_table
from matgen.training.loop import bucketed
from matgen.training.negatives import NEGATIVES, Wrong
from matgen.training.properties import PropertyTargets, errors, joined, negative_log_likelihood


@dataclass(frozen=True)
class GraphLoss:
    """Noise levels and weights of the parts of the loss.

    Attributes:
        median_sigma, spread_sigma: of the log-normal noise levels of denoising, Å and e-folds.
        low_sigma: range of the noise at which real and wrong crystals are told apart, Å.
        lowest_sigma, highest_sigma: bounds of all noise, Å.
        real_share: share of a batch that is used at low noise and contrasted with as many negatives.
        direct: weight of denoising by the displacement head.
        conservative: weight of denoising by the slope of the energy itself, which takes a second backward pass.
        contrast, properties: weights of the other parts.
        sample_share: share of the negatives that are the model's own flawed samples.
        own_share: share of a batch that shows where the model's own samples end, and the way back to the truth.
        own_sigma: range of the noise level that the model is told of these, Å.
        drop_stereo: share of molecules that are shown without the hands that they have.
    """

    median_sigma: float = 0.3
    spread_sigma: float = 1.0
    low_sigma: tuple[float, float] = (0.02, 0.1)
    lowest_sigma: float = 0.02
    highest_sigma: float = 3.0
    real_share: float = 0.33
    direct: float = 1.0
    conservative: float = 0.0
    contrast: float = 0.3
    properties: float = 0.3
    sample_share: float = 0.25
    own_share: float = 0.0
    own_sigma: tuple[float, float] = (0.03, 0.3)
    drop_stereo: float = 0.3

    def __post_init__(self) -> None:
        """Check that the shares fit into a batch.

        Raises:
            ConfigError: they do not.
        """
        if not 0 <= self.real_share + self.own_share <= 1:
            raise ConfigError(f"expected real_share + own_share of at most 1, got {self.real_share} + {self.own_share}")


def noised(
    templates: TemplateBatch, geometry: Geometry, sigma: Tensor, generator: torch.Generator
) -> tuple[Geometry, Geometry]:
    """A noised geometry and the scaled displacement (Å) back to the clean one.

    The lattice is noised first, and the noise of the sites is measured in the noised cell, which is all that a
    sampler knows. Where a group's origin is arbitrary, sites are noised without moving their centre.
    """
    noise = centred(templates, standard_normal(geometry, generator))
    still = torch.zeros_like(noise.coords)
    stretched = moved(templates, geometry, replace(noise, coords=still), scales(templates, geometry), sigma)
    scale = scales(templates, stretched)
    flat = replace(noise, lattice=torch.zeros_like(noise.lattice))
    result = moved(templates, stretched, flat, scale, sigma)
    return result, difference(templates, geometry, result, scale)


def centred(templates: TemplateBatch, noise: Geometry) -> Geometry:
    """The same noise without any shift of all atoms along axes where the origin is arbitrary."""
    free_axis = wyckoff_table(templates.device).free_axis[templates.space_group]
    weight = templates.site_multiplicity.to(noise.coords)[:, None]
    zeros = noise.coords.new_zeros(templates.n_systems, 3)
    mean = zeros.index_add(0, templates.site_system, noise.coords * weight)
    mean = mean / templates.n_atoms[:, None].to(mean) * free_axis
    return replace(noise, coords=noise.coords - mean[templates.site_system])


class Table(Protocol):
    """Materials as templates and geometries."""

    @property
    def templates(self) -> TemplateBatch:
        """The discrete halves."""
        ...

    @property
    def geometry(self) -> Geometry:
        """The free numbers."""
        ...


Negative = Callable[[TemplateBatch, Geometry, torch.Generator], Wrong]


class GraphObjective:
    """Loss = denoising + contrast + likelihood of the properties, in one pass per batch.

    Args:
        table: crystals or molecules.
        rows: to train on.
        val_rows: to validate on.
        targets: labels of the table.
        loss: noise levels and weights.
        negatives: what real ones are contrasted with, by name.
    """

    def __init__(
        self,
        table: Table,
        rows: Tensor,
        val_rows: Tensor,
        targets: PropertyTargets,
        loss: GraphLoss = GraphLoss(),
        negatives: Mapping[str, Negative] = NEGATIVES,
    ) -> None:
        self.table, self.rows, self.val_rows = table, rows, val_rows
        self.targets, self.weights, self.negatives = targets, loss, negatives
        self.sizes = table.templates.n_atoms[rows]

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Rows of the training split, similar numbers of atoms together."""
        for batch in bucketed(self.sizes, batch_size, generator):
            yield self.rows[batch]

    def loss(self, model: GraphEnergy, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch."""
        w = self.weights
        templates, geometry = self.table.templates.select(rows), self.table.geometry.select(self.table.templates, rows)
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
        """The last n systems put where the model's own samples end, told a low noise level, with the way back.

        Returns:
            σ (n_systems,), how far from the truth each system is, Å (n_systems,), dirty geometries, ways back.
        """
        sigma, dirty, back = noise
        place = torch.arange(len(sigma), device=sigma.device)
        own = place >= len(sigma) - n
        some, where = templates.select(place[own]), geometry.select(templates, place[own])
        low, high = self.weights.own_sigma
        told = low * (high / low) ** uniform((n,), generator, sigma)
        _, ended, _ = own_samples(model, some, where, generator)
        ended, _ = noised(some, ended, told / 2, generator)
        home = difference(some, turned_to(some, where, ended), ended, scales(some, ended))
        count = per_system(some, Geometry(some.free_lattice.float(), some.free_coords.float()))
        far = (square_length(some, home) / count.clamp(min=1)).sqrt()
        rest = place[~own]
        others = templates.select(rest)
        _, dirty = concatenated([(others, dirty.select(templates, rest)), (some, ended)])
        _, back = concatenated([(others, back.select(templates, rest)), (some, home)])
        sigma = torch.cat([sigma[~own], told])
        return sigma, torch.cat([sigma[~own], (told**2 + far**2).sqrt()]), dirty, back

    def _low(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        low, high = self.weights.low_sigma
        return low * (high / low) ** uniform((n,), generator, like)

    def _wrong(
        self, model: GraphEnergy, templates: TemplateBatch, geometry: Geometry, n: int, generator: torch.Generator
    ) -> tuple[TemplateBatch, Geometry]:
        """Negatives made of the first n systems, class by class; those that cannot be made wrong are left out."""
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
        """Denoising error by noise level, AUROC by class of negatives, property errors."""
        generator = torch.Generator().manual_seed(1)
        figures: dict[str, list[float]] = {}
        real: list[Tensor] = []
        false: dict[str, list[Tensor]] = {name: [] for name in self._classes()}
        predictions = []
        for rows in self.val_rows.split(128):
            templates = self.table.templates.select(rows)
            geometry = self.table.geometry.select(self.table.templates, rows)
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
    """Molecules without their hands, with this chance each: whoever asks for none must get either."""
    if len(templates.graphs.chirality) == 0:
        return templates
    forget = (torch.rand(templates.n_systems, generator=generator) < share).to(templates.device)
    return replace(templates, graphs=templates.graphs.without_stereo(forget, templates.site_system))


def denoising_loss(
    output: GraphOutput,
    templates: TemplateBatch,
    dirty: Geometry,
    back: Geometry,
    sigma: Tensor,
    width: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Squared error of the denoising displacement over its natural size, averaged over free numbers.

    Args:
        output: of the network, for the dirty geometries.
        templates: of the batch.
        dirty: noised geometries.
        back: scaled displacements to the clean ones, Å.
        sigma: noise level (n_systems,), Å.
        width: how far from clean systems are, where that is not σ (n_systems,), Å.
    """
    width = sigma if width is None else width
    step = predicted_step(output, templates, dirty)
    scale = output_scale(width, SIGMA_SITE)[templates.site_system, None]
    coords = _free_mean(((step.coords - back.coords) / scale) ** 2, templates.free_coords)
    wide = output_scale(width, SIGMA_LATTICE)[:, None]
    lattice = _free_mean(((step.lattice - back.lattice) / wide) ** 2, templates.free_lattice)
    return coords + 0.5 * lattice, {"dsm_sites": coords.item(), "dsm_lattice": lattice.item()}


def conservative_loss(
    model: GraphEnergy,
    templates: TemplateBatch,
    dirty: Geometry,
    back: Geometry,
    sigma: Tensor,
    width: Tensor | None = None,
) -> Tensor:
    """Squared error of -σ² ∂E/∂x, per atom that moves, as the denoising displacement of the sites."""
    coords = dirty.coords.detach().requires_grad_()
    state = expand(templates, replace(dirty, coords=coords))
    energy = energy_per_atom(model(state, sigma), state, sigma) * state.n_atoms
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(energy.sum(), coords, create_graph=True)
    square = sigma[templates.site_system, None] ** 2
    step = -square * slope * scales(templates, dirty).coords / templates.site_multiplicity[:, None]
    wide = output_scale(sigma if width is None else width, SIGMA_SITE)[templates.site_system, None]
    return _free_mean(((step - back.coords) / wide) ** 2, templates.free_coords)


def _free_mean(values: Tensor, free: Tensor) -> Tensor:
    return (values * free).sum() / free.sum().clamp(min=1)


def detached_level(output: GraphOutput, state: State, sigma: Tensor) -> Tensor:
    """E / N of which only the scalar h is trained (n_systems,)."""
    fixed = replace(output, displacement=output.displacement.detach(), strain=output.strain.detach())
    return energy_per_atom(fixed, state, sigma)


@torch.no_grad()
def own_samples(
    model: GraphEnergy, templates: TemplateBatch, geometry: Geometry, generator: torch.Generator
) -> tuple[TemplateBatch, Geometry, Tensor]:
    """Materials that the model denoises from 0.5 to 1.5 Å of noise in three steps, where they miss the truth."""
    n = templates.n_systems
    start = 0.5 + uniform((n,), generator, geometry.lattice)
    current, _ = noised(templates, geometry, start, generator)
    levels = [start, start / 2, start / 5, torch.zeros_like(start)]
    for sigma, lower in pairwise(levels):
        output = model(expand(templates, current), sigma)
        step = predicted_step(output, templates, current)
        current = moved(templates, current, step, scales(templates, current), 1 - lower / sigma)
    miss = difference(templates, turned_to(templates, geometry, current), current, scales(templates, geometry))
    square = per_system(templates, Geometry(miss.lattice**2, miss.coords**2))
    count = per_system(templates, Geometry(templates.free_lattice.float(), templates.free_coords.float()))
    return templates, current, (square / count).sqrt() > 0.15


def turned_to(templates: TemplateBatch, geometry: Geometry, like: Geometry) -> Geometry:
    """Molecules turned and moved onto others of the same templates as well as they fit; crystals as they are.

    Kabsch, Acta Cryst. A32, 922 (1976).
    """
    if bool(templates.periodic.all()):
        return geometry
    owner, n = templates.site_system, templates.n_systems

    def mean(values: Tensor) -> Tensor:
        total = values.new_zeros(n, *values.shape[1:]).index_add(0, owner, values)
        return total / templates.n_sites.to(values).reshape(-1, *[1] * (values.dim() - 1))

    centre, goal = mean(geometry.coords), mean(like.coords)
    own, other = geometry.coords - centre[owner], like.coords - goal[owner]
    left, _, right = torch.linalg.svd(mean(own[:, :, None] * other[:, None, :]))
    proper = torch.ones_like(centre)
    proper[:, 2] = torch.linalg.det(left @ right).sign()
    rotation = (left * proper[:, None]) @ right
    placed = torch.einsum("ni,nij->nj", own, rotation[owner]) + goal[owner]
    return replace(geometry, coords=torch.where(templates.periodic[owner, None], geometry.coords, placed))


def auroc(real: Tensor, false: Tensor) -> float:
    """Chance that a wrong crystal lies above a real one; ties count half."""
    ordered = real.sort().values
    below, up_to = (torch.searchsorted(ordered, false, right=right) for right in (False, True))
    return ((below + up_to).double().mean() / (2 * len(real))).item()


def _first_systems(output: GraphOutput, templates: TemplateBatch) -> GraphOutput:
    n_sites, n = len(templates.site_system), templates.n_systems
    return GraphOutput(
        output.displacement[:n_sites], output.strain[:n], output.site_energy[:n_sites], output.embedding[:n]
    )
