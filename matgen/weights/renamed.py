"""Names in weights that versions up to 0.1.0 wrote, and what they are called since."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

KINDS = {"judge": "evaluator", "molecule_judge": "molecule_evaluator"}
"""Kinds of weights."""

FIELDS = {
    "pushes": "pair_displacements",
    "known_numbers": "known_parameters",
    "memory": "layout_size",
    "forget": "layout_dropout",
}
"""Fields of configurations."""

PARTS = {
    "hand": "chirality",
    "push": "displacement",
    "pushes": "pair_displacements",
    "n_heavy": "n_atoms",
    "memory": "layout_embedding",
}
"""Parts of the dotted names of tensors."""


def current_kind(kind: str) -> str:
    """The name of a kind today."""
    return KINDS.get(kind, kind)


def current_config(config: Any) -> Any:
    """A configuration, nested as it is, with its fields as they are called today."""
    if not isinstance(config, Mapping):
        return config
    return {FIELDS.get(name, name): current_config(value) for name, value in config.items()}


def current_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by their names of today."""
    return {".".join(PARTS.get(part, part) for part in name.split(".")): value for name, value in tensors.items()}
