"""A map of candidates among known crystals: two principal components of a network's embeddings.

The network is the first of the shipped ensemble that predicts properties from structures, so that crystals whose
properties depend on structure and elements in the same way lie close to each other. The shipped table has the
components, and the places of a sample of known crystals; `scripts/build/build_report_map.py` computes it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pymatgen.core.structure import Structure

from matgen.errors import UserError
from matgen.nn.embedding_heads import embedding
from matgen.report.remembered import REMEMBERED, key_of, structure_of
from matgen.structures.conversion import state_of
from matgen.weights.files import info
from matgen.weights.models import load

SHIPPED = Path(str(files("matgen") / "report" / "map.npz"))
"""The table."""

NETWORK = "structure_properties"

HINT = (
    "Each point is a crystal; close points have similar elements and neighbourhoods of atoms, as the network that "
    "predicts properties sees them. Distances along the axes have no unit."
)


class MapError(UserError, ValueError):
    """The table is not that of the network that is installed."""


@dataclass(frozen=True, eq=False)
class MapTable:
    """Components and the places of known crystals.

    Attributes:
        weights: SHA-256 of the network.
        source: of the crystals, in words.
        explained: shares of the variance of the sample along both components.
        mean: of the embeddings (width,).
        scale: their standard deviation (width,).
        components: (2, width).
        points: places of the known crystals (n, 2).
        formulas: of them.
    """

    weights: str
    source: str
    explained: tuple[float, ...]
    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    points: np.ndarray
    formulas: tuple[str, ...]

    def standardised(self, embedded: np.ndarray) -> np.ndarray:
        """Return embeddings (n, width) in standard deviations of the known crystals from their mean."""
        return (embedded - self.mean) / self.scale

    def places(self, standardised: np.ndarray) -> np.ndarray:
        """Return the places (n, 2) of standardised embeddings (n, width); that of a mean is the mean of the places."""
        return standardised @ self.components.T

    @classmethod
    def load(cls, path: Path = SHIPPED) -> "MapTable":
        """Read a table that `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            arrays = {name: file[name].astype(np.float64) for name in ("mean", "scale", "components", "points")}
        return cls(
            header["weights"],
            header["source"],
            tuple(header["explained"]),
            formulas=tuple(header["formulas"]),
            **arrays,
        )

    def save(self, path: Path) -> None:
        """Write the table."""
        header = {
            "weights": self.weights,
            "source": self.source,
            "explained": self.explained,
            "formulas": self.formulas,
        }
        text = np.frombuffer(json.dumps(header, separators=(",", ":")).encode(), dtype=np.uint8)
        small = {"mean": self.mean, "scale": self.scale, "components": self.components}
        arrays: dict[str, Any] = {name: array.astype(np.float32) for name, array in small.items()}
        np.savez_compressed(path, header=text, points=self.points.astype(np.float16), **arrays)


def of_sample(embedded: np.ndarray, formulas: Sequence[str], source: str) -> MapTable:
    """Return the table of a sample of known crystals.

    Args:
        embedded: their embeddings (n, width).
        formulas: of them.
        source: of the crystals, in words.
    """
    mean, scale = embedded.mean(axis=0), embedded.std(axis=0)
    scale = np.where(scale > 1e-6 * np.abs(mean).max(), scale, 1.0)
    standardised = (embedded - mean) / scale
    _, singular, rows = np.linalg.svd(standardised, full_matrices=False)
    explained = tuple((singular[:2] ** 2 / (singular**2).sum()).round(4).tolist())
    components = rows[:2] * np.sign(rows[:2].sum(axis=1, keepdims=True))
    weights = info(NETWORK).sha256
    return MapTable(weights, source, explained, mean, scale, components, standardised @ components.T, tuple(formulas))


@cache
def shipped_map() -> MapTable:
    """Return the shipped table, read once.

    Raises:
        MapError: it was computed with other weights than those of the network that is installed.
    """
    table, installed = MapTable.load(), info(NETWORK).sha256
    if table.weights != installed:
        raise MapError(
            f"expected a map made with the network {installed[:12]}…, got one of {table.weights[:12]}…; "
            "run scripts/build/build_report_map.py"
        )
    return table


@cache
def _member() -> torch.nn.Module:
    return load("structure_properties").members[0]


@torch.no_grad()
def embedded(structures: Sequence[Structure]) -> np.ndarray:
    """Return the embeddings (n, width) of crystals."""
    found = embedding(_member(), state_of(structures))
    return found.double().numpy()


@lru_cache(maxsize=REMEMBERED)
def vector_of(key: str) -> np.ndarray:
    """Return the standardised embedding (width,) of a crystal, from its text (`remembered.key_of`)."""
    found: np.ndarray = shipped_map().standardised(embedded([structure_of(key)]))[0]
    return found


def place_of(key: str) -> list[float]:
    """Return the place of a crystal on the shipped map, from its text (`remembered.key_of`)."""
    return place_of_vector(vector_of(key))


def place_of_vector(standardised: np.ndarray) -> list[float]:
    """Return the place of a standardised embedding (width,) on the shipped map."""
    return [round(x, 3) for x in shipped_map().places(standardised[None])[0].tolist()]


def place(structure: Structure) -> list[float]:
    """Return the place of a crystal on the shipped map."""
    return place_of(key_of(structure))


def map_record() -> dict[str, Any]:
    """Return the known crystals of the map as plain data."""
    table = shipped_map()
    places = table.points.round(2).tolist()
    return {
        "method": f"PCA of the embeddings of {len(places)} known crystals ({table.source})",
        "explained": list(table.explained),
        "known": [[x, y, formula] for (x, y), formula in zip(places, table.formulas, strict=True)],
        "hint": HINT,
    }
