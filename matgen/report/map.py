"""A map of candidates among known materials: two principal components of a network's embeddings.

The network is the first of the shipped ensemble that predicts properties from structures of crystals, or from graphs of
molecules, so that materials whose properties depend on these in the same way lie close to each other. The shipped table
of each kind has the components, and the places of a sample of known materials; `scripts/build/build_report_map.py`
computes it. Molecules of that sample are the first of `matgen.novelty.known_smiles`, of which it has number and hash
alone. A material is named by a key: a crystal by its text (`remembered.key_of`), a molecule by its SMILES.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from matgen.batch.state import State
from matgen.chemistry.elements import HYDROGEN
from matgen.errors import UserError
from matgen.nn.embedding_heads import embedding
from matgen.novelty.known_smiles import shipped_smiles
from matgen.report.remembered import REMEMBERED, structure_of
from matgen.screening.molecules import ELEMENTS, MOST_HEAVY
from matgen.structures.candidate import KindName
from matgen.structures.conversion import state_of
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.skeleton import MAX_HEAVY
from matgen.weights.files import info
from matgen.weights.models import load

SHIPPED: Mapping[KindName, Path] = {
    "crystal": Path(str(files("matgen") / "report" / "map.npz")),
    "molecule": Path(str(files("matgen") / "report" / "molecule_map.npz")),
}
"""The table of each kind."""

NETWORKS: Mapping[KindName, Literal["structure_properties", "molecule_properties"]] = {
    "crystal": "structure_properties",
    "molecule": "molecule_properties",
}
"""What embeds the materials of each kind."""

HINTS: Mapping[KindName, str] = {
    "crystal": (
        "Each point is a crystal; close points have similar elements and neighbourhoods of atoms, as the network that "
        "predicts properties sees them. Distances along the axes have no unit."
    ),
    "molecule": (
        "Each point is a molecule; close points have similar graphs, as the network that predicts properties sees "
        f"them; places of molecules of more than {MAX_HEAVY} heavy atoms are extrapolated. Distances along the axes "
        "have no unit."
    ),
}
"""How to read each map."""


AGAIN = "run scripts/build/build_report_map.py"


class MapError(UserError, ValueError):
    """The table is not that of the network, or of the known molecules, that are installed."""


@dataclass(frozen=True, eq=False)
class MapTable:
    """Components and the places of known materials.

    Attributes:
        kind: of the materials.
        weights: SHA-256 of the network.
        source: of the materials, in words.
        explained: shares of the variance of the sample along both components.
        mean: of the embeddings (width,).
        scale: their standard deviation (width,).
        components: (2, width).
        points: places of the known materials (n, 2).
        names: formulas of crystals, SMILES of molecules.
    """

    kind: KindName
    weights: str
    source: str
    explained: tuple[float, ...]
    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    points: np.ndarray
    names: tuple[str, ...]

    def standardised(self, embedded: np.ndarray) -> np.ndarray:
        """Return embeddings (n, width) in standard deviations of the known materials from their mean."""
        return (embedded - self.mean) / self.scale

    def places(self, standardised: np.ndarray) -> np.ndarray:
        """Return the places (n, 2) of standardised embeddings (n, width); that of a mean is the mean of the places."""
        return standardised @ self.components.T

    @classmethod
    def load(cls, kind: KindName) -> "MapTable":
        """Read the table that `save` wrote.

        Raises:
            MapError: it was computed with other known molecules than those that are installed.
        """
        with np.load(SHIPPED[kind], allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            arrays = {name: file[name].astype(np.float64) for name in ("mean", "scale", "components", "points")}
        explained = tuple(header["explained"])
        names = _molecules(header) if kind == "molecule" else tuple(header["names"])
        return cls(kind, header["weights"], header["source"], explained, names=names, **arrays)

    def save(self) -> None:
        """Write the table."""
        header: dict[str, Any] = {"weights": self.weights, "source": self.source, "explained": self.explained}
        header |= (
            {"molecules": len(self.names), "sha256": digest(self.names)}
            if self.kind == "molecule"
            else {"names": self.names}
        )
        text = np.frombuffer(json.dumps(header, separators=(",", ":")).encode(), dtype=np.uint8)
        small = {"mean": self.mean, "scale": self.scale, "components": self.components}
        arrays: dict[str, Any] = {name: array.astype(np.float32) for name, array in small.items()}
        np.savez_compressed(SHIPPED[self.kind], header=text, points=self.points.astype(np.float16), **arrays)


def digest(names: Sequence[str]) -> str:
    """Return the SHA-256 of names."""
    return sha256("\n".join(names).encode()).hexdigest()


def _molecules(header: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the molecules of a table.

    Raises:
        MapError: they are other ones by now.
    """
    names = shipped_smiles().smiles[: header["molecules"]]
    if digest(names) != header["sha256"]:
        raise MapError(
            f"expected a map of the first {len(names):,} of the known molecules that are installed "
            f"({digest(names)[:12]}…), got one of {header['sha256'][:12]}…; {AGAIN} --kind molecule"
        )
    return names


