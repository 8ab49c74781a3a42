"""From a request to ranked proposals: propose templates, diffuse geometry, refine jointly, rank.

    E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k

Every stage walks on a part of this sum and every proposal carries its terms by name.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from pymatgen.core.structure import Molecule, Structure
from torch import Tensor

from matgen.energies.graph import denoiser_score
from matgen.generation.kinds.base import Kind
from matgen.generation.predictors import as_predictions
from matgen.generation.request import Request
from matgen.generation.total_energy import (
    guidance,
    ranking_terms,
    repeats,
    state_energy,
    template_energy,
    template_ranking,
    template_targets,
)
from matgen.runtime.devices import placed
from matgen.runtime.progress import Report
from matgen.samplers.diffusion import diffuse, energy_score, settled
from matgen.samplers.hybrid import refine
from matgen.samplers.initial_geometry import InitialGeometries, joined
from matgen.samplers.initial_noise import renoise
from matgen.samplers.metropolis import Move, metropolis
from matgen.samplers.resample import resample, temperature_for
from matgen.structures.candidate import Prediction
from matgen.structures.conversion import structures
from matgen.templates.batch import Geometry, Template, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.templates.noise import karras_levels

STEPS_BETWEEN_LOOKS = 4
"""Metropolis steps from one look at the chains of templates to the next."""

CHUNK = 48
"""Templates that are shaped together."""

Found = Mapping[Hashable, int]
"""How many candidates of a run there are already of each likeness (`Kind.likeness`)."""


@dataclass(frozen=True)
class Proposed:
    """A proposal, before any relaxation.

    Attributes:
        template: its discrete half.
        geometry: its free numbers.
        structure: its primitive cell, or the molecule.
        energies: each weighted term of the total energy.
        total: their sum.
        properties: predictions of the guiding models, by property.
    """

    template: Template
    geometry: Geometry
    structure: Structure | Molecule
    energies: dict[str, float]
    total: float
    properties: dict[str, Prediction]


def generate(
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    report: Report,
    found: Found | None = None,
) -> list[Proposed]:
    """Proposals for a request, one geometry for each template, lowest energy first.

    Args:
        request: what is wanted.
        kind: crystals or molecules.
        generator: of all random numbers.
        report: hears how every stage gets on.
        found: before; what is like them counts as a repetition.
    """
    request.terms.to(kind.device)
    templates = propose(request, kind, generator, report, found)
    if not templates:
        return []
    batch, geometry = shape(templates, request, kind, generator, report, found)
    return rank(batch, geometry, request, kind, report, found)


def propose(
    request: Request, kind: Kind, generator: torch.Generator, report: Report, found: Found | None = None
) -> list[Template]:
    """Distinct templates: drawn from the prior, weighed by the wishes, moved on the summed template energy, chosen."""
    moves = kind.moves() if request.stages.moves and request.sampler.move_steps else {}
    wanted = request.search.n * (
        request.search.over_generation if moves else max(request.search.over_generation, request.sampler.started)
    )
    targets = template_targets(request, kind)
    pool: list[Template] = []
    goal, attempts = wanted * request.sampler.pool, 0
    while len(pool) < goal and attempts < 4 * request.sampler.pool:
        pool += kind.sample(min(512, goal), generator)
        pool = list(dict.fromkeys(pool))
        attempts += 1
        report("propose", min(len(pool), goal), goal)
    if not pool:
        return []
    with torch.no_grad():
        energies = targets(TemplateBatch.of(pool).to(kind.device)).double().cpu()
    temperature = temperature_for(energies, min(wanted, len(pool)) / 3)
    kept = [pool[i] for i in resample(energies, wanted, generator, temperature=temperature).tolist()]
    if moves:
        kept = moved_templates(kept, moves, request, kind, generator, report)
    return _promising(list(dict.fromkeys(kept)), request, kind, found)


def _promising(templates: list[Template], request: Request, kind: Kind, found: Found | None) -> list[Template]:
    """As many as are to be started, those that rank best without a geometry; in the order given."""
    most = request.search.n * request.sampler.started
    if len(templates) <= most:
        return templates
    with torch.no_grad():
        energies = template_ranking(request, kind)(TemplateBatch.of(templates).to(kind.device))
    energies = energies + _repeats(templates, energies, request, kind, found)
    return [templates[i] for i in energies.argsort()[:most].sort().values.tolist()]


def moved_templates(
    templates: list[Template],
    moves: Mapping[str, Move],
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    report: Report,
) -> list[Template]:
    """Metropolis-Hastings moves on prior + wishes: where the chains are after burn-in, look by look."""
    total = template_energy(request, kind)
    steps = request.sampler.move_steps
    first = max(1, min(request.sampler.burn_in, steps))
    seen: list[Template] = []

    def energy(batch: TemplateBatch) -> Tensor:  # the moves are made on the CPU
        return total(batch.to(kind.device)).cpu()

    def visit(done: int, chains: Sequence[Template]) -> None:
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


def shape(
    templates: list[Template],
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    report: Report,
    found: Found | None = None,
) -> tuple[TemplateBatch, Geometry]:
    """Geometries for templates: the most promising starts are diffused and refined, the best of each template kept."""
    begun = _begun(templates, request, kind, generator, report, found)
    parts = []
    owners = begun.owner.unique()
    for first in range(0, len(owners), CHUNK):
        chosen = torch.isin(begun.owner, owners[first : first + CHUNK]).nonzero().ravel()
        parts.append(_shaped(begun.select(chosen), request, kind, generator))
        report("shape", min(first + CHUNK, len(owners)), len(owners))
    return concatenated(parts) if parts else (TemplateBatch.of([]), Geometry(torch.zeros(0, 6), torch.zeros(0, 3)))


def _begun(
    templates: list[Template],
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    report: Report,
    found: Found | None,
) -> InitialGeometries:
    """Of the templates whose best start has the lowest ranking energy, the best starts."""
    parts, lowest, energies = [], [], []
    for first in range(0, len(templates), CHUNK):
        some = templates[first : first + CHUNK]
        begun = kind.initial_geometries(some, generator)
        level = begun.geometry.lattice.new_full(begun.owner.shape, request.sampler.choose_sigma)
        terms = ranking_terms(begun.templates, begun.geometry, level, request, kind)
        total = torch.stack(list(terms.values())).sum(0).nan_to_num(nan=math.inf)
        lowest.append(total.new_full((len(some),), math.inf).scatter_reduce(0, begun.owner, total, "amin"))
        energies.append(total)
        parts.append(replace(begun, owner=begun.owner + first))
        report("start", min(first + CHUNK, len(templates)), len(templates))
    if not parts:
        return kind.initial_geometries([], generator)
    total = torch.cat(lowest)
    best = (total + _repeats(templates, total, request, kind, found)).argsort()[
        : request.search.n * request.sampler.shaped
    ]
    together = joined(parts)
    leading = _places(together.owner, torch.cat(energies)) < request.sampler.refined_geometries
    return together.select((leading & torch.isin(together.owner, best)).nonzero().ravel())


def _repeats(templates: Sequence[Template], total: Tensor, request: Request, kind: Kind, found: Found | None) -> Tensor:
    """Energy (n_systems,) of templates for being variations of better ones, and of candidates found before."""
    weight = request.selection.variety * request.sampler.variety
    return repeats([kind.likeness(template) for template in templates], total, weight, found)


def _places(owner: Tensor, energy: Tensor) -> Tensor:
    """The place (n_starts,) of each start among those of its owner, the lowest energy first; owners ascend."""
    order = energy.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    first = torch.searchsorted(owner, owner[order])
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device) - first
    return places


def _shaped(
    begun: InitialGeometries, request: Request, kind: Kind, generator: torch.Generator
) -> tuple[TemplateBatch, Geometry]:
    """Diffused and refined; the lowest of each owner."""
    batch, geometry = begun.templates, begun.geometry
    if request.stages.diffusion:
        pull = guidance(request, kind)
        sigma = torch.where(begun.from_prototype, request.sampler.prototype_noise, request.sampler.sampled_noise)
        ramp = karras_levels(1.0, request.sampler.lowest / request.sampler.sampled_noise, request.sampler.levels)
        geometry = diffuse(
            denoiser_score(kind.graph, batch),
            batch,
            renoise(batch, geometry, sigma, generator),
            levels=ramp.to(sigma)[:, None] * sigma,
            generator=generator,
            guidance=energy_score(pull, batch) if pull.terms() else None,
            corrector_steps=request.sampler.corrector_steps,
            churn=request.sampler.churn,
        )
    energy = state_energy(request, kind)
    level = geometry.lattice.new_full((batch.n_systems,), request.sampler.refine_sigma)
    if request.stages.mala:
        batch, geometry, _ = refine(
            energy,
            batch,
            geometry,
            level,
            rounds=request.sampler.refine_rounds,
            steps=request.sampler.refine_steps,
            generator=generator,
            template_energy=template_energy(request, kind),
            substitution=kind.substitution() if request.stages.moves else None,
        )
        geometry = _finished(batch, geometry, request, kind, generator)
    return _lowest(batch, geometry, begun.owner, request, kind)


def _finished(
    batch: TemplateBatch, geometry: Geometry, request: Request, kind: Kind, generator: torch.Generator
) -> Geometry:
    """The noise of the refinement taken off."""
    score, sampler = denoiser_score(kind.graph, batch), request.sampler
    if sampler.finish_levels:
        levels = karras_levels(sampler.sampled_noise, sampler.lowest, sampler.finish_levels)
        return settled(score, batch, geometry, levels=levels)
    levels = karras_levels(sampler.refine_sigma, sampler.lowest, 4)
    return diffuse(score, batch, geometry, levels=levels, generator=generator, corrector_steps=0)


def _lowest(
    batch: TemplateBatch, geometry: Geometry, owner: Tensor, request: Request, kind: Kind
) -> tuple[TemplateBatch, Geometry]:
    """Of each owner, the one that ranks best: substitution may have given its geometries different elements."""
    level = geometry.lattice.new_full((batch.n_systems,), request.sampler.choose_sigma)
    terms = ranking_terms(batch, geometry, level, request, kind)
    total = torch.stack(list(terms.values())).sum(0).nan_to_num(nan=math.inf)
    best = (_places(owner, total) == 0).nonzero().ravel()
    return batch.select(best), geometry.select(batch, best)


def rank(
    batch: TemplateBatch,
    geometry: Geometry,
    request: Request,
    kind: Kind,
    report: Report,
    found: Found | None = None,
) -> list[Proposed]:
    """Everything scored by every term, lowest total first."""
    if batch.n_systems == 0:
        return []
    level = geometry.lattice.new_full((batch.n_systems,), request.sampler.choose_sigma)
    terms = ranking_terms(batch, geometry, level, request, kind)
    total = torch.stack(list(terms.values())).sum(0)
    terms["variety"] = _repeats(batch.unbatch(), total, request, kind, found)
    total = total + terms["variety"]
    state = expand(batch, geometry)
    predictions = as_predictions(
        placed(dict(kind.predictor().distributions(batch, state)), "cpu"), request.property_targets
    )
    crystals, singles = structures(state), batch.unbatch()
    batch, geometry, terms = placed((batch, geometry, terms), "cpu")
    proposed = [
        Proposed(
            template=singles[i],
            geometry=geometry.select(batch, torch.tensor([i])),
            structure=crystals[i],
            energies={name: float(values[i]) for name, values in terms.items()},
            total=float(total[i]),
            properties=predictions[i],
        )
        for i in total.argsort().tolist()
    ]
    report("rank", len(proposed), len(proposed))
    return proposed
