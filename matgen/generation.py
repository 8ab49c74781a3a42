"""From a request to ranked proposals: propose templates, diffuse geometry, refine jointly, rank.

    E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k

Every stage walks on a part of this sum and every proposal carries its terms by name.
"""

import math
from dataclasses import dataclass, replace

import torch
from pymatgen.core import Structure
from torch import Tensor

from matgen.elements import known_elements
from matgen.energies.charge import ChargeBalance
from matgen.energies.graph import GraphPredictor, GraphPrior, denoiser_score
from matgen.energies.property import StatePropertyTarget, Target, TemplatePropertyTarget
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.energies.template_prior import LearnedTemplatePrior, draw_templates
from matgen.energy import Energy, Sum, TemplateEnergy, TemplateSum
from matgen.io import structures
from matgen.models import Models
from matgen.nn.template_prior import N_ELEMENTS, Conditions
from matgen.noise import karras_levels
from matgen.progress import Report
from matgen.properties import Prediction
from matgen.request import Request
from matgen.samplers.diffusion import diffuse, energy_score, renoise
from matgen.samplers.hybrid import refine
from matgen.samplers.resample import resample, temperature_for
from matgen.samplers.starts import Starts, joined, starts
from matgen.samplers.templates import ElementKernel, element_move, metropolis, substitute, swap
from matgen.templates.crystal import CrystalTemplate, Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.templates.prototypes import PrototypeLibrary

STABLE = Target("energy_above_hull", -math.inf, 0.1, point=False)
"""What is wished for unless the request asks for another energy above the hull, eV/atom."""


CHUNK = 48
"""Templates that are shaped together."""


@dataclass(frozen=True)
class SamplerConfig:
    """How hard each stage works.

    Attributes:
        pool: templates drawn for each that is kept.
        move_steps: Metropolis steps on templates.
        temperatures: their ladder.
        likeness: width of the substitution kernel, in units of element descriptors.
        geometries: starts of each template.
        shaped: templates that are shaped for each candidate wanted; the rest are left at their starts.
        prototypes: how many of them may be known prototypes.
        start_known, start_drawn: noise put on a prototype, and on a drawn geometry, before diffusion, Å.
        levels: noise levels of the diffusion.
        lowest: the last of them, Å.
        corrector_steps: Langevin steps at each level.
        churn: noise put back on the way.
        refine_sigma: noise level of the refinement, Å.
        refine_rounds, refine_steps: turns, and Langevin steps in each.
        wish: weight of property wishes.
        charge: penalty of a composition that SMACT calls invalid.
        hull: weight of the wish to lie within 0.1 eV/atom of the hull, where the request asks for nothing else.
        graph: weight of the graph energy, which counts all atoms.
        rank_prior, rank_graph: weights in ranking, where cells of different size compete: of the template prior, and
            of the graph energy per atom.
    """

    pool: int = 6
    move_steps: int = 24
    temperatures: tuple[float, ...] = (1.0, 2.0)
    likeness: float = 0.6
    geometries: int = 3
    prototypes: int = 2
    shaped: int = 5
    start_known: float = 0.15
    start_drawn: float = 0.3
    levels: int = 12
    lowest: float = 0.02
    corrector_steps: int = 1
    churn: float = 0.0
    refine_sigma: float = 0.05
    refine_rounds: int = 2
    refine_steps: int = 8
    wish: float = 3.0
    charge: float = 8.0
    hull: float = 2.0
    graph: float = 1.0
    rank_prior: float = 0.5
    rank_graph: float = 2.0


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
    config: SamplerConfig = SamplerConfig(),
) -> list[Proposed]:
    """Proposals for a request, one geometry for each template, lowest energy first."""
    templates = propose(request, models, generator, report, config)
    batch, geometry = shape(templates, request, models, generator, report, config)
    return rank(batch, geometry, request, models, report, config)


def template_energy(request: Request, models: Models, config: SamplerConfig) -> TemplateEnergy:
    """What a template alone is worth: the prior given the request, and the wishes."""
    total: TemplateEnergy = LearnedTemplatePrior(models.prior, conditions(request, 1, None))
    return total + template_wishes(request, models, config)


def template_wishes(request: Request, models: Models, config: SamplerConfig) -> TemplateEnergy:
    """Charge balance and the property wishes, as templates show them."""
    total: TemplateEnergy = TemplateSum({"charge_balance": (1.0, ChargeBalance(penalty=config.charge))})
    for target, weight in targets(request, config):
        total = total + weight * TemplatePropertyTarget(models.properties, target)
    return total


def state_energy(request: Request, models: Models, config: SamplerConfig) -> Energy:
    """What a state is worth: the graph energy, repulsion, and the wishes."""
    total: Energy = Sum({"graph": (config.graph, GraphPrior(models.graph)), "repulsion": (1.0, ShortRangeRepulsion())})
    return total + state_wishes(request, models, config)


def state_wishes(request: Request, models: Models, config: SamplerConfig) -> Energy:
    """The property wishes, as states show them."""
    predictor = GraphPredictor(models.graph)
    total: Energy = Sum({})
    for target, weight in targets(request, config):
        total = total + weight * StatePropertyTarget(predictor, target)
    return total


