"""Crystals: conditions, sampling and moves of their templates, and initial geometries."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from matgen.energies.base import Sum, TemplateSum
from matgen.energies.charge import ChargeBalance
from matgen.energies.chemical_distance import ChemicalDistance
from matgen.energies.closed_shell import ClosedShell
from matgen.energies.layout_sampling import with_sampled_elements
from matgen.energies.novelty import Novelty
from matgen.energies.property_target import StatePredictor
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.energies.template_regrowth import PARTS, LearnedRegrowth
from matgen.energies.template_sampling import TemplateSampler
from matgen.generation.kinds.base import KindWithModels, by_example_of_ends, sampled_by_ends
from matgen.generation.predictors import Predictor, by_structure
from matgen.generation.request import Request
from matgen.generation.resemblance import Resemblance, crystal_resemblance
from matgen.nn.conditions import CRYSTAL_GRIDS, Conditions
from matgen.novelty.crystals import known_formulas
from matgen.samplers.hybrid import Substitution
from matgen.samplers.initial_geometry import InitialGeometries, initial_geometries
from matgen.samplers.metropolis import Move
from matgen.samplers.template_moves import ElementKernel, element_move, regrow, substitute, swap
from matgen.targets.computed import by_models
from matgen.templates.batch import Geometry, Template, TemplateBatch, crystals_of
from matgen.templates.by_composition import CompositionIndex
from matgen.templates.prototypes import layout
from matgen.weights.models import Models

CONDITION_RANGES = {"band_gap": (0, 0.0, 8.0), "formation_energy": (1, -4.0, 1.0), "energy_above_hull": (2, 0.0, 0.4)}
"""Column in `Conditions.properties`, and where open ranges end, in the property's unit."""

FEW_ELEMENTS = 6
"""Up to this many allowed elements, sampled templates are conditioned on some of them; with more, masks suffice."""


@dataclass(frozen=True)
class Crystals(KindWithModels[Models]):
    """Crystals that meet a request."""

    @property
    def state_predictor(self) -> StatePredictor:
        """The ensemble that reads structures."""
        return self.models.structures

    def predictor(self) -> Predictor:
        """The graph network and the same ensemble."""
        return Predictor(self.models.graph, by_structure(self.models.structures))

    @cached_property
    def resemblance(self) -> Resemblance | None:
        """Likeness to the examples, by the ensembles that read templates and structures; at a pressure templates only.

        Those that read structures know volumes at 0 GPa.
        """
        examples = self.request.like.of_kind("crystal")
        if not examples:
            return None
        found = crystal_resemblance(examples, self.models)
        return replace(found, states=None) if self.request.relaxation.pressure else found

    def state_terms(self) -> Sum:
        """Likeness of structures to the examples."""
        if self.resemblance is None or self.resemblance.states is None:
            return Sum({})
        return self.request.like.weight * self.resemblance.states

    def prior(self) -> LearnedTemplatePrior:
        """The template prior, conditioned on what holds for every template."""
        return LearnedTemplatePrior(self.models.prior, settled_conditions(self.request))

    def template_terms(self) -> TemplateSum:
        """Charge balance, novelty, chemical distance, closed shells, likeness to examples.

        Chemical distance counts with property targets, since predictions are reliable near known chemistry, and with a
        given composition, whose structure is likely one that similar elements have; closed shells only with a target of
        a band gap. Of the others, only charge balance applies to a given composition.
        """
        request, weights = self.request, self.request.sampler
        named = bool(request.rules.composition)
        total = TemplateSum({"charge_balance": (1.0, ChargeBalance(penalty=weights.charge))})
        if weights.novelty and not (request.selection.allow_known or named):
            total = total + weights.novelty * Novelty(known_formulas())
        if weights.chemical_distance and (by_models(request.property_targets) or named):
            total = total + weights.chemical_distance * ChemicalDistance(self.models.library)
        needs_gap = any(target.name == "band_gap" and target.low > 0 for target in request.property_targets)
        if weights.closed_shell and needs_gap and not named:
            total = total + weights.closed_shell * ClosedShell()
        if self.resemblance is not None:
            total = total + request.like.weight * self.resemblance.templates
        return total

    def sample(self, n: int, generator: torch.Generator) -> list[Template]:
        """Templates sampled site by site, each under conditions of its own."""
        if self.ends:
            return sampled_by_ends(self.ends, n, generator)
        conditions = sampled_conditions(self.request, n, generator)
        sampler = TemplateSampler(self.models.prior, self.request.crystal_rules)
        return list(sampler.sample(conditions.to(self.models.device), generator))

    def by_example(self, n: int, generator: torch.Generator) -> list[Template]:
        """Wyckoff layouts of the examples with elements sampled by the prior; none where a composition is given."""
        if self.ends:
            return by_example_of_ends(self.ends, n, generator)
        examples = self.request.like.of_kind("crystal")
        if not examples or not n or self.request.rules.composition:
            return []
        given = crystals_of(examples[i % len(examples)].template for i in range(n))
        conditions = sampled_conditions(self.request, n, generator).to(self.models.device)
        sampler = TemplateSampler(self.models.prior, self.request.crystal_rules)
        return list(with_sampled_elements(sampler, conditions, given, generator))

    def analogues(self, most: int) -> list[Template]:
        """Of a given composition, the templates of known prototypes that hold it, chemically nearest first."""
        rules = self.request.crystal_rules
        if not rules.composition:
            return []
        return [template for template, _ in CompositionIndex(self.models.library).templates(rules, most)]

    def moves(self) -> dict[str, Move]:
        """Exchange of elements, and regrowth of parts by the prior."""
        request, rules = self.request, self.request.crystal_rules
        moves = {"swap": element_move(swap(keep_composition=bool(rules.composition)), rules)}
        if not rules.composition:
            moves["substitute"] = element_move(substitute(self._kernel()), rules)
        if request.stages.regrowth == "never" or (request.stages.regrowth == "formula" and not rules.composition):
            return moves
        conditions = settled_conditions(request).to(self.models.device)
        return moves | {
            f"regrow_{part}": regrow(LearnedRegrowth(self.models.prior, rules, conditions, part), rules)
            for part in PARTS
        }

    def substitution(self) -> Substitution | None:
        """Exchange of elements, unless the composition is given."""
        rules = self.request.crystal_rules
        return None if rules.composition else Substitution(substitute(self._kernel()), rules)

    def initial_geometries(self, templates: Sequence[Template], generator: torch.Generator) -> InitialGeometries:
        """The nearest prototypes, and samples of the density of geometries."""
        models, sampler = self.models, self.request.sampler

        def sample(unknown: TemplateBatch, generator: torch.Generator) -> Geometry:
            return models.geometry.sample(unknown.to(models.device), generator, sampler.sampling_temperature)

        return initial_geometries(
            crystals_of(templates),
            models.library,
            sample,
            generator,
            per_template=sampler.geometries,
            prototypes=sampler.prototypes,
        ).to(models.device)

    def likeness(self, template: Template) -> Hashable:
        """The Wyckoff layout."""
        return layout(*crystals_of([template]))

    def _kernel(self) -> ElementKernel:
        return ElementKernel.of(sorted(self.request.rules.allowed_elements), width=self.request.sampler.likeness)


