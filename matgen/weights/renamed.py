"""Names in the weights and configurations of versions up to 0.1.0, and their current names."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

KINDS = {"judge": "evaluator", "molecule_judge": "molecule_evaluator"}
"""Kinds of weights."""

FIELDS = {
    "pushes": "pair_displacements",
    "forget_hands": "drop_stereo",
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
    "room": "remaining",
}
"""Parts of the dotted names of tensors."""


def file_names(kind: str) -> tuple[str, ...]:
    """Return the names that the file of a kind may have, today's first."""
    return tuple(f"{name}.safetensors" for name in kind_names(kind))


def kind_names(kind: str) -> tuple[str, ...]:
    """Return the current name of a kind, and the older ones."""
    return kind, *(old for old, new in KINDS.items() if new == kind)


def current_kind(kind: str) -> str:
    """Return the current name of a kind."""
    return KINDS.get(kind, kind)


def current_config(config: Any) -> Any:
    """Return a configuration, nested or not, with the current names of its fields."""
    if not isinstance(config, Mapping):
        return config
    return {FIELDS.get(name, name): current_config(value) for name, value in config.items()}


def current_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by their current names."""
    return {".".join(PARTS.get(part, part) for part in name.split(".")): value for name, value in tensors.items()}
