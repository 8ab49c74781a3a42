"""Molecules: conditions, sampling and moves of their graphs, and initial geometries from noise."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from matgen.checks.molecular_graph import shows_template
from matgen.energies.base import Sum, TemplateSum
from matgen.energies.graph import GraphPredictor, denoiser_score
from matgen.energies.graph_prior import LearnedGraphPrior
from matgen.energies.graph_sampling import MoleculeSampler
from matgen.energies.known_molecule import KnownGraph
from matgen.energies.nonbonded import Nonbonded
from matgen.energies.property_target import StatePredictor
from matgen.energies.stereo import StereoEnergy
from matgen.generation.kinds.base import KindWithModels, by_example_of_ends, sampled_by_ends
from matgen.generation.predictors import Predictor, by_graph_and_template
from matgen.generation.resemblance import Resemblance, molecule_resemblance
from matgen.nn.conditions import MOLECULE_GRIDS, Conditions
from matgen.novelty.molecules import novel_molecule, shipped_molecules
from matgen.samplers.diffusion import Schedule, diffuse, energy_score, settled
from matgen.samplers.initial_geometry import InitialGeometries
from matgen.samplers.initial_noise import pure_noise
from matgen.samplers.metropolis import Move
from matgen.samplers.molecule_moves import standard_moves
from matgen.targets.computed import learned
from matgen.templates.batch import Geometry, Template, TemplateBatch, molecules_of
from matgen.templates.molecule import scaffold
from matgen.templates.noise import karras_levels
from matgen.templates.stereo import open_isomers, with_random_stereo
from matgen.weights.models import MoleculeModels

CONDITION_SPANS = {
    "gap": (0.0, 17.0),
    "homo": (-12.0, -2.0),
    "lumo": (-5.0, 6.0),
    "dipole": (0.0, 12.0),
    "polarizability": (10.0, 130.0),
    "atomization_energy": (-120.0, -10.0),
    "heat_capacity": (6.0, 50.0),
}
"""Ends of open ranges, in the unit of the property."""


@dataclass(frozen=True)
class Molecules(KindWithModels[MoleculeModels]):
    """Molecules that meet a request."""

    @property
    def state_predictor(self) -> StatePredictor:
        """The heads of the graph network."""
        return GraphPredictor(self.models.graph)

    def predictor(self) -> Predictor:
        """The graph network and the ensemble that reads molecular graphs."""
        return Predictor(self.models.graph, by_graph_and_template(self.models.graph, self.models.properties))

    @cached_property
    def resemblance(self) -> Resemblance | None:
        """Likeness to the examples, by the network that reads molecular graphs."""
        examples = self.request.like.of_kind("molecule")
        return molecule_resemblance(examples, self.models) if examples else None

    def state_terms(self) -> Sum:
        """None: what is compared is the graph."""
        return Sum({})

    def prior(self) -> LearnedGraphPrior:
        """The graph prior, conditioned on what holds for every molecule."""
        return LearnedGraphPrior(self.models.prior, self._conditions(1, torch.Generator(), fixed_only=True), orders=2)

    def template_terms(self) -> TemplateSum:
        """Novelty, unless known molecules are allowed or a graph or composition is given; likeness to examples."""
        request, weight, total = self.request, self.request.sampler.novelty, TemplateSum({})
        if weight and not (request.selection.allow_known or request.graph.smiles or request.rules.composition):
            known = shipped_molecules()
            total = total + weight * KnownGraph(lambda template: not novel_molecule(template, known).passed)
        return total if self.resemblance is None else total + request.like.weight * self.resemblance.templates

    def sample(self, n: int, generator: torch.Generator) -> list[Template]:
        """Graphs sampled atom by atom; for a given graph, every stereoisomer that it leaves open."""
        named = self.request.template
        if named is not None:
            return list(open_isomers(named))
        if self.ends:
            return sampled_by_ends(self.ends, n, generator)
        conditions = self._conditions(n, generator, fixed_only=False)
        return list(MoleculeSampler(self.models.prior, self.request.molecule_rules).sample(conditions, generator))

    def by_example(self, n: int, generator: torch.Generator) -> list[Template]:
        """The examples that obey the rules: moves lead from them to others, and they are no candidates themselves."""
        if self.ends:
            return by_example_of_ends(self.ends, n, generator)
        if self.request.template is not None:
            return []
        given = molecules_of(example.template for example in self.request.like.of_kind("molecule"))
        return list([one for one in given if self.request.molecule_rules.satisfied(one)][:n])

    def moves(self) -> dict[str, Move]:
        """Changes, insertions and removals of atoms and bonds; none if the graph is given."""
        return {} if self.request.template is not None else standard_moves(self.request.molecule_rules)

    def substitution(self) -> None:
        """None: a geometry is invalid once its graph changes."""

    @property
    def geometries(self) -> int:
        """Initial geometries of each template; a given graph has as many as all competing graphs together."""
        sampler = self.request.sampler
        return sampler.geometries * (sampler.started if self.request.template is not None else 1)

    def initial_geometries(self, templates: Sequence[Template], generator: torch.Generator) -> InitialGeometries:
        """Geometries diffused from pure noise by the learned score, then moved to a mode.

        Stereo that a graph leaves open is sampled first, so that SMILES and geometry of a result agree. Where the
        geometry shows another graph or stereo, both are sampled again, up to `initial_trials` times in all.
        """
        sampler, count = self.request.sampler, self.geometries
        given = [one for one in molecules_of(templates) for _ in range(count)]
        named, coords = list(given), [torch.zeros(0, 3)] * len(given)
        left = list(range(len(given)))
        for _ in range(sampler.initial_trials):
            if not left:
                break
            for i in left:
                named[i] = with_random_stereo(given[i], generator)
            batch = TemplateBatch.of([named[i] for i in left]).to(self.device)
            found = self._sampled(batch, generator).coords
            for i, positions in zip(left, found.split(batch.n_sites.tolist()), strict=True):
                coords[i] = positions
            left = [i for i in left if not shows_template(named[i], coords[i].double().cpu().numpy())]
        whole = TemplateBatch.of(named).to(self.device)
        positions = torch.cat([torch.zeros(0, 3, device=self.device), *coords])
        geometry = Geometry(positions.new_zeros(len(named), 6), positions)
        owner = torch.arange(len(templates), device=self.device).repeat_interleave(count)
        return InitialGeometries(whole, geometry, owner, torch.zeros_like(owner, dtype=torch.bool))

    def _sampled(self, batch: TemplateBatch, generator: torch.Generator) -> Geometry:
        """Sample one geometry each: diffusion, steps to a mode under stereo and nonbonded energies, then without."""
        sampler = self.request.sampler
        end = sampler.settle_noise if sampler.settle_levels else sampler.lowest
        score = denoiser_score(self.graph, batch)
        noise = pure_noise(batch, sampler.initial_noise, generator)
        levels = karras_levels(sampler.initial_noise, end, sampler.initial_levels)
        schedule = Schedule(levels, churn=sampler.initial_churn, corrector_steps=0)
        geometry = diffuse(score, batch, noise, schedule=schedule, generator=generator)
        if sampler.settle_levels:
            levels = karras_levels(sampler.settle_noise, sampler.lowest, sampler.settle_levels)
            guidance = energy_score(Nonbonded() + StereoEnergy(), batch)
            geometry = settled(score, batch, geometry, levels=levels, stride=sampler.settle_stride, guidance=guidance)
        if sampler.finish_levels:
            levels = karras_levels(sampler.sampled_noise, sampler.lowest, sampler.finish_levels)
            geometry = settled(score, batch, geometry, levels=levels)
        return geometry

    def likeness(self, template: Template) -> Hashable:
        """The scaffold: rings and linkers without elements; the formula if there is no ring."""
        return scaffold(*molecules_of([template]))

    def _conditions(self, n: int, generator: torch.Generator, *, fixed_only: bool) -> Conditions:
        """Conditions of n molecules: point targets, and values sampled within ranges unless `fixed_only`."""
        values = {}
        for target in learned(self.request.property_targets):
            lowest, highest = CONDITION_SPANS[target.name]
            low = target.low if math.isfinite(target.low) else min(lowest, target.high)
            high = target.high if math.isfinite(target.high) else max(highest, target.low)
            if target.point:
                values[target.name] = torch.full((n,), target.low)
            elif not fixed_only:
                values[target.name] = low + (high - low) * torch.rand(n, generator=generator)
        rules, conditions = self.request.molecule_rules, Conditions.none(n, MOLECULE_GRIDS)
        for name, value in values.items():
            conditions.properties[:, list(MOLECULE_GRIDS).index(name)] = value
        conditions.elements[:, sorted({*rules.required_elements, *(z for z, _ in rules.composition)} - {1})] = True
        conditions.complete[:] = bool(rules.composition)
        return conditions.to(self.device)
