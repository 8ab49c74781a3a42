"""Crystals: what their templates are told, how they move, and where their geometries start."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch

from matgen.energies.base import TemplateSum
from matgen.energies.charge import ChargeBalance
from matgen.energies.chemical_distance import ChemicalDistance
from matgen.energies.closed_shell import ClosedShell
from matgen.energies.novelty import Novelty
from matgen.energies.property_target import StatePredictor
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.energies.template_regrowth import PARTS, LearnedRegrowth
from matgen.energies.template_sampling import sample_templates
from matgen.generation.predictors import Predictor, by_structure
from matgen.generation.request import Request
from matgen.nn.conditions import CRYSTAL_GRIDS, Conditions
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_energy import GraphEnergy
from matgen.novelty.crystals import known_formulas
from matgen.samplers.hybrid import Substitution
from matgen.samplers.initial_geometry import InitialGeometries, initial_geometries
from matgen.samplers.metropolis import Move
from matgen.samplers.template_moves import ElementKernel, element_move, regrow, substitute, swap
from matgen.templates.batch import Geometry, Template, TemplateBatch, crystals_of
from matgen.templates.prototypes import layout
from matgen.weights.models import Models

CONDITION_RANGES = {"band_gap": (0, 0.0, 8.0), "formation_energy": (1, -4.0, 1.0), "energy_above_hull": (2, 0.0, 0.4)}
"""Column in `Conditions.properties`, and where open ranges end, in the property's unit."""

FEW_ELEMENTS = 6
"""Up to so many allowed elements, drawn templates are told which of them to hold; beyond, masks alone decide."""


@dataclass(frozen=True)
class Crystals:
    """Crystals as a request asks for them.

    Attributes:
        request: what is wanted.
        models: that guide.
    """

    request: Request
    models: Models

    @property
    def graph(self) -> GraphEnergy:
        """Energy and properties of states."""
        return self.models.graph

    @property
    def properties(self) -> Ensemble:
        """Properties of templates."""
        return self.models.properties

    @property
    def state_predictor(self) -> StatePredictor:
        """The ensemble of structures."""
        return self.models.structures

    def predictor(self) -> Predictor:
        """The same ensemble."""
        return Predictor(self.models.graph, by_structure(self.models.structures))

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.models.device

    def prior(self) -> LearnedTemplatePrior:
        """The template prior, told what every template is to be."""
        return LearnedTemplatePrior(self.models.prior, settled_conditions(self.request))

    def opinions(self) -> TemplateSum:
        """Charge balance, novelty, familiar chemistry, closed shells.

        Familiar chemistry is where predictions hold: it is weighed where properties are wished for; closed shells where
        a gap is. None of these speaks against a composition that was named.
        """
        request, weights = self.request, self.request.sampler
        named = bool(request.rules.composition)
        total = TemplateSum({"charge_balance": (1.0, ChargeBalance(penalty=weights.charge))})
        if weights.novelty and not (request.selection.allow_known or named):
            total = total + weights.novelty * Novelty(known_formulas())
        if weights.chemical_distance and request.property_targets and not named:
            total = total + weights.chemical_distance * ChemicalDistance(self.models.library)
        if (
            weights.closed_shell
            and any(w.name == "band_gap" and w.low > 0 for w in request.property_targets)
            and not named
        ):
            total = total + weights.closed_shell * ClosedShell()
        return total

    def sample(self, n: int, generator: torch.Generator) -> list[Template]:
        """Templates drawn site by site, told what each is to be."""
        asked = sampled_conditions(self.request, n, generator)
        rules = self.request.crystal_rules
        return list(sample_templates(self.models.prior, rules, asked.to(self.models.device), generator))

    def moves(self) -> dict[str, Move]:
        """Elements exchanged, and parts drawn anew by the prior."""
        request, rules = self.request, self.request.crystal_rules
        moves = {"swap": element_move(swap(keep_composition=bool(rules.composition)), rules)}
        if not rules.composition:
            moves["substitute"] = element_move(substitute(self._kernel()), rules)
        if request.stages.regrowth == "never" or (request.stages.regrowth == "formula" and not rules.composition):
            return moves
        asked = settled_conditions(request).to(self.models.device)
        return moves | {
            f"redraw_{part}": regrow(LearnedRegrowth(self.models.prior, rules, asked, part), rules) for part in PARTS
        }

    def substitution(self) -> Substitution | None:
        """Elements are exchanged unless the composition is named."""
        rules = self.request.crystal_rules
        return None if rules.composition else Substitution(substitute(self._kernel()), rules)

    def initial_geometries(self, templates: Sequence[Template], generator: torch.Generator) -> InitialGeometries:
        """The nearest prototypes, and draws from the density of geometries."""
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
        """Their layout."""
        return layout(*crystals_of([template]))

    def _kernel(self) -> ElementKernel:
        return ElementKernel.of(sorted(self.request.rules.allowed_elements), width=self.request.sampler.likeness)


def settled_conditions(request: Request) -> Conditions:
    """One row of what every template is to be: point wishes, required elements; nothing that a range leaves open."""
    asked = Conditions.none(1, CRYSTAL_GRIDS)
    asked.properties[:, 2] = 0.0
    for target in request.property_targets:
        column = CONDITION_RANGES[target.name][0]
        asked.properties[:, column] = target.low if target.point else math.nan
    asked.elements[:, sorted(_required(request))] = True
    asked.complete[:] = bool(request.rules.composition)
    return asked


def sampled_conditions(request: Request, n: int, generator: torch.Generator) -> Conditions:
    """Conditions of n templates to be drawn: values from within each range, and some of the few allowed elements.

    Where a range holds zero, which is special (a metal; a compound on the hull), half of the values are zero.
    """
    rows = torch.zeros(n, dtype=torch.long)
    asked = settled_conditions(request).select(rows)
    for target in request.property_targets:
        column, lowest, highest = CONDITION_RANGES[target.name]
        low = target.low if math.isfinite(target.low) else min(lowest, target.high)
        high = target.high if math.isfinite(target.high) else max(min(low + 2.0, highest), low)
        values = low + (high - low) * torch.rand(n, generator=generator)
        zero = (torch.rand(n, generator=generator) < 0.5) & (low <= 0.0 <= lowest) & (low < high)
        asked.properties[:, column] = torch.where(zero, 0.0, values)
    allowed = sorted(request.rules.allowed_elements)
    if request.composition.elements and len(allowed) <= FEW_ELEMENTS and not request.rules.composition:
        some = torch.zeros_like(asked.elements)
        some[:, allowed] = torch.rand(n, len(allowed), generator=generator) < 0.6
        asked = replace(asked, elements=asked.elements | some)
        asked.complete[:] = asked.elements.any(1)
    return asked


def _required(request: Request) -> set[int]:
    return set(request.rules.required_elements) | {z for z, _ in request.rules.composition}
