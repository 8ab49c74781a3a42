"""Preparation of a `CrystalTable` from published Parquet tables (needs pyarrow and moyopy)."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow.parquet as pq
import torch

from matgen.chemistry.charges import commonly_neutral_formula
from matgen.chemistry.elements import reduced
from matgen.datasets.crystals import SPLITS, CrystalTable, cell_from_parameters
from matgen.datasets.labels import LABELS, OF_2019, GapLabel, gap_label
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.symmetry import Described, NoTemplateError, describe

MP2020_SOURCES = {"mp20_2021", "mpts52_2022"}


@dataclass(frozen=True)
class Preparation:
    """A prepared table and the rows that have no template, counted by cause."""

    table: CrystalTable
    failures: Counter[str]


def _describe_row(row: dict[str, Any]) -> Described | str:
    frac = np.asarray(row["frac"], dtype=float).reshape(-1, 3)
    try:
        return describe(cell_from_parameters(row["cell"]), frac, np.asarray(row["Z"]))
    except NoTemplateError as error:
        return str(error)


def prepare(folder: Path, *, jobs: int = 1, progress: Callable[[Iterable], Iterable] = iter) -> Preparation:
    """Describe every row of `folder/crystals/mp24_le20.parquet` by template and free parameters.

    Args:
        folder: the data folder.
        jobs: number of processes.
        progress: wraps the iteration over rows to show progress.

    Raises:
        FileNotFoundError: the folder has no such table.
    """
    path = folder / "crystals" / "mp24_le20.parquet"
    if not path.exists():
        message = f"expected the table {path}; name the folder that holds crystals/*.parquet"
        raise FileNotFoundError(message)
    rows = pq.read_table(path).to_pylist()
    more = Labels.read(folder / "crystals")
    with get_context("spawn").Pool(jobs) as pool:
        described = list(progress(pool.imap(_describe_row, rows, chunksize=64)))
    failures = Counter(d for d in described if isinstance(d, str))
    kept = [(row, d) for row, d in zip(rows, described, strict=True) if isinstance(d, Described)]
    return Preparation(_table(kept, more), failures)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


@dataclass(frozen=True)
class Labels:
    """Labels from sources other than the table, by `material_id`.

    Attributes:
        chgnet: CHGNet's energy, eV/atom.
        of_2019: rows of the Materials Project of 2019.
        predicted: gaps by MEGNet, eV.
    """

    chgnet: dict[str, float]
    of_2019: dict[str, dict[str, Any]]
    predicted: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the tables of a folder; the last two may be missing."""
        return cls(
            chgnet=_by_id(pq.read_table(folder / "chgnet_energies.parquet").to_pylist(), "chgnet_energy"),
            of_2019={row["material_id"]: row for row in _rows(folder / "mp_labels_2019.parquet")},
            predicted=_by_id(_rows(folder / "megnet_gaps.parquet"), "megnet_gap"),
        )

    def gap(self, row: dict[str, Any]) -> GapLabel:
        """Return the band gap of a row."""
        name = row["material_id"]
        return gap_label(row, self.of_2019.get(name, {}), self.predicted.get(name))

    def others(self, row: dict[str, Any]) -> dict[str, float]:
        """Return all labels of a row except the gap."""
        name = row["material_id"]
        later = self.of_2019.get(name, {})
        own = {
            "e_form": row["e_form"],
            "energy_above_hull": row["ehull"],
            "chgnet_energy": self.chgnet.get(name),
        }
        return {label: _number(value) for label, value in (own | {one: later.get(one) for one in OF_2019}).items()}


def _rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist() if path.exists() else []


def _by_id(rows: list[dict[str, Any]], column: str) -> dict[str, float]:
    return {row["material_id"]: row[column] for row in rows}


def _table(kept: list[tuple[dict[str, Any], Described]], more: Labels) -> CrystalTable:
    rows = [row for row, _ in kept]
    gaps, others = [more.gap(row) for row in rows], [more.others(row) for row in rows]
    columns = {"band_gap": [one.gap for one in gaps]} | {
        name: [one[name] for one in others] for name in LABELS if name != "band_gap"
    }
    return CrystalTable(
        material_id=np.array([r["material_id"] for r in rows]),
        templates=TemplateBatch.of([d.template for _, d in kept]),
        geometry=Geometry(
            torch.from_numpy(np.array([d.lattice for _, d in kept])).float(),
            torch.from_numpy(np.concatenate([d.coords for _, d in kept])).float(),
        ),
        split=torch.tensor([SPLITS.index(r["split"]) for r in rows]),
        mp20_split=torch.tensor([SPLITS.index(r["mp20_split"] or "") for r in rows]),
        labels={name: torch.tensor(column) for name, column in columns.items()},
        gap_source=np.array([one.source for one in gaps]),
        mp2020=torch.tensor([r["e_form_src"] in MP2020_SOURCES for r in rows]),
        volume_ratio=torch.tensor([r["volume_ratio"] for r in rows]),
        neutral=torch.tensor([commonly_neutral_formula(reduced(d.template.composition)) for _, d in kept]),
    )
