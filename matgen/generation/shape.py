"""Geometries for templates: initial ones, diffused and refined, the best of each template."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from matgen.energies.graph import denoiser_score
from matgen.generation.acceptance import least_confidence
from matgen.generation.kinds.base import Kind
from matgen.generation.repetition import repetition_energy
from matgen.generation.request import Request
from matgen.generation.total_energy import (
    chances,
    guidance,
    ranking_terms,
    state_energy,
    template_energy,
)
from matgen.generation.trajectory import NotRecorded, Recorder
from matgen.runtime.progress import Report
from matgen.samplers.diffusion import Schedule, diffuse, energy_score, settled
from matgen.samplers.hybrid import RefineSchedule, refine
from matgen.samplers.initial_geometry import InitialGeometries, joined
from matgen.samplers.initial_noise import renoise
from matgen.templates.batch import Geometry, Template, TemplateBatch, concatenated
from matgen.templates.noise import karras_levels

CHUNK, CHUNK_ON_GPU = 48, 256
"""Templates that are diffused and refined together."""


def shape(
    templates: list[Template],
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    report: Report,
    recorder: Recorder | None = None,
) -> tuple[TemplateBatch, Geometry]:
    """Return geometries for the most promising templates, one each.

    The best initial geometries are diffused and refined; the best of each template is kept.

    Args:
        templates: distinct.
        request: what is asked.
        kind: crystals or molecules.
        generator: of all random numbers.
        report: receives the progress.
        recorder: receives the geometries on the way; None for nothing.
    """
    recorder = recorder or NotRecorded()
    begun = _begun(templates, request, kind, generator, report)
    parts = []
    owners = begun.owner.unique()
    size = CHUNK if kind.device.type == "cpu" else CHUNK_ON_GPU
    for first in range(0, len(owners), size):
        chosen = torch.isin(begun.owner, owners[first : first + size]).nonzero().ravel()
        parts.append(_shaped(begun.select(chosen), request, kind, generator, recorder))
        report("refine", min(first + size, len(owners)), len(owners))
    return concatenated(parts) if parts else (TemplateBatch.of([]), Geometry(torch.zeros(0, 6), torch.zeros(0, 3)))


def _begun(
    templates: list[Template],
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    report: Report,
) -> InitialGeometries:
    """Return the best initial geometries of the templates whose best one has the lowest ranking energy.

    A template is left out if its targets are less likely to be met than those of any candidate that is kept
    (`least_confidence`), unless too few others are left: refinement changes this probability little.
    """
    parts, lowest, energies, likely = [], [], [], []
    for first in range(0, len(templates), CHUNK):
        some = templates[first : first + CHUNK]
        begun = kind.initial_geometries(some, generator)
        total, chance = _ranking(begun.templates, begun.geometry, request, kind)
        likely.append(chance.new_zeros(len(some)).scatter_reduce(0, begun.owner, chance, "amax"))
        lowest.append(total.new_full((len(some),), math.inf).scatter_reduce(0, begun.owner, total, "amin"))
        energies.append(total)
        parts.append(replace(begun, owner=begun.owner + first))
        report("initial geometries", min(first + CHUNK, len(templates)), len(templates))
    if not parts:
        return kind.initial_geometries([], generator)
    total = torch.cat(lowest)
    order = (total + repetition_energy(templates, total, request, kind)).argsort()
    best = order[: request.search.n * request.sampler.shaped]
    hopeful = torch.cat(likely)[best] >= least_confidence(request)
    best = best[hopeful | (torch.arange(len(best), device=best.device) < request.search.n)]
    together = joined(parts)
    leading = _places(together.owner, torch.cat(energies)) < request.sampler.refined_geometries
    return together.select((leading & torch.isin(together.owner, best)).nonzero().ravel())


def _places(owner: Tensor, energy: Tensor) -> Tensor:
    """Return the place (n_geometries,) of each geometry among those of its owner, the lowest energy first.

    Args:
        owner: index (n_geometries,) of the template of each geometry, ascending.
        energy: (n_geometries,).
    """
    order = energy.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    first = torch.searchsorted(owner, owner[order])
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device) - first
    return places


def _shaped(
    begun: InitialGeometries, request: Request, kind: Kind, generator: torch.Generator, recorder: Recorder
) -> tuple[TemplateBatch, Geometry]:
    """Diffuse and refine geometries, and return the lowest of each owner."""
    batch, geometry = begun.templates, begun.geometry
    recorder.frame("initial", "initial geometry", batch, geometry)
    if request.stages.diffusion:
        geometry = _diffused(begun, request, kind, generator, recorder)
    if request.stages.mala:
        batch, geometry = _refined(batch, geometry, request, kind, generator, recorder)
    return _lowest(batch, geometry, begun.owner, request, kind, recorder)


def _diffused(
    begun: InitialGeometries, request: Request, kind: Kind, generator: torch.Generator, recorder: Recorder
) -> Geometry:
    """Noise initial geometries, those that are samples more than those of prototypes, and denoise them."""
    batch, steering = begun.templates, guidance(request, kind)
    sigma = torch.where(begun.from_prototype, request.sampler.prototype_noise, request.sampler.sampled_noise)
    ramp = karras_levels(1.0, request.sampler.lowest / request.sampler.sampled_noise, request.sampler.levels)
    noised = renoise(batch, begun.geometry, sigma, generator)
    recorder.frame("diffusion", "noise added", batch, noised)
    return diffuse(
        denoiser_score(kind.graph, batch),
        batch,
        noised,
        schedule=Schedule(
            ramp.to(sigma)[:, None] * sigma,
            churn=request.sampler.churn,
            corrector_steps=request.sampler.corrector_steps,
        ),
        generator=generator,
        guidance=energy_score(steering, batch) if steering.terms() else None,
        progress=lambda done, n, found: recorder.frame("diffusion", f"noise level {done} of {n}", batch, found),
    )


def _refined(
    batch: TemplateBatch,
    geometry: Geometry,
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    recorder: Recorder,
) -> tuple[TemplateBatch, Geometry]:
    """Refine geometries and elements together, and remove the noise of that."""
    batch, geometry, report = refine(
        state_energy(request, kind),
        batch,
        geometry,
        geometry.lattice.new_full((batch.n_systems,), request.sampler.refine_sigma),
        schedule=RefineSchedule(request.sampler.refine_rounds, request.sampler.refine_steps),
        generator=generator,
        template_energy=template_energy(request, kind),
        substitution=kind.substitution() if request.stages.moves else None,
    )
    for number, step in enumerate(report.path, start=1):
        stage = "substitution" if step.energy is None else "langevin"
        recorder.frame(stage, f"{stage} step {number}", step.templates, step.geometry, step.energy)
    geometry = _finished(batch, geometry, request, kind, generator)
    recorder.frame("denoising", "remaining noise removed", batch, geometry)
    return batch, geometry


def _finished(
    batch: TemplateBatch, geometry: Geometry, request: Request, kind: Kind, generator: torch.Generator
) -> Geometry:
    """Remove the noise of the refinement."""
    score, sampler = denoiser_score(kind.graph, batch), request.sampler
    if sampler.finish_levels:
        levels = karras_levels(sampler.sampled_noise, sampler.lowest, sampler.finish_levels)
        return settled(score, batch, geometry, levels=levels)
    levels = karras_levels(sampler.refine_sigma, sampler.lowest, 4)
    return diffuse(score, batch, geometry, schedule=Schedule(levels, corrector_steps=0), generator=generator)


def _lowest(
    batch: TemplateBatch, geometry: Geometry, owner: Tensor, request: Request, kind: Kind, recorder: Recorder
) -> tuple[TemplateBatch, Geometry]:
    """Return the geometry of each owner that ranks best: substitution may have given them different elements."""
    total, _ = _ranking(batch, geometry, request, kind)
    best = (_places(owner, total) == 0).nonzero().ravel()
    recorder.keep(best)
    return batch.select(best), geometry.select(batch, best)


def _ranking(batch: TemplateBatch, geometry: Geometry, request: Request, kind: Kind) -> tuple[Tensor, Tensor]:
    """Return the sum (n_systems,) of all ranking terms, infinity where it is undefined, and the chance of the targets.

    The chance (n_systems,) is the probability that the least likely property target is met; 1 without targets.
    """
    level = geometry.lattice.new_full((batch.n_systems,), request.sampler.choose_sigma)
    terms = ranking_terms(batch, geometry, level, request, kind)
    total = torch.stack(list(terms.values())).sum(0).nan_to_num(nan=math.inf)
    chance = chances(terms, request)
    return total, torch.ones_like(total) if chance is None else chance.nan_to_num(nan=0.0).to(total)
