"""The one energy that a request defines, in its two rooms.

E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.elements import known_elements
from matgen.energies.charge import ChargeBalance
from matgen.energies.graph import GraphPredictor, GraphPrior
from matgen.energies.property import StatePropertyTarget, Target, TemplatePropertyTarget
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.energy import Energy, Sum, TemplateEnergy, TemplateSum
from matgen.models import Models
from matgen.nn.template_prior import N_ELEMENTS, Conditions
from matgen.request import Request
from matgen.templates.crystal import CrystalTemplate, Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.prototypes import Layout, layout

STABLE = Target("energy_above_hull", -math.inf, 0.1, point=False)
"""What is wished for unless the request asks for another energy above the hull, eV/atom."""


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
        draw_temperature: of the density that geometries are drawn from; below one it prefers its modes.
        refine_sigma: noise level of the refinement, Å.
        choose_sigma: noise level at which geometries of one template, and proposals, are compared, Å.
        refine_rounds, refine_steps: turns, and Langevin steps in each.
        wish: weight of property wishes.
        charge: penalty of a composition that SMACT calls invalid.
        hull: weight of the wish to lie within 0.1 eV/atom of the hull, where the request asks for nothing else.
        graph: weight of the graph energy, which counts all atoms.
        rank_prior, rank_graph: weights in ranking, where cells of different size compete: of the template prior, and
            of the graph energy per atom.
        variety: energy that each better-ranked proposal of the same layout adds.
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
    draw_temperature: float = 0.7
    refine_sigma: float = 0.05
    choose_sigma: float = 0.1
    refine_rounds: int = 2
    refine_steps: int = 8
    wish: float = 3.0
    charge: float = 8.0
    hull: float = 2.0
    graph: float = 1.0
    rank_prior: float = 0.5
    rank_graph: float = 2.0
    variety: float = 0.5


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


def repeats(templates: Sequence[CrystalTemplate], total: Tensor, config: SamplerConfig) -> Tensor:
    """Energy (n_systems,) for being one more of a layout that better ones have already."""
    seen: Counter[Layout] = Counter()
    found = torch.zeros_like(total)
    for i in total.argsort().tolist():
        where = layout(templates[i])
        found[i] = config.variety * seen[where]
        seen[where] += 1
    return found
