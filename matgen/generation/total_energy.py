"""The total energy that a request defines, over templates and over states.

E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k

A request between two others has E(x) = α E_A(x) + (1 − α) E_B(x).
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
from matgen.generation.blend import blended_states, blended_templates
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
    if kind.ends:
        return blended_templates([(weight, template_energy(end.request, end)) for weight, end in kind.ends])
    return kind.prior() + template_targets(request, kind)


def template_targets(request: Request, kind: Kind, weight_of_targets: float | None = None) -> TemplateSum:
    """Return the terms of the kind, the property targets as predicted from templates, and the terms of the user.

    Args:
        request: what is asked.
        kind: crystals or molecules.
        weight_of_targets: of each target of the request; that of the sampler if left out.
    """
    if kind.ends:
        parts = [(weight, template_targets(end.request, end, weight_of_targets)) for weight, end in kind.ends]
        return blended_templates(parts)
    total = kind.template_terms()
    for target, weight in weighted_targets(request, weight_of_targets):
        name = f"{target.name}_template" if _of_both(target) else target.name
        total = total + TemplateSum({name: (weight, _of_templates(kind, target))})
    return total + request.terms.templates


def _of_both(target: Target) -> bool:
    """Tell whether a target counts for structures as well as for templates, which then have a name of their own."""
    return target.name in OF_STRUCTURE or target.name not in COMPUTED_PROPERTIES


def _of_templates(kind: Kind, target: Target) -> TemplateEnergy:
    """Return a target as predicted from templates; computed ones need no model."""
    if target.name in OF_COMPOSITION:
        return CompositionTarget(target)
    if target.name in COMPUTED_PROPERTIES:
        return EstimatedTarget(target)
    return TemplatePropertyTarget(kind.properties, target)


def state_energy(request: Request, kind: Kind) -> Sum:
    """Return the energy of the sampler: graph energy, repulsion, targets, and the user's terms not for ranking only."""
    if kind.ends:
        return blended_states([(weight, state_energy(end.request, end)) for weight, end in kind.ends])
    total = _physical(request.sampler.graph, kind)
    return total + state_targets(request, kind) + request.terms.used("slopes", "values")


def _physical(weight: float, kind: Kind) -> Sum:
    """Return the weighted graph energy, and repulsion."""
    return Sum({"graph": (weight, GraphNetworkEnergy(kind.graph)), "repulsion": (1.0, ShortRangeRepulsion())})


def guidance(request: Request, kind: Kind) -> Sum:
    """Return the energy for the guidance of diffusion: the targets, if enabled, and terms of the user with slopes."""
    if kind.ends:
        return blended_states([(weight, guidance(end.request, end)) for weight, end in kind.ends])
    steered = request.property_targets and request.stages.guidance
    targets = state_targets(request, kind) if steered else Sum({})
    return targets + request.terms.used("slopes")


def state_targets(request: Request, kind: Kind) -> Sum:
    """Return the property targets as predicted from states by the graph network, which reads noised states too."""
    return _targets(GraphPredictor(kind.graph), weighted_targets(request))


def _targets(predictor: StatePredictor, wanted: Sequence[tuple[Target, float]]) -> Sum:
    total = Sum({})
    for target, weight in wanted:
        if _of_both(target):
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
    if kind.ends:
        return blended_templates([(weight, template_ranking(end.request, end)) for weight, end in kind.ends])
    weights = request.sampler
    prior = TemplateSum({"template_prior": (weights.rank_prior, kind.prior())})
    return prior + template_targets(request, kind, weights.rank_target)


def state_ranking(request: Request, kind: Kind) -> Sum:
    """Return the part of the ranking energy that depends on states; its graph energy is still to be taken per atom."""
    if kind.ends:
        return blended_states([(weight, state_ranking(end.request, end)) for weight, end in kind.ends])
    weights = request.sampler
    targets = _targets(kind.state_predictor, weighted_targets(request, weights.rank_target))
    return _physical(weights.rank_graph, kind) + targets + kind.state_terms() + request.terms.states


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
    state = expand(batch, geometry)
    with torch.no_grad():
        of_templates = template_ranking(request, kind).breakdown(batch)
        of_states = state_ranking(request, kind).breakdown(state, level)
    of_states["graph"] = of_states["graph"] / batch.n_atoms
    terms, own = of_templates | of_states, request.terms.weights
    check_finite({name: value for name, value in terms.items() if name in own})
    return terms


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
