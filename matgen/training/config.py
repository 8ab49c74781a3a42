"""Configuration of a training."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matgen.nn.trunk import Trunk
from matgen.runtime.config import ConfigError, did_you_mean, from_mapping, read_toml
from matgen.training.graph_loss import GraphLoss
from matgen.training.loop import Schedule
from matgen.weights.kinds import NETWORKS, USED_BY
from matgen.weights.renamed import current_config, current_kind, kind_names

OF_MOLECULES = frozenset(USED_BY["molecule"])

MANY_SHAPES = 64
"""How many variants of a compiled layer are kept."""


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on which data, and for how long.

    Attributes:
        kind: one of `NETWORKS`.
        model: configuration of that network.
        data: prepared table, a file or a folder of shards; that of crystals or of molecules in `cache` if left out.
        folder: receives checkpoint and log; runs/KIND if left out, or the one that version 0.1 named otherwise.
        weights: file that receives the weights; KIND.safetensors in the folder if left out.
        init: file of initial weights, such as the shipped ones; parameters that it lacks are initialised at random.
        device: to train on; weights and checkpoints can be read on any other.
        compiled: compile the layers of a trunk, which takes two minutes and a C++ compiler and pays on a CPU.
        schedule: number of steps, learning rate and so on.
        loss: of a graph energy, the defaults if left out; unused by other kinds.
        heads: of a graph energy or of properties of structures: epochs for which the property heads are fitted last,
            with the trunk fixed.
        absolute: of properties of structures: weight of mean absolute errors beside the likelihood.
    """

    kind: str
    model: Any = None
    data: Path | None = None
    folder: Path | None = None
    weights: Path | None = None
    init: Path | None = None
    device: str = "cpu"
    compiled: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    loss: GraphLoss | None = None
    heads: int = 0
    absolute: float = 0.0

    @property
    def table_file(self) -> Path:
        """The prepared table."""
        return self.data or Path("cache") / ("molecules.npz" if self.kind in OF_MOLECULES else "crystals.npz")

    @property
    def run_folder(self) -> Path:
        """Folder of checkpoint and log; unless given, that of version 0.1 if it alone exists, under its old name."""
        usual = [Path("runs") / name for name in kind_names(self.kind)]
        return self.folder or next((folder for folder in usual if folder.exists()), usual[0])

    @property
    def weights_file(self) -> Path:
        """File that receives the weights."""
        return self.weights or self.run_folder / f"{self.kind}.safetensors"

    def compile_layers(self, model: nn.Module) -> None:
        """Compile the layers of trunks, in place, if `compiled`."""
        if not self.compiled:
            return
        torch._dynamo.config.cache_size_limit = MANY_SHAPES  # noqa: SLF001 (its documented place)
        for trunk in (module for module in model.modules() if isinstance(module, Trunk)):
            for layer in trunk.layers:
                layer.compile(dynamic=True)


def train_config(raw: Mapping[str, Any]) -> TrainConfig:
    """Return a training configuration from the content of a TOML file; `kind` determines the fields of [model].

    Raises:
        ConfigError: unknown keys, or values out of range.
    """
    given = raw.get("kind", "")
    kind = current_kind(given) if isinstance(given, str) else repr(given)
    if kind not in NETWORKS:
        raise ConfigError(f"kind: got {kind!r}; {did_you_mean(kind, NETWORKS)}")
    energies = ("graph_energy", "molecule_energy")
    belongs = {"loss": energies, "heads": (*energies, "structure_properties"), "absolute": ("structure_properties",)}
    for name, kinds in belongs.items():
        if raw.get(name, 0) != 0 and kind not in kinds:  # the file that a training writes holds zeros
            shown = "[loss]" if name == "loss" else name
            raise ConfigError(f"{shown} belongs to kinds {' and '.join(kinds)}, got it for {kind}; leave it out")
    if not isinstance(raw.get("heads", 0), int) or raw.get("heads", 0) < 0:
        raise ConfigError(f"expected heads as a number of epochs, 0 for none, got {raw['heads']!r}")
    rest = {name: value for name, value in raw.items() if name != "model"} | {"kind": kind}
    if "loss" in rest:
        rest["loss"] = current_config(rest["loss"])
    model: Any = from_mapping(NETWORKS[kind].config, current_config(raw.get("model", {})), where="model")
    return replace(from_mapping(TrainConfig, rest), model=model)


def load_train_config(path: Path) -> TrainConfig:
    """Read a training configuration from a TOML file.

    Raises:
        ConfigError: the file cannot be read, has unknown keys, or values out of range.
    """
    raw = read_toml(path)
    try:
        return train_config(raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
