"""The one energy that a request defines, in its two rooms.

E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from matgen.energies.charge import ChargeBalance
from matgen.energies.closed_shell import ClosedShell
from matgen.energies.familiarity import Familiarity
from matgen.energies.graph import GraphPredictor, GraphPrior
from matgen.energies.novelty import Novelty
from matgen.energies.property import StatePropertyTarget, Target, TemplatePropertyTarget
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.energy import Sum, TemplateSum
from matgen.models import Models
from matgen.nn.template_prior import Conditions
from matgen.request import Request
from matgen.templates.crystal import CrystalTemplate, Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.prototypes import Layout, layout
from matgen.terms import check_finite
from matgen.validation.known import known_formulas

STABLE = Target("energy_above_hull", -math.inf, 0.1, point=False)
"""What is wished for unless the request asks for another energy above the hull, eV/atom."""


def template_energy(request: Request, models: Models) -> TemplateSum:
    """What a template alone is worth: the prior given the request, and the wishes."""
    return _prior(request, models) + template_wishes(request, models)


def _prior(request: Request, models: Models) -> LearnedTemplatePrior:
    """The template prior, told what every template is to be."""
    return LearnedTemplatePrior(models.prior, settled_conditions(request))


def template_wishes(request: Request, models: Models, weight_of_wishes: float | None = None) -> TemplateSum:
    """Charge balance, novelty, familiar chemistry, closed shells, property wishes as templates show them, own terms.

    Familiar chemistry is where predictions hold: it is weighed where properties are wished for; closed shells where a
    gap is. None of these speaks against a composition that was named.
    """
    weights, named = request.sampler, bool(request.rules.composition)
    total = TemplateSum({"charge_balance": (1.0, ChargeBalance(penalty=weights.charge))})
    if weights.novelty and not (request.allow_known or named):
        total = total + weights.novelty * Novelty(known_formulas())
    if weights.familiarity and request.wishes and not named:
        total = total + weights.familiarity * Familiarity(models.library)
    if weights.closed_shell and any(w.name == "band_gap" and w.low > 0 for w in request.wishes) and not named:
        total = total + weights.closed_shell * ClosedShell()
    for target, weight in targets(request, weight_of_wishes):
        total = total + weight * TemplatePropertyTarget(models.properties, target)
    return total + request.terms.templates


def state_energy(request: Request, models: Models) -> Sum:
    """What a sampler walks on: the graph energy, repulsion, the wishes, and own terms that are not for ranking only."""
    total = _physical(request.sampler.graph, models)
    return total + state_wishes(request, models) + request.terms.used("slopes", "values")


def _physical(weight: float, models: Models) -> Sum:
    """The graph energy with this weight, and repulsion."""
    return Sum({"graph": (weight, GraphPrior(models.graph)), "repulsion": (1.0, ShortRangeRepulsion())})


def guidance(request: Request, models: Models) -> Sum:
    """What pulls on the diffusion: the wishes if any were made, and own terms that have slopes."""
    wishes = state_wishes(request, models) if request.wishes else Sum({})
    return wishes + request.terms.used("slopes")


def state_wishes(request: Request, models: Models, weight_of_wishes: float | None = None) -> Sum:
    """The property wishes, as states show them."""
    predictor = GraphPredictor(models.graph)
    total = Sum({})
    for target, weight in targets(request, weight_of_wishes):
        total = total + weight * StatePropertyTarget(predictor, target)
    return total


def targets(request: Request, weight_of_wishes: float | None = None) -> list[tuple[Target, float]]:
    """The wishes with their weights, those of the walk if left out; stability, unless the request speaks of it."""
    weight = request.sampler.wish if weight_of_wishes is None else weight_of_wishes
    asked = [(target, weight) for target in request.wishes]
    if request.sampler.hull and all(target.name != STABLE.name for target, _ in asked):
        asked.append((STABLE, request.sampler.hull))
    return asked


CONDITION_RANGES = {"band_gap": (0, 0.0, 8.0), "formation_energy": (1, -4.0, 1.0), "energy_above_hull": (2, 0.0, 0.4)}
"""Column in `Conditions.properties`, and where open ranges end, in the property's unit."""

