"""Crystals that share the held sites of a host: the same prior, energies and geometry, with masks."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from matgen.energies.base import Sum, TemplateSum
from matgen.energies.element_regrowth import ElementRegrowth
from matgen.energies.property_target import StatePredictor
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.energies.template_regrowth import LearnedRegrowth
from matgen.generation.host_plan import HeldPlan
from matgen.generation.kinds.crystals import Crystals, settled_conditions
from matgen.generation.predictors import Predictor
from matgen.generation.request import Request
from matgen.generation.resemblance import Resemblance
from matgen.nn.conditions import Conditions
from matgen.nn.embedding_heads import WithHeads
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_energy import GraphEnergy
from matgen.samplers.initial_geometry import InitialGeometries, joined
from matgen.samplers.metropolis import Move
from matgen.samplers.template_moves import regrow
from matgen.templates.batch import Geometry, Template, TemplateBatch, crystals_of
from matgen.templates.crystal import CrystalTemplate

MOST_ARRANGEMENTS = 6
"""Arrangements of elements on equal Wyckoff positions that are tried as initial geometries of a template."""


@dataclass(frozen=True)
class HeldCrystals:
    """Crystals that a request makes of a host, or around a start.

    Attributes:
        crystals: the same request without a host's masks.
        plan: what is held.
    """

    crystals: Crystals
    plan: HeldPlan

    @property
    def request(self) -> Request:
        """The request."""
        return self.crystals.request

    @property
    def graph(self) -> GraphEnergy:
        """Energy and properties of states."""
        return self.crystals.graph

    @property
    def properties(self) -> Ensemble | WithHeads:
        """Properties of templates."""
        return self.crystals.properties

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.crystals.device

    @property
    def state_predictor(self) -> StatePredictor:
        """The ensemble that reads structures."""
        return self.crystals.state_predictor

    @cached_property
    def ends(self) -> tuple[tuple[float, "HeldCrystals"], ...]:
        """The same crystals for each request that this one lies between, with its weight."""
        return tuple((weight, replace(self, crystals=end)) for weight, end in self.crystals.ends)

    @property
    def resemblance(self) -> Resemblance | None:
        """Likeness to the examples of the request; None without."""
        return self.crystals.resemblance

    def state_terms(self) -> Sum:
        """Energies of states besides graph energy, repulsion and targets."""
        return self.crystals.state_terms()

    def predictor(self) -> Predictor:
        """Predictions of a proposal."""
        return self.crystals.predictor()

    @cached_property
    def conditions(self) -> Conditions:
        """One row of conditions that hold for every template: those of the request, the held elements, the size."""
        conditions = settled_conditions(self.request)
        elements = conditions.elements.clone()
        elements[:, sorted({z for _, z in self.plan.held.held})] = True
        conditions = replace(conditions, elements=elements)
        if self.plan.replaced:
            conditions.n_atoms[:] = self.plan.host.template.n_atoms
        return conditions.to(self.device)

    def prior(self) -> LearnedTemplatePrior:
        """-log p(template), conditioned on what holds for every template."""
        return LearnedTemplatePrior(self.crystals.models.prior, self.conditions)

    def template_terms(self) -> TemplateSum:
        """Energies of templates besides the prior and the targets, as for other crystals."""
        return self.crystals.template_terms()

    def listed(self) -> list[Template]:
        """All templates, if they are few."""
        return list(self.plan.listed)

    def sample(self, n: int, generator: torch.Generator) -> list[Template]:
        """Templates of the host with the elements of one group after the other sampled; the start itself."""
        if not self.plan.replaced:
            return [self.plan.host.template]
        heads = [self.plan.held.held] * n
        for index, group in enumerate(self.plan.held.groups):
            positions = [self.plan.host.template.sites[site][0] for site in group.sites]
            tails, _ = self._elements(index).sampled(heads, [positions] * n, generator)
            heads = [(*head, *tail) for head, tail in zip(heads, tails, strict=True)]
        found = [CrystalTemplate(self.plan.host.template.space_group, tuple(sorted(sites))) for sites in heads]
        return [one for one in found if self.plan.rules.satisfied(one)]

    def by_example(self, n: int, generator: torch.Generator) -> list[Template]:
        """None: the templates of examples have other positions."""
        del n, generator
        return []

    def analogues(self, most: int) -> list[Template]:
        """None: templates by analogy belong to a formula."""
        del most
        return []

    def moves(self) -> dict[str, Move]:
        """New elements on the open sites of each group; around a start also new positions."""
        rules = self.plan.rules
        moves = {f"elements_{i}": regrow(self._elements(i), rules) for i in range(len(self.plan.held.groups))}
        if self.plan.held.movable:
            prior, held = self.crystals.models.prior, self.plan.held.held
            for part in ("site", "tail"):
                moves[f"regrow_{part}"] = regrow(LearnedRegrowth(prior, rules, self.conditions, part, held), rules)
        return moves

    def substitution(self) -> None:
        """None: which sites may hold other elements is decided on templates."""

    def initial_geometries(self, templates: Sequence[Template], generator: torch.Generator) -> InitialGeometries:
        """The geometry of the host, scaled to the volume of the elements; for other positions as for any crystal."""
        parts = []
        for owner, template in enumerate(crystals_of(templates)):
            if self.plan.held.same_positions(template):
                found = self._of_host(template)
            else:
                found = self.crystals.initial_geometries([template], generator)
            parts.append(replace(found, owner=found.owner + owner))
        return joined(parts) if parts else self.crystals.initial_geometries([], generator)

    def likeness(self, template: Template) -> Hashable:
        """The template itself: all may share the Wyckoff layout of the host."""
        return template

    def _elements(self, group: int) -> ElementRegrowth:
        return ElementRegrowth(self.crystals.models.prior, self.conditions, self.plan.held, group)

    def _of_host(self, template: CrystalTemplate) -> InitialGeometries:
        """Return the host's geometry with the elements of a template in every arrangement, up to a number."""
        geometry = self.plan.host.geometry
        ways = self.plan.held.correspondences(template, MOST_ARRANGEMENTS)
        batch = TemplateBatch.of([template] * len(ways))
        coords = torch.cat([geometry.coords[list(way)] for way in ways]).float()
        lattice = geometry.lattice.float().expand(len(ways), -1)
        whole = Geometry(lattice * batch.free_lattice, coords * batch.free_coords)
        owner = torch.zeros(len(ways), dtype=torch.long)
        return InitialGeometries(batch, whole, owner, torch.ones(len(ways), dtype=torch.bool)).to(self.device)
