"""What ships: weights with the story of their training in the header, checked before they are used.

A file of weights is safetensors: float16 where that loses nothing that matters, and a header that says which kind of
model it is, how large, trained on what, how good, and by which version of the program. Beside the files lies
`hashes.json` with the SHA-256 of each.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from matgen import __version__
from matgen.errors import UserError
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
from matgen.runtime.config import ConfigError, did_you_mean, from_mapping, to_mapping
from matgen.templates.prototypes import PrototypeLibrary
from matgen.weights.renamed import current_config, current_kind, current_names

WEIGHTS = Path(__file__).resolve().parent
REFERENCES = WEIGHTS.parent / "references"
HASHES = "hashes.json"
OF_MOLECULES = frozenset({"qm9_keys.npz"})
"""References that only molecules are compared with."""

PROTOTYPES = "prototypes"
"""The one kind that is a library of tensors rather than a network."""


class WeightsError(UserError, ValueError):
    """A file of weights that is missing, damaged, or of another kind."""


@dataclass(frozen=True)
class Network:
    """How a kind of network is built: from its configuration."""

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

KINDS = (*NETWORKS, PROTOTYPES)

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
"""Weights that decide about results, by kind of material."""


@dataclass(frozen=True)
class ModelInfo:
    """The header of a file of weights.

    Attributes:
        kind: one of `KINDS`.
        config: sizes of the network, as JSON types.
        trained_on: rows and splits, in words.
        figures: how good it is, by name.
        version: of the program that wrote it.
        n_parameters: numbers stored.
        sha256: of the file.
    """

    kind: str
    config: dict[str, Any]
    trained_on: str
    figures: dict[str, Any]
    version: str
    n_parameters: int
    sha256: str


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
    """A trained network in float32, ready to predict.

    Args:
        kind: one of `NETWORKS`.
        path: file of weights; the shipped one if left out.

    Raises:
        WeightsError: no such file, or one that is damaged, altered, or of another kind or size.
    """
    _known(kind, NETWORKS)
    found = _file(kind, path)
    described = info(kind, found)
    network = NETWORKS[kind]
    try:
        model = network.build(from_mapping(network.config, described.config))
    except ConfigError as error:
        raise WeightsError(f"the configuration in {found} does not fit this version: {error}") from error
    values = {name: v.float() if v.is_floating_point() else v for name, v in current_names(_read(found)).items()}
    try:
        model.load_state_dict(values)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights in {found} do not fit a {kind} of version {__version__} (they were written by version "
            f"{described.version}): {' '.join(str(error).split())}; train again or install that version"
        ) from error
    return model.eval().requires_grad_(requires_grad=False)


def tensors(kind: str, path: Path | None = None) -> dict[str, Tensor]:
    """The tensors of a library as they are stored.

    Raises:
        WeightsError: as `load`.
    """
    _known(kind, KINDS)
    found = _file(kind, path)
    info(kind, found)
    return _read(found)


def info(kind: str, path: Path | None = None) -> ModelInfo:
    """The header of a file of weights, after checking its hash against `hashes.json` beside it.

    Raises:
        WeightsError: no such file, or one that is damaged, altered, or of another kind.
    """
    found = _file(kind, path)
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    expected = _hashes(found.parent).get(found.name)
    if expected is None and found.parent.resolve() == WEIGHTS.resolve():
        raise WeightsError(f"{WEIGHTS / HASHES} does not list {found.name}, which should ship; install matgen again")
    if expected is not None and digest != expected:
        raise WeightsError(
            f"{found} is not the file that was written: expected SHA-256 {expected[:12]}…, got {digest[:12]}…; "
            "install matgen again, or name other weights"
        )
    try:
        with safe_open(found, framework="pt") as stored:
            header = stored.metadata() or {}
            n_parameters = sum(_size(stored.get_slice(name).get_shape()) for name in stored.keys())  # noqa: SIM118
        described = ModelInfo(
            kind=current_kind(header["kind"]),
            config=current_config(json.loads(header["config"])),
            trained_on=header["trained_on"],
            figures=json.loads(header["figures"]),
            version=header["version"],
            n_parameters=n_parameters,
            sha256=digest,
        )
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        message = f"{found} has no readable header ({type(error).__name__}: {error}); get the file again, or train anew"
        raise WeightsError(message) from error
    if described.kind != kind:
        raise WeightsError(f"expected weights of kind {kind} in {found}, got {described.kind}; name another file")
    return described


def save(
    model: nn.Module | Mapping[str, Tensor],
    path: Path | None = None,
    *,
    kind: str,
    trained_on: str,
    figures: Mapping[str, Any],
    config: Any = None,
) -> Path:
    """Write weights and note their hash in `hashes.json` beside them.

    Parameters are rounded to float16; buffers, and the tensors of a library, are kept as they are.

    Args:
        model: a network, or tensors by name.
        path: where to; among the shipped weights if left out.
        kind: one of `KINDS`.
        trained_on: rows and splits, in words.
        figures: how good it is, as JSON types.
        config: configuration of the network, a dataclass or JSON types; its own if left out.

    Returns:
        The path.

    Raises:
        WeightsError: a parameter does not fit into float16.
    """
    _known(kind, KINDS)
    path = path or WEIGHTS / f"{kind}.safetensors"
    if config is None:
        config = getattr(model, "config", {})
    values = _rounded(model) if isinstance(model, nn.Module) else model
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "kind": kind,
        "config": json.dumps(dict(config) if isinstance(config, Mapping) else to_mapping(config)),
        "trained_on": trained_on,
        "figures": json.dumps(dict(figures)),
        "version": __version__,
    }
    save_file({name: value.detach().cpu().contiguous() for name, value in values.items()}, path, metadata=header)
    path.chmod(0o644)  # safetensors writes for the owner only, which an installed package must not be
    hashes = _hashes(path.parent) | {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    (path.parent / HASHES).write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def round_parameters(model: nn.Module) -> nn.Module:
    """The model with its parameters as `save` stores them, changed in place."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    return model


