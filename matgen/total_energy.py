"""The one energy that a request defines, in its two rooms.

E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k
"""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from matgen.elements import known_elements
from matgen.energies.charge import ChargeBalance
from matgen.energies.graph import GraphPredictor, GraphPrior
from matgen.energies.property import StatePropertyTarget, Target, TemplatePropertyTarget
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.energy import Sum, TemplateSum
from matgen.models import Models
from matgen.nn.template_prior import N_ELEMENTS, Conditions
from matgen.request import Request
from matgen.templates.crystal import CrystalTemplate, Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.prototypes import Layout, layout

STABLE = Target("energy_above_hull", -math.inf, 0.1, point=False)
"""What is wished for unless the request asks for another energy above the hull, eV/atom."""


def template_energy(request: Request, models: Models) -> TemplateSum:
    """What a template alone is worth: the prior given the request, and the wishes."""
    total = LearnedTemplatePrior(models.prior, conditions(request, 1, None))
    return total + template_wishes(request, models)


def template_wishes(request: Request, models: Models) -> TemplateSum:
    """Charge balance and the property wishes, as templates show them."""
    total = TemplateSum({"charge_balance": (1.0, ChargeBalance(penalty=request.sampler.charge))})
    for target, weight in targets(request):
        total = total + weight * TemplatePropertyTarget(models.properties, target)
    return total


def state_energy(request: Request, models: Models) -> Sum:
    """What a state is worth: the graph energy, repulsion, and the wishes."""
    total = Sum({"graph": (request.sampler.graph, GraphPrior(models.graph)), "repulsion": (1.0, ShortRangeRepulsion())})
    return total + state_wishes(request, models)


def state_wishes(request: Request, models: Models) -> Sum:
    """The property wishes, as states show them."""
    predictor = GraphPredictor(models.graph)
    total = Sum({})
    for target, weight in targets(request):
        total = total + weight * StatePropertyTarget(predictor, target)
    return total


def targets(request: Request) -> list[tuple[Target, float]]:
    """The wishes with their weights; stability is wished for unless the request speaks of it."""
    asked = [(target, request.sampler.wish) for target in request.wishes]
    if request.sampler.hull and all(target.name != STABLE.name for target, _ in asked):
        asked.append((STABLE, request.sampler.hull))
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
) -> dict[str, Tensor]:
    """Every weighted term (n_systems,) by name, the graph energy per atom: cells of different size compete."""
    state = expand(batch, geometry)
    with torch.no_grad():
        of_templates = template_energy(request, models).breakdown(batch)
        of_states = state_energy(request, models).breakdown(state, level)
    terms = {"template_prior": request.sampler.rank_prior * of_templates.pop("template_prior")}
    terms["charge_balance"] = of_templates.pop("charge_balance")
    terms["graph"] = request.sampler.rank_graph / request.sampler.graph * of_states.pop("graph") / batch.n_atoms
    return terms | of_states | {f"{name}_template": value for name, value in of_templates.items()}


def repeats(templates: Sequence[CrystalTemplate], total: Tensor, variety: float) -> Tensor:
    """Energy (n_systems,) for being one more of a layout: `variety` for each better one."""
    seen: Counter[Layout] = Counter()
    found = torch.zeros_like(total)
    for i in total.argsort().tolist():
        where = layout(templates[i])
        found[i] = variety * seen[where]
        seen[where] += 1
    return found
