"""A table of molecules as tensors, loaded with torch and numpy alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from matgen.batch.graphs import STEREO_SITES, Graphs
from matgen.runtime.devices import placed
from matgen.runtime.output import replacing
from matgen.templates.batch import Geometry, TemplateBatch

LABELS = (
    "gap",
    "homo",
    "lumo",
    "dipole",
    "polarizability",
    "atomization_energy",
    "heat_capacity",
)


OLD_STEREO_SIGN = "hand"
"""Column of `stereo_sign` in tables prepared by versions up to 0.1.0."""


@dataclass(frozen=True)
class MoleculeTable:
    """Molecules as templates, geometries and labels.

    Attributes:
        index: number of each molecule in its source (n,).
        templates: their graphs, with the stereo of their geometries.
        geometry: their positions, centred.
        split: 0 train, 1 val, 2 test (n,).
        labels: (n, 7), NaN if unknown, in the order of `LABELS` and the units of `matgen.targets.properties`.
    """

    index: Tensor
    templates: TemplateBatch
    geometry: Geometry
    split: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def label(self, name: str) -> Tensor:
        """Return one label (n,)."""
        return self.labels[:, LABELS.index(name)]

    @property
    def n_atoms(self) -> Tensor:
        """Atoms of each molecule (n,)."""
        return self.templates.n_atoms

    @property
    def n_sites(self) -> Tensor:
        """Sites of each molecule (n,)."""
        return self.templates.n_sites

    def batch(self, rows: Tensor) -> tuple[TemplateBatch, Geometry]:
        """Return templates and geometries of some rows, by indices that may repeat, in that order."""
        return self.templates.select(rows), self.geometry.select(self.templates, rows)

    def select(self, rows: Tensor) -> Self:
        """Return some rows, by indices or a mask."""
        rows = rows.nonzero().ravel() if rows.dtype == torch.bool else rows
        return type(self)(
            self.index[rows],
            self.templates.select(rows),
            self.geometry.select(self.templates, rows),
            self.split[rows],
            self.labels[rows],
        )

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        return placed(self, device)

    def save(self, path: Path) -> None:
        """Write the table as one compressed npz."""
        graphs = self.templates.graphs
        sizes = torch.bincount(self.templates.site_system, minlength=len(self))
        with replacing(path) as stream:
            np.savez_compressed(
                stream,
                index=self.index.numpy().astype(np.int32),
                smiles=np.array(self.templates.smiles),
                size=sizes.numpy().astype(np.uint8),
                element=self.templates.site_element.numpy().astype(np.uint8),
                charge=graphs.charge.numpy().astype(np.int8),
                relation=graphs.relation.numpy(),
                stereo_sites=graphs.stereo_sites.numpy().astype(np.int32),
                stereo_kind=graphs.stereo_kind.numpy().astype(np.uint8),
                stereo_sign=graphs.stereo_sign.numpy().astype(np.int8),
                positions=self.geometry.coords.numpy().astype(np.float32),
                split=self.split.numpy().astype(np.uint8),
                labels=self.labels.numpy().astype(np.float32),
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table written by `save`.

        Raises:
            FileNotFoundError: there is no such table.
            ValueError: it was prepared before stereo elements included their central atom.
        """
        if not path.exists():
            message = f"expected a prepared table at {path}; make one with `matgen data prepare FOLDER --molecules`"
            raise FileNotFoundError(message)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as raw:
            size = torch.from_numpy(raw["size"].astype(np.int64))

            def whole(name: str) -> Tensor:
                return torch.from_numpy(raw[name].astype(np.int64))

            if raw["stereo_sites"].shape[1] != STEREO_SITES:
                message = f"expected {STEREO_SITES} atoms of each stereo element, got {raw['stereo_sites'].shape[1]}"
                raise ValueError(f"{message}: it was prepared by an earlier version")
            graphs = Graphs(
                charge=whole("charge"),
                relation=torch.from_numpy(raw["relation"]),
                pairs=size**2,
                stereo_sites=whole("stereo_sites"),
                stereo_kind=whole("stereo_kind"),
                stereo_sign=whole("stereo_sign" if "stereo_sign" in raw else OLD_STEREO_SIGN),
            )
            owner = torch.repeat_interleave(torch.arange(len(size)), size)
            smiles = tuple(raw["smiles"].tolist())
            templates = TemplateBatch.of_graphs(whole("element"), owner, graphs, smiles)
            geometry = Geometry(torch.zeros(len(size), 6), torch.from_numpy(raw["positions"]))
            labels = torch.from_numpy(raw["labels"])
            return cls(whole("index"), templates, geometry, whole("split"), labels)
