"""What a kind of material provides to the energy and the sampler."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch

from matgen.energies.base import TemplateEnergy, TemplateSum
from matgen.energies.property_target import StatePredictor
from matgen.generation.predictors import Predictor
from matgen.generation.request import Request
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_energy import GraphEnergy
from matgen.samplers.hybrid import Substitution
from matgen.samplers.initial_geometry import InitialGeometries
from matgen.samplers.metropolis import Move
from matgen.templates.batch import Template


class KindModels(Protocol):
    """Networks that every kind has."""

    @property
    def graph(self) -> GraphEnergy:
        """Energy and properties of states."""
        ...

    @property
    def properties(self) -> Ensemble:
        """Properties of templates."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        ...


M = TypeVar("M", bound=KindModels)


@dataclass(frozen=True)
class KindWithModels(Generic[M]):
    """A request, and the models of its kind of material.

    Attributes:
        request: the request.
        models: networks.
    """

    request: Request
    models: M

    @property
    def graph(self) -> GraphEnergy:
        """Energy and properties of states."""
        return self.models.graph

    @property
    def properties(self) -> Ensemble:
        """Properties of templates."""
        return self.models.properties

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.models.device

    def analogues(self, most: int) -> list[Template]:
        """No templates by analogy."""
        del most
        return []

    def listed(self) -> list[Template]:
        """No list of all templates."""
        return []


class Kind(Protocol):
    """Crystals or molecules, with the models that were trained on them."""

    @property
    def request(self) -> Request:
        """The request."""
        ...

    @property
    def graph(self) -> GraphEnergy:
        """Energy and properties of states."""
        ...

    @property
    def properties(self) -> Ensemble:
        """Properties of templates."""
        ...

    @property
    def state_predictor(self) -> StatePredictor:
        """Properties of noise-free states, for selection and ranking."""
        ...

    def predictor(self) -> Predictor:
        """Predictions of a proposal."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        ...

    def prior(self) -> TemplateEnergy:
        """-log p(template), conditioned on what holds for every template of the request."""
        ...

    def template_terms(self) -> TemplateSum:
        """Energies of templates besides the prior and the targets."""
        ...

    def sample(self, n: int, generator: torch.Generator) -> list[Template]:
        """At most n templates sampled from the prior under the rules of the request."""
        ...

    def analogues(self, most: int) -> list[Template]:
        """At most this many templates made from known ones, if the request is close enough to them to make some."""
        ...

    def listed(self) -> list[Template]:
        """All templates of the request, where they are so few that each is assessed; empty otherwise."""
        ...

    def moves(self) -> dict[str, Move]:
        """Metropolis–Hastings moves that keep the rules, by name."""
        ...

    def substitution(self) -> Substitution | None:
        """Moves of elements on sites during refinement; None where they do not apply."""
        ...

    def initial_geometries(self, templates: Sequence[Template], generator: torch.Generator) -> InitialGeometries:
        """Initial geometries of each template."""
        ...

    def likeness(self, template: Template) -> Hashable:
        """Key that is equal for similar templates, for variety among proposals."""
        ...