def of_sample(kind: KindName, embedded: np.ndarray, names: Sequence[str], source: str) -> MapTable:
    """Return the table of a sample of known materials.

    Args:
        kind: of the materials.
        embedded: their embeddings (n, width).
        names: of them.
        source: of the materials, in words.
    """
    mean, scale = embedded.mean(axis=0), embedded.std(axis=0)
    scale = np.where(scale > 1e-6 * np.abs(mean).max(), scale, 1.0)
    standardised = (embedded - mean) / scale
    _, singular, rows = np.linalg.svd(standardised, full_matrices=False)
    explained = tuple((singular[:2] ** 2 / (singular**2).sum()).round(4).tolist())
    components = rows[:2] * np.sign(rows[:2].sum(axis=1, keepdims=True))
    points = standardised @ components.T
    return MapTable(kind, info(NETWORKS[kind]).sha256, source, explained, mean, scale, components, points, tuple(names))


@cache
def shipped_map(kind: KindName) -> MapTable:
    """Return the shipped table of a kind, read once.

    Raises:
        MapError: it was computed with other weights, or other known molecules, than those that are installed.
    """
    table, installed = MapTable.load(kind), info(NETWORKS[kind]).sha256
    if table.weights != installed:
        raise MapError(
            f"expected a map made with the network {installed[:12]}…, got one of {table.weights[:12]}…; "
            f"{AGAIN} --kind {kind}"
        )
    return table


@cache
def _member(kind: KindName) -> torch.nn.Module:
    return load(NETWORKS[kind]).members[0]


@torch.no_grad()
def embedded(kind: KindName, keys: Sequence[str]) -> np.ndarray:
    """Return the embeddings (n, width) of materials."""
    found = embedding(_member(kind), _inputs(kind, keys))
    return found.double().numpy()


def _inputs(kind: KindName, keys: Sequence[str]) -> State | TemplateBatch:
    if kind == "crystal":
        return state_of([structure_of(key) for key in keys])
    return TemplateBatch.of([MoleculeTemplate(key) for key in keys])


@lru_cache(maxsize=REMEMBERED)
def vector_of(kind: KindName, key: str) -> np.ndarray:
    """Return the standardised embedding (width,) of a material."""
    found: np.ndarray = shipped_map(kind).standardised(embedded(kind, [key]))[0]
    return found


def place_of(kind: KindName, key: str) -> list[float]:
    """Return the place of a material on the shipped map."""
    return place_of_vector(kind, vector_of(kind, key))


def place_of_vector(kind: KindName, standardised: np.ndarray) -> list[float]:
    """Return the place of a standardised embedding (width,) on the shipped map."""
    return [round(x, 3) for x in shipped_map(kind).places(standardised[None])[0].tolist()]


def within_training(smiles: str) -> bool:
    """Return whether the network is evaluated for a molecule, by its elements and size, as `matgen screen` does it."""
    counts = MoleculeTemplate(smiles).composition
    heavy = sum(n for z, n in counts.items() if z != HYDROGEN)
    return set(counts) <= ELEMENTS and 1 <= heavy <= MOST_HEAVY


def map_record(kind: KindName) -> dict[str, Any]:
    """Return the known materials of a map as plain data."""
    table = shipped_map(kind)
    places = table.points.round(2).tolist()
    return {
        "method": f"PCA of the embeddings of {len(places):,} known {kind}s ({table.source})",
        "explained": list(table.explained),
        "known": [[x, y, name] for (x, y), name in zip(places, table.names, strict=True)],
        "hint": HINTS[kind],
    }
