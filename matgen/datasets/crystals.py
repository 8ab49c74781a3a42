"""A table of crystals as tensors, loaded with torch and numpy alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from matgen.batch.graphs import take_rows
from matgen.runtime.devices import placed
from matgen.runtime.output import replacing
from matgen.templates.batch import Geometry, TemplateBatch, concatenated

SPLITS = ("train", "val", "test", "")


class Crystals(Protocol):
    """What training reads of a table of crystals, in memory or on the disk; attributes as of `CrystalTable`."""

    @property
    def split(self) -> Tensor:
        """0 train, 1 val, 2 test (n,)."""
        ...

    @property
    def mp20_split(self) -> Tensor:
        """Likewise for MP-20 (n,)."""
        ...

    @property
    def mp2020(self) -> Tensor:
        """Whether e_form follows the MP2020 corrections (n,)."""
        ...

    @property
    def volume_ratio(self) -> Tensor:
        """Cell volume over the fitted atomic volumes (n,)."""
        ...

    @property
    def neutral(self) -> Tensor:
        """Whether common oxidation states sum to zero (n,)."""
        ...

    @property
    def n_atoms(self) -> Tensor:
        """Atoms in each primitive cell (n,)."""
        ...

    @property
    def n_sites(self) -> Tensor:
        """Sites of each crystal (n,)."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels."""
        ...

    @property
    def gap_source(self) -> np.ndarray:
        """Source of each band gap (n,)."""
        ...

    def __len__(self) -> int: ...

    def label(self, name: str) -> Tensor:
        """Return one label (n,), NaN if unknown."""
        ...

    def batch(self, rows: Tensor) -> tuple[TemplateBatch, Geometry]:
        """Return templates and geometries of some rows, by indices that may repeat, in that order."""
        ...