def weights_hash(kind: str, path: Path | None = None) -> str:
    """SHA-256 of a file of weights.

    Raises:
        WeightsError: as `info`.
    """
    return info(kind, path).sha256


def weights_file(kind: str, folder: Path | None = None) -> Path:
    """The file of a kind: that of a folder of one's own if it has one, else the one that ships.

    Raises:
        WeightsError: the folder is none, or holds no weights of any kind.
    """
    name = f"{kind}.safetensors"
    if folder is None:
        return WEIGHTS / name
    if not any((folder / f"{known}.safetensors").is_file() for known in KINDS):
        raise WeightsError(f"expected a folder with weights such as {name}, got {folder}; `matgen learn` makes one")
    own = folder / name
    return own if own.is_file() else WEIGHTS / name


def folder_of(named: str) -> Path | None:
    """The folder of weights that is named; None for an empty name, which means those that ship."""
    return Path(named) if named else None


def check_weights(folder: Path | None, kinds: Sequence[str], what: str) -> None:
    """Check that a folder of one's own stands in for something.

    Args:
        folder: None for none.
        kinds: of weights that are used.
        what: is done with them, in words.

    Raises:
        WeightsError: it holds none of these kinds, so that it would change nothing.
    """
    if folder is not None and not any((folder / f"{kind}.safetensors").is_file() for kind in kinds):
        expected = ", ".join(f"{kind}.safetensors" for kind in kinds)
        raise WeightsError(f"expected weights that {what} uses in {folder}, found none of {expected}; leave it out")


def shipped_hashes(material: str = "crystal", folder: Path | None = None) -> dict[str, str]:
    """SHA-256 of all that decides about crystals, or molecules: weights by kind, references by file name.

    Args:
        material: crystal or molecule.
        folder: whose weights stand in for those that ship.

    Raises:
        WeightsError: weights that are missing or damaged.
    """
    check_weights(folder, USED_BY[material], f"a design of {material}s")
    paths = [path for path in sorted(REFERENCES.iterdir()) if (path.name in OF_MOLECULES) == (material == "molecule")]
    references = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {kind: weights_hash(kind, weights_file(kind, folder)) for kind in USED_BY[material]} | references


