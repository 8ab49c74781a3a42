"""Molecules: how their graphs are drawn and moved, and how a geometry starts from noise."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from matgen.checks.molecular_graph import shows_template
from matgen.energies.base import TemplateSum
from matgen.energies.graph import GraphPredictor, denoiser_score
from matgen.energies.graph_prior import LearnedGraphPrior
from matgen.energies.graph_sampling import sample_molecules
from matgen.energies.known_molecule import KnownGraph
from matgen.energies.nonbonded import Nonbonded
from matgen.energies.property_target import StatePredictor
from matgen.energies.stereo import StereoEnergy
from matgen.generation.predictors import Predictor, by_graph_and_template
from matgen.generation.request import Request
from matgen.nn.conditions import MOLECULE_GRIDS, Conditions
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_energy import GraphEnergy
from matgen.novelty.molecules import novel_molecule, shipped_molecules
from matgen.samplers.diffusion import diffuse, energy_score, settled
from matgen.samplers.initial_geometry import InitialGeometries
from matgen.samplers.initial_noise import pure_noise
from matgen.samplers.metropolis import Move
from matgen.samplers.molecule_moves import standard_moves
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
"""Where open ranges end, in the property's unit."""


@dataclass(frozen=True)
class Molecules:
    """Molecules as a request asks for them.

    Attributes:
        request: what is wanted.
        models: that guide.
    """

    request: Request
    models: MoleculeModels

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
        """The heads of the graph network."""
        return GraphPredictor(self.models.graph)

    def predictor(self) -> Predictor:
        """The graph network and the predictor of graphs."""
        return Predictor(self.models.graph, by_graph_and_template(self.models.graph, self.models.properties))

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.models.device

    def prior(self) -> LearnedGraphPrior:
        """The graph prior, told what every molecule is to be."""
        return LearnedGraphPrior(self.models.prior, self._conditions(1, torch.Generator(), settled=True), orders=2)

    def opinions(self) -> TemplateSum:
        """Novelty, unless known molecules are welcome or a graph or composition is named."""
        request, weight = self.request, self.request.sampler.novelty
        if not weight or request.selection.allow_known or request.graph.smiles or request.rules.composition:
            return TemplateSum({})
        known = shipped_molecules()
        return weight * KnownGraph(lambda template: not novel_molecule(template, known).passed)

    def sample(self, n: int, generator: torch.Generator) -> list[Template]:
        """Graphs drawn atom by atom; where the request names one, that one with whatever hands it leaves open."""
        named = self.request.template
        if named is not None:
            return list(open_isomers(named))
        asked = self._conditions(n, generator, settled=False)
        return list(sample_molecules(self.models.prior, self.request.molecule_rules, asked, generator))

    def moves(self) -> dict[str, Move]:
        """Atoms and bonds changed, added and removed; none where the graph is named."""
        return {} if self.request.template is not None else standard_moves(self.request.molecule_rules)

    def substitution(self) -> None:
        """None: a geometry does not survive a change of its graph."""

    @property
    def geometries(self) -> int:
        """Starts of each template: where the graph is named, as many as several graphs would get that compete."""
        sampler = self.request.sampler
        return sampler.geometries * (sampler.started if self.request.template is not None else 1)

    def initial_geometries(self, templates: Sequence[Template], generator: torch.Generator) -> InitialGeometries:
        """Geometries diffused from pure noise by the learned score, and settled.

        A hand that a graph leaves open is drawn before: what is delivered has a name, and a geometry that fits it.
        Where the geometry does not show its graph, or another hand, both are drawn anew, `initial_trials` times at most.
        """
        sampler, count = self.request.sampler, self.geometries
        asked = [one for one in molecules_of(templates) for _ in range(count)]
        named, coords = list(asked), [torch.zeros(0, 3)] * len(asked)
        left = list(range(len(asked)))
        for _ in range(sampler.initial_trials):
            if not left:
                break
            for i in left:
                named[i] = with_random_stereo(asked[i], generator)
            batch = TemplateBatch.of([named[i] for i in left]).to(self.device)
            found = self._sampled(batch, generator).coords
            for i, place in zip(left, found.split(batch.n_sites.tolist()), strict=True):
                coords[i] = place
            left = [i for i in left if not shows_template(named[i], coords[i].double().cpu().numpy())]
        whole = TemplateBatch.of(named).to(self.device)
        places = torch.cat([torch.zeros(0, 3, device=self.device), *coords])
        geometry = Geometry(places.new_zeros(len(named), 6), places)
        owner = torch.arange(len(templates), device=self.device).repeat_interleave(count)
        return InitialGeometries(whole, geometry, owner, torch.zeros_like(owner, dtype=torch.bool))

    def _sampled(self, batch: TemplateBatch, generator: torch.Generator) -> Geometry:
        """One geometry each: diffused; settled, turned to the hands asked for and off what is not bonded; settled."""
        sampler = self.request.sampler
        end = sampler.settle_noise if sampler.settle_levels else sampler.lowest
        score = denoiser_score(self.graph, batch)
        geometry = diffuse(
            score,
            batch,
            pure_noise(batch, sampler.initial_noise, generator),
            levels=karras_levels(sampler.initial_noise, end, sampler.initial_levels),
            generator=generator,
            churn=sampler.initial_churn,
            corrector_steps=0,
        )
        if sampler.settle_levels:
            way = karras_levels(sampler.settle_noise, sampler.lowest, sampler.settle_levels)
            asked = energy_score(Nonbonded() + StereoEnergy(), batch)
            geometry = settled(score, batch, geometry, levels=way, stride=sampler.settle_stride, guidance=asked)
        if sampler.finish_levels:
            last = karras_levels(sampler.sampled_noise, sampler.lowest, sampler.finish_levels)
            geometry = settled(score, batch, geometry, levels=last)
        return geometry

    def likeness(self, template: Template) -> Hashable:
        """Their rings and what joins these, whatever the elements; the formula where there is no ring."""
        return scaffold(*molecules_of([template]))

    def _conditions(self, n: int, generator: torch.Generator, *, settled: bool) -> Conditions:
        """What n molecules are to be: point wishes, and values drawn from within ranges unless only what is settled."""
        values = {}
        for target in self.request.property_targets:
            lowest, highest = CONDITION_SPANS[target.name]
            low = target.low if math.isfinite(target.low) else min(lowest, target.high)
            high = target.high if math.isfinite(target.high) else max(highest, target.low)
            if target.point:
                values[target.name] = torch.full((n,), target.low)
            elif not settled:
                values[target.name] = low + (high - low) * torch.rand(n, generator=generator)
        rules, asked = self.request.molecule_rules, Conditions.none(n, MOLECULE_GRIDS)
        for name, value in values.items():
            asked.properties[:, list(MOLECULE_GRIDS).index(name)] = value
        asked.elements[:, sorted({*rules.required_elements, *(z for z, _ in rules.composition)} - {1})] = True
        asked.complete[:] = bool(rules.composition)
        return asked.to(self.device)