@dataclass(frozen=True)
class CrystalTable:
    """Crystals as templates, geometries and labels.

    Attributes:
        material_id: identifiers (n,).
        templates: the templates of the crystals.
        geometry: their free parameters (float32).
        split: 0 train, 1 val, 2 test, by formula (n,).
        mp20_split: likewise for MP-20; 3 if a row is not in MP-20 (n,).
        labels: by name, in the units of `matgen.datasets.labels.LABELS`, NaN if unknown (n,).
        gap_source: source of each band gap (n,); empty if there is none.
        mp2020: whether e_form follows the MP2020 corrections (n,).
        volume_ratio: cell volume over the fitted atomic volumes (n,).
        neutral: whether common oxidation states sum to zero (n,).
    """

    material_id: np.ndarray
    templates: TemplateBatch
    geometry: Geometry
    split: Tensor
    mp20_split: Tensor
    labels: Mapping[str, Tensor]
    gap_source: np.ndarray
    mp2020: Tensor
    volume_ratio: Tensor
    neutral: Tensor

    def __len__(self) -> int:
        return len(self.material_id)

    def label(self, name: str) -> Tensor:
        """Return one label (n,), NaN if unknown."""
        return self.labels[name]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels."""
        return tuple(self.labels)

    @property
    def n_atoms(self) -> Tensor:
        """Atoms in each primitive cell (n,)."""
        return self.templates.n_atoms

    @cached_property
    def n_sites(self) -> Tensor:
        """Sites of each crystal (n,)."""
        return self.templates.n_sites

    @cached_property
    def _first_site(self) -> Tensor:
        return self.n_sites.cumsum(0) - self.n_sites

    def batch(self, rows: Tensor) -> tuple[TemplateBatch, Geometry]:
        """Return templates and geometries of some rows, as `select` of both does, in a time that they alone set."""
        sites, owner = take_rows(self._first_site, self.n_sites, rows)
        whole = self.templates
        chosen = whole.space_group[rows], whole.site_position[sites], whole.site_element[sites], owner
        return TemplateBatch.of_sites(*chosen), Geometry(self.geometry.lattice[rows], self.geometry.coords[sites])

    def select(self, rows: Tensor) -> Self:
        """Return some rows, by indices or a mask."""
        rows = rows.nonzero().ravel() if rows.dtype == torch.bool else rows
        return type(self)(
            material_id=self.material_id[rows.cpu().numpy()],
            gap_source=self.gap_source[rows.cpu().numpy()],
            labels={name: value[rows] for name, value in self.labels.items()},
            templates=self.templates.select(rows),
            geometry=self.geometry.select(self.templates, rows),
            **{f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in _STRUCTURED},
        )

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        return placed(self, device)

    def save(self, path: Path) -> None:
        """Write the table as one compressed npz."""
        plain = {f.name: getattr(self, f.name).numpy() for f in fields(self) if f.name not in _STRUCTURED}
        labels: dict[str, Any] = {f"{LABEL}{name}": value.numpy() for name, value in self.labels.items()}
        sites = torch.bincount(self.templates.site_system, minlength=len(self))
        with replacing(path) as stream:
            np.savez_compressed(
                stream,
                material_id=self.material_id,
                space_group=self.templates.space_group.numpy().astype(np.uint8),
                site_count=sites.numpy().astype(np.uint8),
                site_position=self.templates.site_position.numpy().astype(np.int16),
                site_element=self.templates.site_element.numpy().astype(np.uint8),
                lattice=self.geometry.lattice.numpy().astype(np.float32),
                coords=self.geometry.coords.numpy().astype(np.float32),
                gap_source=self.gap_source,
                **labels,
                **plain,
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table written by `save`.

        Raises:
            FileNotFoundError: there is no such table.
            ValueError: it was prepared before labels had names.
        """
        if not path.exists():
            message = f"expected a prepared table at {path}; make one with `matgen data prepare FOLDER`"
            raise FileNotFoundError(message)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as raw:
            if "neutral" not in raw:
                raise ValueError("expected labels by name, got a table that was prepared by an earlier version")
            labels = {name.removeprefix(LABEL): torch.from_numpy(raw[name]) for name in raw if name.startswith(LABEL)}
            site_count = torch.from_numpy(raw["site_count"].astype(np.int64))
            templates = TemplateBatch.of_sites(
                torch.from_numpy(raw["space_group"].astype(np.int64)),
                torch.from_numpy(raw["site_position"].astype(np.int64)),
                torch.from_numpy(raw["site_element"].astype(np.int64)),
                torch.repeat_interleave(torch.arange(len(site_count)), site_count),
            )
            geometry = Geometry(torch.from_numpy(raw["lattice"]), torch.from_numpy(raw["coords"]))
            plain = {f.name: torch.from_numpy(raw[f.name]) for f in fields(cls) if f.name not in _STRUCTURED}
            return cls(
                material_id=raw["material_id"],
                templates=templates,
                geometry=geometry,
                labels=labels,
                gap_source=raw["gap_source"],
                **plain,
            )


_STRUCTURED = {"material_id", "templates", "geometry", "labels", "gap_source"}
LABEL = "label_"
"""Prefix of the name of a label in the file."""


def cell_from_parameters(parameters: np.ndarray) -> np.ndarray:
    """Return row vectors (3, 3) in Å from (a, b, c, α, β, γ) in Å and degrees, with a along x and b in the xy plane."""
    a, b, c = (float(v) for v in parameters[:3])
    cos_a, cos_b, cos_g = (math.cos(math.radians(float(v))) for v in parameters[3:])
    sin_g = math.sqrt(1 - cos_g**2)
    x, y = cos_b, (cos_a - cos_b * cos_g) / sin_g
    return np.array([[a, 0, 0], [b * cos_g, b * sin_g, 0], [c * x, c * y, c * math.sqrt(1 - x**2 - y**2)]])


def joined_tables(parts: Sequence[CrystalTable]) -> CrystalTable:
    """Return the rows of several tables, one table after another."""
    templates, geometry = concatenated([(part.templates, part.geometry) for part in parts])
    plain = [f.name for f in fields(CrystalTable) if f.name not in _STRUCTURED]
    return CrystalTable(
        material_id=np.concatenate([part.material_id for part in parts]),
        templates=templates,
        geometry=geometry,
        labels={name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels},
        gap_source=np.concatenate([part.gap_source for part in parts]),
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in plain},
    )