@dataclass(frozen=True)
class Models:
    """All that guides a design of crystals; the judge is not among them.

    Attributes:
        prior: of templates.
        properties: of templates.
        structures: properties of structures, which choice and ranking rest on.
        geometry: density of geometries, given their templates.
        graph: energy and properties of states.
        prototypes: known geometries, as tensors.
    """

    prior: TemplatePrior
    properties: Ensemble
    structures: Ensemble
    geometry: GeometryDensity
    graph: GraphEnergy
    prototypes: dict[str, Tensor]

    @cached_property
    def library(self) -> PrototypeLibrary:
        """The known geometries, to be looked up."""
        return PrototypeLibrary.from_tensors(self.prototypes)

    @property
    def device(self) -> torch.device:
        """Where the networks are; the prototypes stay on the CPU, where they are looked up."""
        return next(self.graph.parameters()).device


@dataclass(frozen=True)
class MoleculeModels:
    """All that guides a design of molecules; the judge is not among them.

    Attributes:
        prior: of molecular graphs.
        properties: of molecular graphs.
        graph: energy and properties of states.
    """

    prior: GraphPrior
    properties: Ensemble
    graph: GraphEnergy

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.graph.parameters()).device


def load_molecule_models(device: torch.device | str = "cpu", folder: Path | None = None) -> MoleculeModels:
    """The models that guide a design of molecules, on a device.

    Raises:
        WeightsError: one of them is missing or damaged.
    """
    return MoleculeModels(
        prior=load("graph_prior", weights_file("graph_prior", folder)).to(device),
        properties=load("molecule_properties", weights_file("molecule_properties", folder)).to(device),
        graph=load("molecule_energy", weights_file("molecule_energy", folder)).to(device),
    )


def load_models(device: torch.device | str = "cpu", folder: Path | None = None) -> Models:
    """The models that guide a design of crystals, on a device.

    Raises:
        WeightsError: one of them is missing or damaged.
    """
    return Models(
        prior=load("template_prior", weights_file("template_prior", folder)).to(device),
        properties=load("template_properties", weights_file("template_properties", folder)).to(device),
        structures=load("structure_properties", weights_file("structure_properties", folder)).to(device),
        geometry=load("geometry_density", weights_file("geometry_density", folder)).to(device),
        graph=load("graph_energy", weights_file("graph_energy", folder)).to(device),
        prototypes=tensors(PROTOTYPES, weights_file(PROTOTYPES, folder)),
    )


def registry(folder: Path | None = None) -> list[ModelInfo]:
    """Headers of all files of weights that ship.

    Raises:
        WeightsError: one of them is damaged.
    """
    folder = folder or WEIGHTS
    paths = {kind: folder / f"{kind}.safetensors" for kind in KINDS}
    return [info(kind, path) for kind, path in paths.items() if path.exists()]


def _file(kind: str, path: Path | None) -> Path:
    found = path or WEIGHTS / f"{kind}.safetensors"
    if not found.is_file():
        raise WeightsError(f"expected weights of kind {kind} at {found}, found none; make them with `matgen train`")
    return found


def _known(kind: str, kinds: Mapping[str, Any] | tuple[str, ...]) -> None:
    if kind not in kinds:
        raise WeightsError(f"unknown kind of model {kind!r}; {did_you_mean(kind, kinds)}")


def _hashes(folder: Path) -> dict[str, str]:
    path = folder / HASHES
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} is damaged ({error}); install matgen again") from error


def _read(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)


def _rounded(model: nn.Module) -> dict[str, Tensor]:
    """Parameters in half precision; buffers as they are, since a small spread may round to zero."""
    parameters = dict(model.named_parameters())
    for name, value in parameters.items():
        if not torch.isfinite(value.half()).all():
            raise WeightsError(f"{name} holds numbers beyond float16; train again with a lower learning rate")
    return {name: value.half() if name in parameters else value for name, value in model.state_dict().items()}


def _size(shape: list[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
