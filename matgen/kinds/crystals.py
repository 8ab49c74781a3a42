"""Crystals: what their templates are told, how they move, and where their geometries start."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch

from matgen.energies.charge import ChargeBalance
from matgen.energies.closed_shell import ClosedShell
from matgen.energies.familiarity import Familiarity
from matgen.energies.novelty import Novelty
from matgen.energies.property import StatePredictor
from matgen.energies.template_prior import LearnedTemplatePrior, draw_templates
from matgen.energies.template_redraw import PARTS, LearnedRedraw
from matgen.energy import TemplateSum
from matgen.guide import Guide, by_structure
from matgen.models import Models
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_energy import GraphEnergy
from matgen.nn.template_prior import Conditions
from matgen.request import Request
from matgen.samplers.hybrid import Substitution
from matgen.samplers.starts import Starts, starts
from matgen.samplers.templates import ElementKernel, Move, element_move, redraw, substitute, swap
from matgen.templates.batch import Geometry, Template, TemplateBatch, crystals_of
from matgen.templates.prototypes import layout
from matgen.validation.known import known_formulas

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
    def predictor(self) -> StatePredictor:
        """The ensemble of structures."""
        return self.models.structures

    def guide(self) -> Guide:
        """The same ensemble."""
        return Guide(self.models.graph, by_structure(self.models.structures))

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
        if weights.novelty and not (request.allow_known or named):
            total = total + weights.novelty * Novelty(known_formulas())
        if weights.familiarity and request.wishes and not named:
            total = total + weights.familiarity * Familiarity(self.models.library)
        if weights.closed_shell and any(w.name == "band_gap" and w.low > 0 for w in request.wishes) and not named:
            total = total + weights.closed_shell * ClosedShell()
        return total

    def draw(self, n: int, generator: torch.Generator) -> list[Template]:
        """Templates drawn site by site, told what each is to be."""
        asked = drawn_conditions(self.request, n, generator)
        rules = self.request.crystal_rules
        return list(draw_templates(self.models.prior, rules, asked.to(self.models.device), generator))

    def moves(self) -> dict[str, Move]:
        """Elements exchanged, and parts drawn anew by the prior."""
        request, rules = self.request, self.request.crystal_rules
        moves = {"swap": element_move(swap(keep_composition=bool(rules.composition)), rules)}
        if not rules.composition:
            moves["substitute"] = element_move(substitute(self._kernel()), rules)
        if request.stages.redraws == "never" or (request.stages.redraws == "formula" and not rules.composition):
            return moves
        asked = settled_conditions(request).to(self.models.device)
        return moves | {
            f"redraw_{part}": redraw(LearnedRedraw(self.models.prior, rules, asked, part), rules) for part in PARTS
        }

    def substitution(self) -> Substitution | None:
        """Elements are exchanged unless the composition is named."""
        rules = self.request.crystal_rules
        return None if rules.composition else Substitution(substitute(self._kernel()), rules)

    def starts(self, templates: Sequence[Template], generator: torch.Generator) -> Starts:
        """The nearest prototypes, and draws from the density of geometries."""
        models, sampler = self.models, self.request.sampler

        def draw(unknown: TemplateBatch, generator: torch.Generator) -> Geometry:
            return models.geometry.draw(unknown.to(models.device), generator, sampler.draw_temperature)

        return starts(
            crystals_of(templates),
            models.library,
            draw,
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
