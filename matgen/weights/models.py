"""Networks from files of weights, one by one or all that a design uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from matgen import __version__
from matgen.nn.embedding_heads import WithHeads
from matgen.nn.ensemble import Ensemble
from matgen.nn.geometry_density import GeometryDensity
from matgen.nn.graph_energy import GraphEnergy
from matgen.nn.graph_prior import GraphPrior
from matgen.nn.template_prior import TemplatePrior
from matgen.runtime.config import ConfigError, from_mapping
from matgen.templates.prototypes import PrototypeLibrary
from matgen.weights.files import WeightsError, check_kind, existing_file, info, read, tensors, weights_file
from matgen.weights.kinds import NETWORKS, PROTOTYPES
from matgen.weights.property_format import PropertyFile
from matgen.weights.property_sets import with_heads


@overload
def load(kind: Literal["template_prior"], path: Path | None = None) -> TemplatePrior: ...
@overload
def load(
    kind: Literal[
        "template_properties", "structure_properties", "evaluator", "molecule_properties", "molecule_evaluator"
    ],
    path: Path | None = None,
) -> Ensemble: ...
@overload
def load(kind: Literal["geometry_density"], path: Path | None = None) -> GeometryDensity: ...
@overload
def load(kind: Literal["graph_energy", "molecule_energy"], path: Path | None = None) -> GraphEnergy: ...
@overload
def load(kind: Literal["graph_prior"], path: Path | None = None) -> GraphPrior: ...
@overload
def load(kind: str, path: Path | None = None) -> nn.Module: ...
def load(kind: str, path: Path | None = None) -> nn.Module:
    """Return a trained network in float32 and evaluation mode.

    Args:
        kind: one of `NETWORKS`.
        path: file of weights; the shipped one if left out.

    Raises:
        WeightsError: no such file, or one that is damaged, altered, or of another kind or size.
    """
    check_kind(kind, NETWORKS)
    found = existing_file(kind, path)
    described = info(kind, found)
    network = NETWORKS[kind]
    try:
        model = network.build(from_mapping(network.config, described.config))
    except ConfigError as error:
        raise WeightsError(f"the configuration in {found} does not fit this version: {error}") from error
    values = {name: v.float() if v.is_floating_point() else v for name, v in read(found).items()}
    if odd := next((name for name, v in values.items() if not v.isfinite().all()), ""):
        raise WeightsError(
            f"expected finite numbers in {found}, got others in {odd}; get the file again, or train again"
        )
    try:
        model.load_state_dict(values)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights in {found} do not fit a {kind} of version {__version__} (they were written by version "
            f"{described.version}): {' '.join(str(error).split())}; train again or install that version"
        ) from error
    return model.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class Models:
    """The models that a design of crystals uses, except the evaluator.

    Attributes:
        prior: of templates.
        properties: of templates.
        structures: properties of structures, by which candidates are selected and ranked.
        geometry: density of geometries, given their templates.
        graph: energy and properties of states.
        prototypes: known geometries, as tensors.
    """

    prior: TemplatePrior
    properties: Ensemble | WithHeads
    structures: Ensemble | WithHeads
    geometry: GeometryDensity
    graph: GraphEnergy
    prototypes: dict[str, Tensor]

    @cached_property
    def library(self) -> PrototypeLibrary:
        """The known geometries as a library."""
        return PrototypeLibrary.from_tensors(self.prototypes)

    @property
    def device(self) -> torch.device:
        """Device of the networks; the prototypes stay on the CPU."""
        return next(self.graph.parameters()).device


@dataclass(frozen=True)
class MoleculeModels:
    """The models that a design of molecules uses, except the evaluator.

    Attributes:
        prior: of molecular graphs.
        properties: of molecular graphs.
        graph: energy and properties of states.
    """

    prior: GraphPrior
    properties: Ensemble | WithHeads
    graph: GraphEnergy

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.graph.parameters()).device


CRYSTAL_NETWORKS = {
    "prior": "template_prior",
    "properties": "template_properties",
    "structures": "structure_properties",
    "geometry": "geometry_density",
    "graph": "graph_energy",
}
MOLECULE_NETWORKS = {"prior": "graph_prior", "properties": "molecule_properties", "graph": "molecule_energy"}
"""Kinds of the networks of `Models` and `MoleculeModels`, by field."""


def load_models(
    device: torch.device | str = "cpu", folder: Path | None = None, files: Sequence[PropertyFile] = ()
) -> Models:
    """Return the models for crystals, on a device; weights in `folder` replace the shipped ones.

    Args:
        device: of the networks.
        folder: of weights; none if left out.
        files: of properties that are predicted as well.

    Raises:
        WeightsError: one of them is missing or damaged.
    """
    networks = _loaded(CRYSTAL_NETWORKS, device, folder, files)
    return Models(**networks, prototypes=tensors(PROTOTYPES, weights_file(PROTOTYPES, folder)))


def load_molecule_models(
    device: torch.device | str = "cpu", folder: Path | None = None, files: Sequence[PropertyFile] = ()
) -> MoleculeModels:
    """Return the models for molecules, on a device; weights in `folder` replace the shipped ones.

    Args:
        device: of the networks.
        folder: of weights; none if left out.
        files: of properties that are predicted as well.

    Raises:
        WeightsError: one of them is missing or damaged.
    """
    return MoleculeModels(**_loaded(MOLECULE_NETWORKS, device, folder, files))


def _loaded(
    kinds: Mapping[str, str], device: torch.device | str, folder: Path | None, files: Sequence[PropertyFile]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, kind in kinds.items():
        model = load(kind, weights_file(kind, folder)).to(device)
        of_files = [one for one in files if kind in one.reads]
        found[field] = with_heads(model, kind, of_files, device) if isinstance(model, Ensemble) else model
    return found