def settled_conditions(request: Request) -> Conditions:
    """Return one row of conditions that hold for every template: point targets and required elements, but no ranges."""
    conditions = Conditions.none(1, CRYSTAL_GRIDS)
    conditions.properties[:, 2] = 0.0
    for target in request.property_targets:
        if target.name not in CONDITION_RANGES:  # the prior was not trained on it
            continue
        column = CONDITION_RANGES[target.name][0]
        conditions.properties[:, column] = target.low if target.point else math.nan
    conditions.elements[:, sorted(_required(request))] = True
    conditions.complete[:] = bool(request.rules.composition)
    conditions.n_atoms[:] = request.crystal_rules.n_atoms
    return conditions


def sampled_conditions(request: Request, n: int, generator: torch.Generator) -> Conditions:
    """Sample conditions of n templates: values within each range, and some of the allowed elements if these are few.

    Where a range contains zero, which is special (a metal; a compound on the hull), half of the values are zero.
    """
    rows = torch.zeros(n, dtype=torch.long)
    conditions = settled_conditions(request).select(rows)
    for target in request.property_targets:
        if target.name not in CONDITION_RANGES:
            continue
        column, lowest, highest = CONDITION_RANGES[target.name]
        low = target.low if math.isfinite(target.low) else min(lowest, target.high)
        high = target.high if math.isfinite(target.high) else max(min(low + 2.0, highest), low)
        values = low + (high - low) * torch.rand(n, generator=generator)
        zero = (torch.rand(n, generator=generator) < 0.5) & (low <= 0.0 <= lowest) & (low < high)
        conditions.properties[:, column] = torch.where(zero, 0.0, values)
    allowed = sorted(request.rules.allowed_elements)
    if request.composition.elements and len(allowed) <= FEW_ELEMENTS and not request.rules.composition:
        some = torch.zeros_like(conditions.elements)
        some[:, allowed] = torch.rand(n, len(allowed), generator=generator) < 0.6
        conditions = replace(conditions, elements=conditions.elements | some)
        conditions.complete[:] = conditions.elements.any(1)
    return conditions


def _required(request: Request) -> set[int]:
    return set(request.rules.required_elements) | {z for z, _ in request.rules.composition}