def targets(request: Request, config: SamplerConfig) -> list[tuple[Target, float]]:
    """The wishes with their weights; stability is wished for unless the request speaks of it."""
    asked = [(target, config.wish) for target in request.wishes]
    if config.hull and all(target.name != STABLE.name for target, _ in asked):
        asked.append((STABLE, config.hull))
    return asked


def conditions(request: Request, n: int, generator: torch.Generator | None) -> Conditions:
    """What the template prior is told; a range becomes values drawn from it, or its middle without a generator."""
    asked = Conditions.none(n)
    columns = {"band_gap": (0, 8.0), "formation_energy": (1, 1.0), "energy_above_hull": (2, 0.4)}
    asked.properties[:, 2] = 0.0
    for target in request.wishes:
        column, most = columns[target.name]
        low = target.low if math.isfinite(target.low) else min(0.0 if column != 1 else -4.0, target.high)
        high = target.high if math.isfinite(target.high) else max(min(low + 2.0, most), low)
        place = torch.full((n,), 0.5) if generator is None else torch.rand(n, generator=generator)
        asked.properties[:, column] = low + (high - low) * place
    rules = request.rules
    required = set(rules.required_elements) | {z for z, _ in rules.composition}
    only = len(rules.allowed_elements) < len(known_elements()) // 2 and rules.allowed_elements
    if rules.composition:
        asked.complete[:] = True
    elif request.elements and only and len(rules.allowed_elements) <= 4:
        required |= set(rules.allowed_elements)
        asked.complete[:] = True
    elements = torch.zeros(N_ELEMENTS, dtype=torch.bool)
    elements[sorted(required)] = True
    asked.elements[:] = elements
    return asked


def propose(
    request: Request, models: Models, generator: torch.Generator, report: Report, config: SamplerConfig
) -> list[CrystalTemplate]:
    """Distinct templates: drawn from the prior, weighed by the wishes, and moved on the summed template energy."""
    wanted = request.n * request.over_generation
    wishes = template_wishes(request, models, config)
    pool: list[CrystalTemplate] = []
    goal, attempts = wanted * config.pool, 0
    while len(pool) < goal and attempts < 4 * config.pool:
        asked = conditions(request, min(512, goal), generator)
        pool += draw_templates(models.prior, request.rules, asked, generator)
        pool = list(dict.fromkeys(pool))
        attempts += 1
        report("propose", min(len(pool), goal), goal)
    if not pool:
        return []
    with torch.no_grad():
        energies = wishes(TemplateBatch.of(pool)).double()
    temperature = temperature_for(energies, min(wanted, len(pool)) / 3)
    kept = [pool[i] for i in resample(energies, wanted, generator, temperature=temperature).tolist()]
    if request.stages.moves and config.move_steps:
        kept = moved_templates(kept, request, models, generator, report, config)
    return list(dict.fromkeys(kept))


def moved_templates(
    templates: list[CrystalTemplate],
    request: Request,
    models: Models,
    generator: torch.Generator,
    report: Report,
    config: SamplerConfig,
) -> list[CrystalTemplate]:
    """Metropolis-Hastings moves with tempering on prior + wishes."""
    energy = template_energy(request, models, config)
    rules = request.rules
    moves = {"swap": element_move(swap(keep_composition=bool(rules.composition)), rules)}
    if not rules.composition:
        kernel = ElementKernel.of(sorted(rules.allowed_elements), width=config.likeness)
        moves["substitute"] = element_move(substitute(kernel), rules)
    block = 4
    for done in range(0, config.move_steps, block):
        with torch.no_grad():
            templates, found = metropolis(
                energy, templates, moves, steps=block, temperatures=config.temperatures, generator=generator
            )
        mean = {name: float(values[0]) for name, values in found.acceptance.items() if not values[0].isnan()}
        report("move templates", done + block, config.move_steps, energy=float(found.energy[-1].mean()), **mean)
    return templates


def shape(
    templates: list[CrystalTemplate],
    request: Request,
    models: Models,
    generator: torch.Generator,
    report: Report,
    config: SamplerConfig,
) -> tuple[TemplateBatch, Geometry]:
    """Geometries for templates: several starts each; the most promising are diffused and refined, the best one kept."""
    begun = _begun(templates, request, models, generator, report, config)
    parts = []
    owners = begun.owner.unique().tolist()
    for first in range(0, len(owners), CHUNK):
        chosen = torch.isin(begun.owner, torch.tensor(owners[first : first + CHUNK])).nonzero().ravel()
        parts.append(_shaped(begun.select(chosen), request, models, generator, config))
        report("shape", min(first + CHUNK, len(owners)), len(owners))
    return concatenated(parts) if parts else (TemplateBatch.of([]), Geometry(torch.zeros(0, 6), torch.zeros(0, 3)))


