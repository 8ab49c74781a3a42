"""Likeness to the examples of a request, by the models of its kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from matgen.batch.state import State
from matgen.energies.likeness import StateLikeness, TemplateLikeness, View, adapted
from matgen.energies.likeness_views import (
    CrystalView,
    MoleculeView,
    StructureView,
    check_crystal_probes,
    check_molecule_probes,
    crystal_background,
    molecule_background,
)
from matgen.generation.like import Example
from matgen.nn.embedding_heads import WithHeads
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_properties import GraphProperties
from matgen.nn.structure_properties import StructureProperties
from matgen.nn.template_properties import TemplateProperties
from matgen.templates.batch import Template, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.weights.models import Models, MoleculeModels

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Resemblance:
    """Likeness to examples.

    Attributes:
        examples: what is to be resembled.
        templates: energy of templates.
        states: energy of structures; None for molecules, whose graphs tell all that is compared, and at a pressure.
    """

    examples: tuple[Example, ...]
    templates: TemplateLikeness
    states: StateLikeness | None

    @torch.no_grad()
    def nearest(self, batch: TemplateBatch, state: State) -> list[tuple[str, float]]:
        """Return the name of the nearest example of each system, and its distance over r, dimensionless.

        The squares of the distances between templates and between structures are added.
        """
        squared = self.templates.squared(batch)
        if self.states is not None:
            squared = squared + self.states.squared(state).to(squared)
        least = squared.min(1)
        pairs = zip(least.indices.tolist(), least.values.sqrt().tolist(), strict=True)
        return [(self.examples[i].name, distance) for i, distance in pairs]


def crystal_resemblance(examples: Sequence[Example], models: Models) -> Resemblance:
    """Return likeness to crystals, by the first member of each of the ensembles that read templates and structures.

    Raises:
        LikenessError: the statistics that ship are those of other weights.
    """
    background = crystal_background()
    templates = _first(models.properties, TemplateProperties)
    states = _first(models.structures, StructureProperties)
    check_crystal_probes(background, templates, states)
    if background.of_states is None:
        raise TypeError("expected the statistics of crystals, got those of molecules")
    view, view_of_states = CrystalView(templates, background.of_templates), StructureView(states, background.of_states)
    some = [(TemplateBatch.of([example.template]), example.geometry) for example in examples]
    batch, geometry = concatenated(some)
    batch, geometry = batch.to(models.device), geometry.to(models.device)
    with torch.no_grad():
        around = View(background.of_templates.background, view.parts(background.templates))
        metric = adapted(view(batch), around.to(models.device))
        found = view_of_states(expand(batch, geometry))
        outside = View(background.of_states.background, torch.zeros(len(background.of_states.background), 0))
    of_states = StateLikeness(view_of_states, adapted(found, outside.to(models.device)))
    return Resemblance(tuple(examples), TemplateLikeness(view, metric), of_states)


def molecule_resemblance(examples: Sequence[Example], models: MoleculeModels) -> Resemblance:
    """Return likeness to molecules, by the network that reads molecular graphs.

    Raises:
        LikenessError: the statistics that ship are those of other weights.
    """
    background, network = molecule_background(), _first(models.properties, GraphProperties)
    check_molecule_probes(background, network)
    view = MoleculeView(network, background.of_templates)
    batch = TemplateBatch.of([example.template for example in examples]).to(models.device)
    with torch.no_grad():
        around = View(background.of_templates.background, view.parts(background.templates))
        metric = adapted(view(batch), around.to(models.device))
    return Resemblance(tuple(examples), TemplateLikeness(view, metric), None)


def templates_of(examples: Sequence[Example]) -> frozenset[Template]:
    """Return the templates of examples."""
    return frozenset(example.template for example in examples)


def _first(ensemble: Ensemble | WithHeads, kind: type[N]) -> N:
    """Return the first member of an ensemble."""
    member = ensemble.members[0]
    if not isinstance(member, kind):
        raise TypeError(f"expected an ensemble of {kind.__name__}, got {type(member).__name__}")
    return member
