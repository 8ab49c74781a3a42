"""Geometries for given templates: as `matgen design` makes them, and by diffusion from pure noise."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from matgen.energies.base import Sum
from matgen.energies.graph import denoiser_score
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig, Stages
from matgen.generation.shape import shape
from matgen.generation.total_energy import state_energy
from matgen.runtime.progress import Silence
from matgen.samplers.diffusion import Schedule, diffuse
from matgen.samplers.initial_noise import pure_noise
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.noise import karras_levels
from shared.crystals import shipped

CONFIG = replace(SamplerConfig(), geometries=3, refined_geometries=3)
ONE_START = replace(CONFIG, geometries=1)
BEST_START = replace(CONFIG, refined_geometries=1)
NOISE = 3.0
"""Standard deviation of pure noise, the highest that the network was trained with, Å."""

NOISE_LEVELS = 32
"""Noise levels of a diffusion from pure noise."""

Shaped = tuple[TemplateBatch, Geometry]


def default_energy() -> Sum:
    """Return the energy of crystals of a request without targets."""
    return state_energy(Request(), Crystals(Request(), shipped()))


def piped(
    templates: list[CrystalTemplate], generator: torch.Generator, sampler: SamplerConfig, stages: Stages, **models: Any
) -> Shaped:
    """Return geometries as `matgen design` makes them, for all templates, with their elements fixed."""
    request = Request.of(n=len(templates), stages=stages, sampler=sampler)
    return shape(templates, request, Crystals(request, replace(shipped(), **models)), generator, Silence())


def from_noise(templates: list[CrystalTemplate], generator: torch.Generator) -> Shaped:
    """Return samples of the diffusion from pure noise."""
    batch = TemplateBatch.of(templates)
    levels = karras_levels(NOISE, CONFIG.lowest, NOISE_LEVELS)
    return batch, diffused(batch, pure_noise(batch, NOISE, generator), levels, generator)


def diffused(batch: TemplateBatch, geometry: Geometry, levels: Tensor, generator: torch.Generator) -> Geometry:
    """Return geometries denoised along the levels by the graph network."""
    return diffuse(
        denoiser_score(shipped().graph, batch),
        batch,
        geometry,
        schedule=Schedule(levels, churn=CONFIG.churn, corrector_steps=CONFIG.corrector_steps),
        generator=generator,
    )
