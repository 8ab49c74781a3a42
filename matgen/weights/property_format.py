"""What the header of a property file says (`matgen.weights.property_files`)."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from matgen.nn.embedding_heads import HeadsConfig
from matgen.runtime.config import from_mapping
from matgen.targets.properties import Property


@dataclass(frozen=True)
class FileProperty:
    """A property of a file.

    Attributes:
        described: name, unit, limits, tolerance.
        logarithmic: whether its logarithm is predicted.
        lowest_label: smallest label in training.
        highest_label: largest label in training.
        source: of the labels.
        figures: numbers of rows, errors on held-out formulas, and those of baselines.
    """

    described: Property
    logarithmic: bool
    lowest_label: float
    highest_label: float
    source: str
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """Heads that were fitted together.

    Attributes:
        properties: of the heads, in their order.
        hidden: units of their hidden layer.
        centre: of each property or its logarithm.
        spread: likewise.
        correlation: of the errors of the logarithms of bulk and shear modulus.
    """

    properties: tuple[FileProperty, ...]
    hidden: int
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    correlation: float = 0.0

    def heads_config(self, members: int, width: int, *, derives: bool = True) -> HeadsConfig:
        """Return the size of the heads on an ensemble; `derives` as in `HeadsConfig`."""
        return HeadsConfig(
            members,
            width,
            self.hidden,
            tuple(one.described.name for one in self.properties),
            tuple(one.logarithmic for one in self.properties),
            self.centre,
            self.spread,
            self.correlation,
            derives,
        )


@dataclass(frozen=True)
class PropertyFile:
    """The header of a property file.

    Attributes:
        path: of the file.
        material: crystal or molecule.
        reads: hash of the embeddings that it reads, by kind of network.
        blocks: what it holds.
        version: of the program that wrote it.
        sha256: of the file.
    """

    path: Path
    material: str
    reads: dict[str, str]
    blocks: tuple[Block, ...]
    version: str
    sha256: str

    def __hash__(self) -> int:
        """Return a hash, so that what reads a file may be cached by its header: another content is another key."""
        return hash(self.sha256)

    @property
    def learned(self) -> dict[str, FileProperty]:
        """Its own properties by name, in the order of the file; the first one, where several blocks hold a property."""
        found: dict[str, FileProperty] = {}
        for block in self.blocks:
            for one in block.properties:
                found.setdefault(one.described.name, one)
        return found

    @property
    def properties(self) -> dict[str, Property]:
        """What may be a target by this file: its own properties, by name."""
        return {name: one.described for name, one in self.learned.items()}


def as_json(block: Block) -> dict[str, Any]:
    """Return a block as JSON types; infinite limits become text, since JSON has none."""
    return _with_text(asdict(block))


def _with_text(value: Any) -> Any:
    """Return a value as JSON types, infinite numbers as text."""
    match value:
        case dict():
            return {name: _with_text(item) for name, item in value.items()}
        case list() | tuple():
            return [_with_text(item) for item in value]
        case float() if math.isinf(value):
            return str(value)
    return value


def block_of(content: Mapping[str, Any]) -> Block:
    """Return a block that `as_json` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, OverflowError: the content has another form.
    """
    properties, figures = [], []
    for one in content["properties"]:
        described = {name: _number(value) for name, value in one["described"].items()}
        properties.append({name: value for name, value in one.items() if name != "figures"} | {"described": described})
        figures.append(dict(one.get("figures", {})))
    read = from_mapping(Block, dict(content) | {"properties": properties})
    with_figures = (replace(one, figures=own) for one, own in zip(read.properties, figures, strict=True))
    return replace(read, properties=tuple(with_figures))


def _number(value: Any) -> Any:
    return float(value) if value in ("inf", "-inf") else value
