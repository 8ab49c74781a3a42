"""What the header of a property file says (`matgen.weights.property_files`)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matgen.nn.embedding_heads import HeadsConfig
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

    def heads_config(self, members: int, width: int) -> HeadsConfig:
        """Return the size of the heads on an ensemble."""
        names = tuple(one.described.name for one in self.properties)
        logarithmic = tuple(one.logarithmic for one in self.properties)
        return HeadsConfig(members, width, self.hidden, names, logarithmic, self.centre, self.spread, self.correlation)


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
    return json.loads(json.dumps(asdict(block)).replace("-Infinity", '"-inf"').replace("Infinity", '"inf"'))


def block_of(content: Mapping[str, Any]) -> Block:
    """Return a block that `as_json` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the content has another form.
    """
    properties = []
    for one in content["properties"]:
        described = {name: _number(value) for name, value in one["described"].items()}
        described["aliases"] = tuple(described["aliases"])
        properties.append(FileProperty(**{**one, "described": Property(**described)}))
    rest = {name: content[name] for name in ("hidden", "correlation")}
    return Block(tuple(properties), centre=tuple(content["centre"]), spread=tuple(content["spread"]), **rest)


def _number(value: Any) -> Any:
    return float(value) if value in ("inf", "-inf") else value
