"""What a kind of material provides to the energy and the sampler."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Protocol, Self, TypeVar

import torch

from matgen.energies.base import Sum, TemplateEnergy, TemplateSum
from matgen.energies.property_target import StatePredictor
from matgen.generation.predictors import Predictor
from matgen.generation.request import Request
from matgen.generation.resemblance import Resemblance
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

    @cached_property
    def ends(self) -> tuple[tuple[float, Self], ...]:
        """The same kind for each request that this one lies between, with its weight, if that is above zero."""
        return tuple((weight, replace(self, request=end)) for weight, end in self.request.ends if weight > 0)


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

    @property
    def ends(self) -> Sequence[tuple[float, "Kind"]]:
        """The kind for each request that this one lies between, with its weight; empty where it lies between none."""
        ...

    @property
    def resemblance(self) -> Resemblance | None:
        """Likeness to the examples of the request; None without."""
        ...

    def state_terms(self) -> Sum:
        """Energies of states besides graph energy, repulsion and targets, for choosing and ranking."""
        ...

    def by_example(self, n: int, generator: torch.Generator) -> list[Template]:
        """At most n templates made from those of the examples; none without examples."""
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


def sampled_by_ends(ends: Sequence[tuple[float, Kind]], n: int, generator: torch.Generator) -> list[Template]:
    """Return at most n templates, of the requests that another one lies between: of each a share that is its weight."""
    counts = [round(n * weight) for weight, _ in ends]
    return [one for (_, kind), m in zip(ends, counts, strict=True) for one in kind.sample(m, generator)]


def by_example_of_ends(ends: Sequence[tuple[float, Kind]], n: int, generator: torch.Generator) -> list[Template]:
    """Return at most n templates made from the examples of these requests, in the same shares."""
    counts = [round(n * weight) for weight, _ in ends]
    return [one for (_, kind), m in zip(ends, counts, strict=True) for one in kind.by_example(m, generator)]
