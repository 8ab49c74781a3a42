"""From a request to ranked proposals: propose templates, diffuse geometry, refine jointly, rank.

    E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k

Every stage walks on a part of this sum and every proposal carries its terms by name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from pymatgen.core.structure import Structure
from torch import Tensor

from matgen.devices import placed
from matgen.energies.graph import denoiser_score
from matgen.energies.template_prior import draw_templates
from matgen.energies.template_redraw import PARTS, LearnedRedraw
from matgen.guide import Guide
from matgen.io import structures
from matgen.models import Models
from matgen.noise import karras_levels
from matgen.progress import Report
from matgen.properties import Prediction
from matgen.request import Request
from matgen.samplers.diffusion import diffuse, energy_score, renoise
from matgen.samplers.hybrid import refine
from matgen.samplers.resample import resample, temperature_for
from matgen.samplers.starts import Starts, joined, starts
from matgen.samplers.templates import ElementKernel, Move, element_move, metropolis, redraw, substitute, swap
from matgen.templates.crystal import CrystalTemplate, Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.total_energy import (
    drawn_conditions,
    guidance,
    ranking_terms,
    repeats,
    settled_conditions,
    state_energy,
    template_energy,
    template_ranking,
    template_wishes,
)

STEPS_BETWEEN_LOOKS = 4
"""Metropolis steps from one look at the chains of templates to the next."""

CHUNK = 48
"""Templates that are shaped together."""


@dataclass(frozen=True)
class Proposed:
    """A proposal, before any relaxation.

    Attributes:
        template: its discrete half.
        geometry: its free numbers.
        structure: its primitive cell.
        energies: each weighted term of the total energy.
        total: their sum.
        properties: predictions of the guiding models, by property.
    """

    template: CrystalTemplate
    geometry: Geometry
    structure: Structure
    energies: dict[str, float]
    total: float
    properties: dict[str, Prediction]


def generate(
    request: Request,
    models: Models,
    generator: torch.Generator,
    report: Report,
) -> list[Proposed]:
    """Proposals for a request, one geometry for each template, lowest energy first."""
    request.terms.to(models.device)
    templates = propose(request, models, generator, report)
    if not templates:
        return []
    batch, geometry = shape(templates, request, models, generator, report)
    return rank(batch, geometry, request, models, report)


def propose(request: Request, models: Models, generator: torch.Generator, report: Report) -> list[CrystalTemplate]:
    """Distinct templates: drawn from the prior, weighed by the wishes, moved on the summed template energy, chosen."""
    moving = bool(request.stages.moves and request.sampler.move_steps)
    wanted = request.n * (request.over_generation if moving else max(request.over_generation, request.sampler.started))
    wishes = template_wishes(request, models)
    pool: list[CrystalTemplate] = []
    goal, attempts = wanted * request.sampler.pool, 0
    while len(pool) < goal and attempts < 4 * request.sampler.pool:
        asked = drawn_conditions(request, min(512, goal), generator)
        pool += draw_templates(models.prior, request.rules, asked.to(models.device), generator)
        pool = list(dict.fromkeys(pool))
        attempts += 1
        report("propose", min(len(pool), goal), goal)
    if not pool:
        return []
    with torch.no_grad():
        energies = wishes(TemplateBatch.of(pool).to(models.device)).double().cpu()
    temperature = temperature_for(energies, min(wanted, len(pool)) / 3)
    kept = [pool[i] for i in resample(energies, wanted, generator, temperature=temperature).tolist()]
    if moving:
        kept = moved_templates(kept, request, models, generator, report)
    return _promising(list(dict.fromkeys(kept)), request, models)


def _promising(templates: list[CrystalTemplate], request: Request, models: Models) -> list[CrystalTemplate]:
    """As many as are to be started, those that rank best without a geometry; in the order given."""
    most = request.n * request.sampler.started
    if len(templates) <= most:
        return templates
    with torch.no_grad():
        energies = template_ranking(request, models)(TemplateBatch.of(templates).to(models.device))
    energies = energies + repeats(templates, energies, request.sampler.variety)
    return [templates[i] for i in energies.argsort()[:most].sort().values.tolist()]


def moved_templates(
    templates: list[CrystalTemplate],
    request: Request,
    models: Models,
    generator: torch.Generator,
    report: Report,
) -> list[CrystalTemplate]:
    """Metropolis-Hastings moves on prior + wishes: where the chains are after burn-in, look by look."""
    total, moves = template_energy(request, models), template_moves(request, models)
    steps = request.sampler.move_steps
    first = max(1, min(request.sampler.burn_in, steps))
    seen: list[CrystalTemplate] = []

    def energy(batch: TemplateBatch) -> Tensor:  # the moves are made on the CPU
        return total(batch.to(models.device)).cpu()

    def visit(done: int, chains: Sequence[CrystalTemplate]) -> None:
        if done >= first and (done - first) % STEPS_BETWEEN_LOOKS == 0:
            seen.extend(chains)
        report("move templates", done, steps)

    with torch.no_grad():
        _, found = metropolis(
            energy,
            templates,
            moves,
            steps=steps,
            temperatures=request.sampler.temperatures,
            generator=generator,
            visit=visit,
        )
    mean = {name: float(values[0]) for name, values in found.acceptance.items() if not values[0].isnan()}
    report("move templates", steps, steps, energy=float(found.energy[-1].mean()), **mean)
    return seen


def template_moves(request: Request, models: Models) -> dict[str, Move]:
    """Elements exchanged, and parts drawn anew by the prior."""
    rules, asked = request.rules, settled_conditions(request).to(models.device)
    moves = {"swap": element_move(swap(keep_composition=bool(rules.composition)), rules)}
    if not rules.composition:
        kernel = ElementKernel.of(sorted(rules.allowed_elements), width=request.sampler.likeness)
        moves["substitute"] = element_move(substitute(kernel), rules)
    if request.stages.redraws == "never" or (request.stages.redraws == "formula" and not rules.composition):
        return moves
    redraws = {f"redraw_{part}": redraw(LearnedRedraw(models.prior, rules, asked, part), rules) for part in PARTS}
    return moves | redraws


def shape(
    templates: list[CrystalTemplate],
    request: Request,
    models: Models,
    generator: torch.Generator,
    report: Report,
) -> tuple[TemplateBatch, Geometry]:
    """Geometries for templates: the most promising starts are diffused and refined, the best of each template kept."""
    begun = _begun(templates, request, models, generator, report)
    parts = []
    owners = begun.owner.unique()
    for first in range(0, len(owners), CHUNK):
        chosen = torch.isin(begun.owner, owners[first : first + CHUNK]).nonzero().ravel()
        parts.append(_shaped(begun.select(chosen), request, models, generator))
        report("shape", min(first + CHUNK, len(owners)), len(owners))
    return concatenated(parts) if parts else (TemplateBatch.of([]), Geometry(torch.zeros(0, 6), torch.zeros(0, 3)))


def _begun(
    templates: list[CrystalTemplate],
    request: Request,
    models: Models,
    generator: torch.Generator,
    report: Report,
) -> Starts:
    """Of the templates whose best start has the lowest ranking energy, the best starts."""
    library = models.library
    parts, lowest, energies = [], [], []

    def draw(unknown: TemplateBatch, generator: torch.Generator) -> Geometry:
        return models.geometry.draw(unknown.to(models.device), generator, request.sampler.draw_temperature)

    for first in range(0, len(templates), CHUNK):
        some = templates[first : first + CHUNK]
        begun = starts(
            some,
            library,
            draw,
            generator,
            per_template=request.sampler.geometries,
            prototypes=request.sampler.prototypes,
        ).to(models.device)
        level = begun.geometry.lattice.new_full(begun.owner.shape, request.sampler.choose_sigma)
        terms = ranking_terms(begun.templates, begun.geometry, level, request, models)
        total = torch.stack(list(terms.values())).sum(0).nan_to_num(nan=math.inf)
        lowest.append(total.new_full((len(some),), math.inf).scatter_reduce(0, begun.owner, total, "amin"))
        energies.append(total)
        parts.append(replace(begun, owner=begun.owner + first))
        report("start", min(first + CHUNK, len(templates)), len(templates))
    if not parts:
        return starts([], library, models.geometry.draw, generator, per_template=1, prototypes=1)
    total = torch.cat(lowest)
    best = (total + repeats(templates, total, request.sampler.variety)).argsort()[: request.n * request.sampler.shaped]
    together = joined(parts)
    leading = _places(together.owner, torch.cat(energies)) < request.sampler.shaped_starts
    return together.select((leading & torch.isin(together.owner, best)).nonzero().ravel())


def _places(owner: Tensor, energy: Tensor) -> Tensor:
    """The place (n_starts,) of each start among those of its owner, the lowest energy first; owners ascend."""
    order = energy.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    first = torch.searchsorted(owner, owner[order])
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device) - first
    return places


def _shaped(
    begun: Starts, request: Request, models: Models, generator: torch.Generator
) -> tuple[TemplateBatch, Geometry]:
    """Diffused and refined; the lowest of each owner."""
    batch, geometry = begun.templates, begun.geometry
    if request.stages.diffusion:
        pull = guidance(request, models)
        sigma = torch.where(begun.from_prototype, request.sampler.start_known, request.sampler.start_drawn)
        ramp = karras_levels(1.0, request.sampler.lowest / request.sampler.start_drawn, request.sampler.levels)
        geometry = diffuse(
            denoiser_score(models.graph, batch),
            batch,
            renoise(batch, geometry, sigma, generator),
            levels=ramp.to(sigma)[:, None] * sigma,
            generator=generator,
            guidance=energy_score(pull, batch) if pull.terms() else None,
            corrector_steps=request.sampler.corrector_steps,
            churn=request.sampler.churn,
        )
    energy = state_energy(request, models)
    level = geometry.lattice.new_full((batch.n_systems,), request.sampler.refine_sigma)
    if request.stages.mala:
        kernel = ElementKernel.of(sorted(request.rules.allowed_elements), width=request.sampler.likeness)
        free = request.stages.moves and not request.rules.composition
        batch, geometry, _ = refine(
            energy,
            batch,
            geometry,
            level,
            rounds=request.sampler.refine_rounds,
            steps=request.sampler.refine_steps,
            generator=generator,
            template_energy=template_energy(request, models),
            substitution=substitute(kernel) if free else None,
            rules=request.rules,
        )
        geometry = diffuse(
            denoiser_score(models.graph, batch),
            batch,
            geometry,
            levels=karras_levels(request.sampler.refine_sigma, request.sampler.lowest, 4),
            generator=generator,
            corrector_steps=0,
        )
    return _lowest(batch, geometry, begun.owner, request, models)


def _lowest(
    batch: TemplateBatch, geometry: Geometry, owner: Tensor, request: Request, models: Models
) -> tuple[TemplateBatch, Geometry]:
    """Of each owner, the one that ranks best: substitution may have given its geometries different elements."""
    level = geometry.lattice.new_full((batch.n_systems,), request.sampler.choose_sigma)
    terms = ranking_terms(batch, geometry, level, request, models)
    total = torch.stack(list(terms.values())).sum(0).nan_to_num(nan=math.inf)
    best = (_places(owner, total) == 0).nonzero().ravel()
    return batch.select(best), geometry.select(batch, best)


def rank(
    batch: TemplateBatch,
    geometry: Geometry,
    request: Request,
    models: Models,
    report: Report,
) -> list[Proposed]:
    """Everything scored by every term, lowest total first."""
    if batch.n_systems == 0:
        return []
    level = geometry.lattice.new_full((batch.n_systems,), request.sampler.choose_sigma)
    terms = ranking_terms(batch, geometry, level, request, models)
    total = torch.stack(list(terms.values())).sum(0)
    terms["variety"] = repeats(batch.unbatch(), total, request.sampler.variety)
    total = total + terms["variety"]
    state = expand(batch, geometry)
    predictions = Guide(models.graph, models.properties).of_batch(batch, state)
    crystals, singles = structures(state), batch.unbatch()
    batch, geometry, terms, predictions = placed((batch, geometry, terms, predictions), "cpu")
    found = [
        Proposed(
            template=singles[i],
            geometry=geometry.select(batch, torch.tensor([i])),
            structure=crystals[i],
            energies={name: float(values[i]) for name, values in terms.items()},
            total=float(total[i]),
            properties={name: Prediction(p.value[i], p.spread[i]) for name, p in predictions.items()},
        )
        for i in total.argsort().tolist()
    ]
    report("rank", len(found), len(found))
    return found