FEW_ELEMENTS = 6
"""Up to so many allowed elements, drawn templates are told which of them to hold; beyond, masks alone decide."""


def settled_conditions(request: Request) -> Conditions:
    """One row of what every template is to be: point wishes, required elements; nothing that a range leaves open."""
    asked = Conditions.none(1)
    asked.properties[:, 2] = 0.0
    for target in request.wishes:
        column = CONDITION_RANGES[target.name][0]
        asked.properties[:, column] = target.low if target.point else math.nan
    asked.elements[:, sorted(_required(request))] = True
    asked.complete[:] = bool(request.rules.composition)
    return asked


def drawn_conditions(request: Request, n: int, generator: torch.Generator) -> Conditions:
    """Conditions of n templates to be drawn: values from within each range, and some of the few allowed elements.

    Where a range holds zero, which is special (a metal; a compound on the hull), half of the values are zero.
    """
    rows = torch.zeros(n, dtype=torch.long)
    asked = settled_conditions(request).select(rows)
    for target in request.wishes:
        column, lowest, highest = CONDITION_RANGES[target.name]
        low = target.low if math.isfinite(target.low) else min(lowest, target.high)
        high = target.high if math.isfinite(target.high) else max(min(low + 2.0, highest), low)
        values = low + (high - low) * torch.rand(n, generator=generator)
        zero = (torch.rand(n, generator=generator) < 0.5) & (low <= 0.0 <= lowest) & (low < high)
        asked.properties[:, column] = torch.where(zero, 0.0, values)
    allowed = sorted(request.rules.allowed_elements)
    if request.elements and len(allowed) <= FEW_ELEMENTS and not request.rules.composition:
        some = torch.zeros_like(asked.elements)
        some[:, allowed] = torch.rand(n, len(allowed), generator=generator) < 0.6
        asked = replace(asked, elements=asked.elements | some)
        asked.complete[:] = asked.elements.any(1)
    return asked


def _required(request: Request) -> set[int]:
    return set(request.rules.required_elements) | {z for z, _ in request.rules.composition}


def template_ranking(request: Request, models: Models) -> TemplateSum:
    """What templates are ranked by, as far as they alone tell."""
    weights = request.sampler
    prior = TemplateSum({"template_prior": (weights.rank_prior, _prior(request, models))})
    return prior + template_wishes(request, models, weights.rank_wish)


def ranking_terms(
    batch: TemplateBatch,
    geometry: Geometry,
    level: Tensor,
    request: Request,
    models: Models,
) -> dict[str, Tensor]:
    """Every term (n_systems,) by name, weighted for ranking.

    The graph energy counts per atom, since cells of different size compete, and the wishes count more than where the
    sampler walks: a walk that follows a model too eagerly finds its errors, a choice wants to be sure.
    """
    state, weights = expand(batch, geometry), request.sampler
    over_templates = template_ranking(request, models)
    over_states = _physical(weights.rank_graph, models) + state_wishes(request, models, weights.rank_wish)
    with torch.no_grad():
        of_templates = over_templates.breakdown(batch)
        of_states = (over_states + request.terms.states).breakdown(state, level)
    of_states["graph"] = of_states["graph"] / batch.n_atoms
    own, wishes = request.terms.weights, {target.name for target, _ in targets(request)}
    check_finite({name: value for name, value in (of_templates | of_states).items() if name in own})
    return {f"{name}_template" if name in wishes else name: value for name, value in of_templates.items()} | of_states


def repeats(templates: Sequence[CrystalTemplate], total: Tensor, variety: float) -> Tensor:
    """Energy (n_systems,) for being one more of a layout: `variety` for each better one."""
    seen: Counter[Layout] = Counter()
    found = torch.zeros_like(total)
    for i in total.argsort().tolist():
        where = layout(templates[i])
        found[i] = variety * seen[where]
        seen[where] += 1
    return found
