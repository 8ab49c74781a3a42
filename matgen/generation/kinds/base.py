"""What a kind of material brings to the one energy and the one sampler."""

from collections.abc import Hashable, Sequence
from typing import Protocol

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


class Kind(Protocol):
    """Crystals or molecules, with the models that were trained for them."""

    @property
    def request(self) -> Request:
        """What is wanted."""
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
        """Properties of clean states, as choice and ranking rest on."""
        ...

    def predictor(self) -> Predictor:
        """What is said of a proposal."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        ...

    def prior(self) -> TemplateEnergy:
        """-log p(template), given what every template of the request is to be."""
        ...

    def opinions(self) -> TemplateSum:
        """What speaks for or against a template besides the prior and the wishes."""
        ...

    def sample(self, n: int, generator: torch.Generator) -> list[Template]:
        """Templates drawn from the prior under the rules of the request; some of n may fail."""
        ...

    def moves(self) -> dict[str, Move]:
        """Metropolis–Hastings moves that keep the rules, by name."""
        ...

    def substitution(self) -> Substitution | None:
        """Moves of elements on sites while geometries are refined; None where they would not do."""
        ...

    def initial_geometries(self, templates: Sequence[Template], generator: torch.Generator) -> InitialGeometries:
        """Geometries to begin from."""
        ...

    def likeness(self, template: Template) -> Hashable:
        """What two templates share that are variations of one theme."""
        ...
