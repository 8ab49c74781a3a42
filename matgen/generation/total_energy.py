"""The total energy that a request defines, over templates and over states.

E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from matgen.energies.base import Energy, Sum, TemplateEnergy, TemplateSum
from matgen.energies.computed_target import CompositionTarget, EstimatedTarget, StructureTarget
from matgen.energies.graph import GraphNetworkEnergy, GraphPredictor
from matgen.energies.property_target import StatePredictor, StatePropertyTarget, TemplatePropertyTarget
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.energies.terms import check_finite
from matgen.generation.kinds.base import Kind
from matgen.generation.request import Request
from matgen.targets.computed import OF_COMPOSITION, OF_STRUCTURE
from matgen.targets.properties import COMPUTED_PROPERTIES
from matgen.targets.target import Target
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand

STABLE = Target("energy_above_hull", -math.inf, 0.1, point=False)
"""Target for crystals unless the request names another energy above the hull, eV/atom."""


def template_energy(request: Request, kind: Kind) -> TemplateSum:
    """Return the energy of templates alone: the prior given the request, and the targets."""
    return kind.prior() + template_targets(request, kind)


def template_targets(request: Request, kind: Kind, weight_of_targets: float | None = None) -> TemplateSum:
    """Return the terms of the kind, the property targets as predicted from templates, and the terms of the user."""
    total = kind.template_terms()
    for target, weight in weighted_targets(request, weight_of_targets):
        total = total + weight * _of_templates(kind, target)
    return total + request.terms.templates


def _of_templates(kind: Kind, target: Target) -> TemplateEnergy:
    """Return a target as predicted from templates; computed ones need no model."""
    if target.name in OF_COMPOSITION:
        return CompositionTarget(target)
    if target.name in COMPUTED_PROPERTIES:
        return EstimatedTarget(target)
    return TemplatePropertyTarget(kind.properties, target)


def state_energy(request: Request, kind: Kind) -> Sum:
    """Return the energy of the sampler: graph energy, repulsion, targets, and the user's terms not for ranking only."""
    total = _physical(request.sampler.graph, kind)
    return total + state_targets(request, kind) + request.terms.used("slopes", "values")


def _physical(weight: float, kind: Kind) -> Sum:
    """Return the weighted graph energy, and repulsion."""
    return Sum({"graph": (weight, GraphNetworkEnergy(kind.graph)), "repulsion": (1.0, ShortRangeRepulsion())})


def guidance(request: Request, kind: Kind) -> Sum:
    """Return the energy for the guidance of diffusion: the targets, if enabled, and terms of the user with slopes."""
    steered = request.property_targets and request.stages.guidance
    targets = state_targets(request, kind) if steered else Sum({})
    return targets + request.terms.used("slopes")


def state_targets(request: Request, kind: Kind) -> Sum:
    """Return the property targets as predicted from states by the graph network, which reads noised states too."""
    return _targets(GraphPredictor(kind.graph), weighted_targets(request))


def _targets(predictor: StatePredictor, wanted: Sequence[tuple[Target, float]]) -> Sum:
    total = Sum({})
    for target, weight in wanted:
        if target.name in OF_STRUCTURE or target.name not in COMPUTED_PROPERTIES:
            total = total + weight * _of_states(predictor, target)
    return total


def _of_states(predictor: StatePredictor, target: Target) -> Energy:
    """Return a target as predicted from states; those for density and volume are exact."""
    return StructureTarget(target) if target.name in OF_STRUCTURE else StatePropertyTarget(predictor, target)


def weighted_targets(request: Request, weight_of_targets: float | None = None) -> list[tuple[Target, float]]:
    """Return targets and weights, with the stability of crystals unless the request has a target for it.

    Args:
        request: what is asked.
        weight_of_targets: of each target of the request; that of the sampler if left out.
    """
    weight = request.sampler.target if weight_of_targets is None else weight_of_targets
    asked = [(target, weight) for target in request.property_targets]
    if request.kind == "crystal" and request.sampler.hull and all(t.name != STABLE.name for t, _ in asked):
        asked.append((STABLE, request.sampler.hull))
    return asked


def template_ranking(request: Request, kind: Kind) -> TemplateSum:
    """Return the part of the ranking energy that depends on templates alone."""
    weights = request.sampler
    prior = TemplateSum({"template_prior": (weights.rank_prior, kind.prior())})
    return prior + template_targets(request, kind, weights.rank_target)


def ranking_terms(
    batch: TemplateBatch,
    geometry: Geometry,
    level: Tensor,
    request: Request,
    kind: Kind,
) -> dict[str, Tensor]:
    """Return every term (n_systems,) by name, weighted for ranking.

    The graph energy counts per atom, since materials of different size compete. Targets weigh more than in the
    sampler: a chain that follows a model too closely finds its errors, while a choice needs confidence.
    """
    state, weights = expand(batch, geometry), request.sampler
    over_templates = template_ranking(request, kind)
    over_states = _physical(weights.rank_graph, kind) + _targets(
        kind.state_predictor, weighted_targets(request, weights.rank_target)
    )
    with torch.no_grad():
        of_templates = over_templates.breakdown(batch)
        of_states = (over_states + request.terms.states).breakdown(state, level)
    of_states["graph"] = of_states["graph"] / batch.n_atoms
    own, targets = request.terms.weights, {target.name for target, _ in weighted_targets(request)}
    check_finite({name: value for name, value in (of_templates | of_states).items() if name in own})
    both = targets & of_states.keys()
    return {f"{name}_template" if name in both else name: value for name, value in of_templates.items()} | of_states


def chances(terms: Mapping[str, Tensor], request: Request) -> Tensor | None:
    """Return the least probability (n_systems,) that a property target is met; None without weighted targets.

    Args:
        terms: result of `ranking_terms`.
        request: what is asked.
    """
    weight = request.sampler.rank_target
    if not request.property_targets or not weight:
        return None
    return torch.stack([(-terms[target.name] / weight).exp() for target in request.property_targets]).amin(0)
