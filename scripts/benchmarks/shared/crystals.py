"""Crystals of the prepared table and of the training tables, models, and the match of structures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from torch import Tensor

from matgen.datasets.crystals import CrystalTable
from matgen.novelty.crystals import KnownIndex
from matgen.structures.conversion import structures
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.weights.models import Models, load_models

MP20_MATCHER = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
"""Tolerances with which crystal structure prediction is scored on MP-20."""


@cache
def crystals(path: Path) -> CrystalTable:
    """Return the prepared table, loaded once per process."""
    return CrystalTable.load(path)


@cache
def shipped() -> Models:
    """Return the shipped models that design uses, loaded once per process."""
    return load_models()


def sample_rows(table_of_crystals: CrystalTable, n: int) -> Tensor:
    """Return a fixed random sample of MP-20 test, at most 500 rows (n,), ascending."""
    rows = (table_of_crystals.mp20_split == 2).nonzero().ravel()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[: min(n, 500)].sort().values]


def chunks(rows: Tensor, size: int) -> list[tuple[int, ...]]:
    """Split rows into parts of at most this size."""
    return [tuple(part.tolist()) for part in rows.split(size)]


def true_structures(table_of_crystals: CrystalTable, rows: Sequence[int]) -> list[Structure]:
    """Return the structures of these rows, in double precision."""
    some = table_of_crystals.select(torch.tensor(rows))
    return as_structures(some.templates, some.geometry)


def as_structures(templates: TemplateBatch, geometry: Geometry) -> list[Structure]:
    """Return the structures of a batch, expanded in double precision."""
    return structures(expand(templates, Geometry(geometry.lattice.double(), geometry.coords.double())))


def match(truth: Structure, found: Structure) -> float | None:
    """Return the root mean square distance over (volume per atom)^(1/3) by `MP20_MATCHER`; None without a match."""
    distance = MP20_MATCHER.get_rms_dist(truth, found)
    return None if distance is None else round(float(distance[0]), 5)


class TableStructures(Mapping[str, Structure]):
    """Crystals of the training tables by name, built on access.

    Args:
        data: folder of the training tables.
    """

    def __init__(self, data: Path) -> None:
        columns = ["material_id", "cell", "Z", "frac"]
        self._rows = {
            row["material_id"]: row
            for name in ("mp24_le20.parquet", "mp24_gt20_on_hull.parquet")
            for row in pq.read_table(data / "crystals" / name, columns=columns).to_pylist()
        }

    def __getitem__(self, name: str) -> Structure:
        row = self._rows[name]
        return Structure(Lattice.from_parameters(*row["cell"]), row["Z"], np.array(row["frac"]).reshape(-1, 3))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


@cache
def known_crystals(data: Path) -> KnownIndex:
    """Return the shipped index with its structures, so that `StructureMatcher` decides borderline cases."""
    return replace(KnownIndex.load(), structures=TableStructures(data))