def _begun(
    templates: list[CrystalTemplate],
    request: Request,
    models: Models,
    generator: torch.Generator,
    report: Report,
    config: SamplerConfig,
) -> Starts:
    """All starts of the templates whose best start has the lowest ranking energy."""
    library = PrototypeLibrary.from_tensors(models.prototypes)
    parts, lowest = [], []
    for first in range(0, len(templates), CHUNK):
        some = templates[first : first + CHUNK]
        begun = starts(
            some,
            library,
            models.geometry.draw,
            generator,
            per_template=config.geometries,
            prototypes=config.prototypes,
        )
        level = torch.full((begun.templates.n_systems,), config.start_known)
        terms = ranking_terms(begun.templates, begun.geometry, level, request, models, config)
        total = torch.stack(list(terms.values())).sum(0).nan_to_num(nan=math.inf)
        lowest.append(torch.full((len(some),), math.inf).scatter_reduce(0, begun.owner, total, "amin"))
        parts.append(replace(begun, owner=begun.owner + first))
        report("start", min(first + CHUNK, len(templates)), len(templates))
    if not parts:
        return starts([], library, models.geometry.draw, generator, per_template=1, prototypes=1)
    best = torch.cat(lowest).argsort()[: request.n * config.shaped]
    together = joined(parts)
    return together.select(torch.isin(together.owner, best).nonzero().ravel())


def _shaped(
    begun: Starts, request: Request, models: Models, generator: torch.Generator, config: SamplerConfig
) -> tuple[TemplateBatch, Geometry]:
    """Diffused and refined; the lowest of each owner."""
    batch, geometry = begun.templates, begun.geometry
    if request.stages.diffusion:
        sigma = torch.where(begun.from_prototype, config.start_known, config.start_drawn)
        ramp = karras_levels(1.0, config.lowest / config.start_drawn, config.levels)
        geometry = diffuse(
            denoiser_score(models.graph, batch),
            batch,
            renoise(batch, geometry, sigma, generator),
            levels=ramp[:, None] * sigma,
            generator=generator,
            guidance=energy_score(state_wishes(request, models, config), batch) if request.wishes else None,
            corrector_steps=config.corrector_steps,
            churn=config.churn,
        )
    energy = state_energy(request, models, config)
    level = torch.full((batch.n_systems,), config.refine_sigma)
    if request.stages.mala:
        kernel = ElementKernel.of(sorted(request.rules.allowed_elements), width=config.likeness)
        free = request.stages.moves and not request.rules.composition
        batch, geometry, _ = refine(
            energy,
            batch,
            geometry,
            level,
            rounds=config.refine_rounds,
            steps=config.refine_steps,
            generator=generator,
            template_energy=template_energy(request, models, config),
            substitution=substitute(kernel) if free else None,
            rules=request.rules,
        )
    return _lowest(energy, batch, geometry, level, begun.owner)


def _lowest(
    energy: Energy, batch: TemplateBatch, geometry: Geometry, level: Tensor, owner: Tensor
) -> tuple[TemplateBatch, Geometry]:
    """The geometry of lowest energy of each owner."""
    with torch.no_grad():
        values = energy(expand(batch, geometry), level)
    values = torch.where(values.isfinite(), values, math.inf)
    order = values.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    first = torch.cat([torch.ones(1, dtype=torch.bool), owner[order].diff() > 0])
    best = order[first]
    return batch.select(best), geometry.select(batch, best)


def ranking_terms(
    batch: TemplateBatch,
    geometry: Geometry,
    level: Tensor,
    request: Request,
    models: Models,
    config: SamplerConfig,
) -> dict[str, Tensor]:
    """Every weighted term (n_systems,) by name, the graph energy per atom: cells of different size compete."""
    state = expand(batch, geometry)
    with torch.no_grad():
        of_templates = template_energy(request, models, config).breakdown(batch)
        of_states = state_energy(request, models, config).breakdown(state, level)
    terms = {"template_prior": config.rank_prior * of_templates.pop("template_prior")}
    terms["charge_balance"] = of_templates.pop("charge_balance")
    terms["graph"] = config.rank_graph / config.graph * of_states.pop("graph") / batch.n_atoms
    return terms | of_states | {f"{name}_template": value for name, value in of_templates.items()}


def rank(
    batch: TemplateBatch,
    geometry: Geometry,
    request: Request,
    models: Models,
    report: Report,
    config: SamplerConfig,
) -> list[Proposed]:
    """Everything scored by every term, lowest total first."""
    if batch.n_systems == 0:
        return []
    state = expand(batch, geometry)
    level = torch.full((batch.n_systems,), config.refine_sigma)
    terms = ranking_terms(batch, geometry, level, request, models, config)
    total = torch.stack(list(terms.values())).sum(0)
    with torch.no_grad():
        predicted = GraphPredictor(models.graph)(state, torch.full_like(level, config.lowest))
    predictions = {name: distribution.prediction() for name, distribution in predicted.items()}
    crystals, singles = structures(state), batch.unbatch()
    found = [
        Proposed(
            template=singles[i],
            geometry=geometry.select(batch, torch.tensor([i])),
            structure=crystals[i],
            energies={name: float(values[i]) for name, values in terms.items()},
            total=float(total[i]),
            properties={name: Prediction(p.mean[i], p.spread[i]) for name, p in predictions.items()},
        )
        for i in total.argsort().tolist()
    ]
    report("rank", len(found), len(found))
    return found
