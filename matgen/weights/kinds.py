"""Kinds of weights: how each network is built, and which kinds a design uses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from matgen.nn.ensemble import Ensemble
from matgen.nn.evaluator import Evaluator, EvaluatorConfig
from matgen.nn.geometry_density import GeometryDensity, GeometryDensityConfig
from matgen.nn.graph_energy import GraphEnergy, GraphEnergyConfig
from matgen.nn.graph_prior import GraphPrior, GraphPriorConfig
from matgen.nn.graph_properties import GraphProperties, GraphPropertiesConfig
from matgen.nn.molecule_evaluator import MoleculeEvaluator, MoleculeEvaluatorConfig
from matgen.nn.structure_properties import StructureProperties, StructurePropertiesConfig
from matgen.nn.template_prior import TemplatePrior, TemplatePriorConfig
from matgen.nn.template_properties import TemplateProperties, TemplatePropertiesConfig

PROPERTY_HEADS = "property_heads"
"""Heads on the embeddings of networks (`matgen.weights.property_files`)."""

PROTOTYPES = "prototypes"
"""A library of tensors, not a network."""


@dataclass(frozen=True)
class Network:
    """A kind of network: the class of its configuration, and how to build it from one."""

    config: type
    build: Callable[[Any], nn.Module]


NETWORKS: dict[str, Network] = {
    "template_prior": Network(TemplatePriorConfig, TemplatePrior),
    "template_properties": Network(TemplatePropertiesConfig, partial(Ensemble, TemplateProperties)),
    "geometry_density": Network(GeometryDensityConfig, GeometryDensity),
    "graph_energy": Network(GraphEnergyConfig, GraphEnergy),
    "structure_properties": Network(StructurePropertiesConfig, partial(Ensemble, StructureProperties)),
    "evaluator": Network(EvaluatorConfig, partial(Ensemble, Evaluator)),
    "graph_prior": Network(GraphPriorConfig, GraphPrior),
    "molecule_properties": Network(GraphPropertiesConfig, partial(Ensemble, GraphProperties)),
    "molecule_energy": Network(GraphEnergyConfig, GraphEnergy),
    "molecule_evaluator": Network(MoleculeEvaluatorConfig, partial(Ensemble, MoleculeEvaluator)),
}

KINDS = (*NETWORKS, PROTOTYPES, PROPERTY_HEADS)

USED_BY = {
    "crystal": (
        "template_prior",
        "template_properties",
        "structure_properties",
        "geometry_density",
        "graph_energy",
        "evaluator",
        PROTOTYPES,
    ),
    "molecule": ("graph_prior", "molecule_properties", "molecule_energy", "molecule_evaluator"),
}
"""Kinds of weights that determine results, by kind of material."""
