"""From published Parquet tables to a `CrystalTable` (needs pyarrow and moyopy)."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from matgen.datasets.crystals import SPLITS, CrystalTable, cell_from_parameters
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
    """Describe every row of `folder/crystals/mp24_le20.parquet` by template and free numbers.

    Args:
        folder: the data folder.
        jobs: processes.
        progress: wraps the iteration over rows, to show it.

    Raises:
        FileNotFoundError: the folder has no such table.
    """
    path = folder / "crystals" / "mp24_le20.parquet"
    if not path.exists():
        message = f"expected the table {path}; name the folder that holds crystals/*.parquet"
        raise FileNotFoundError(message)
    rows = pq.read_table(path).to_pylist()
    energies = pq.read_table(folder / "crystals" / "chgnet_energies.parquet").to_pydict()
    chgnet = dict(zip(energies["material_id"], energies["chgnet_energy"], strict=True))
    with get_context("spawn").Pool(jobs) as pool:
        described = list(progress(pool.imap(_describe_row, rows, chunksize=64)))
    failures = Counter(d for d in described if isinstance(d, str))
    kept = [(row, d) for row, d in zip(rows, described, strict=True) if isinstance(d, Described)]
    return Preparation(_table(kept, chgnet), failures)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _table(kept: list[tuple[dict[str, Any], Described]], chgnet: dict[str, float]) -> CrystalTable:
    rows = [row for row, _ in kept]
    labels = [
        [*(_number(r[k]) for k in ("band_gap", "e_form", "ehull")), _number(chgnet.get(r["material_id"]))] for r in rows
    ]
    return CrystalTable(
        material_id=np.array([r["material_id"] for r in rows]),
        templates=TemplateBatch.of([d.template for _, d in kept]),
        geometry=Geometry(
            torch.from_numpy(np.array([d.lattice for _, d in kept])).float(),
            torch.from_numpy(np.concatenate([d.coords for _, d in kept])).float(),
        ),
        split=torch.tensor([SPLITS.index(r["split"]) for r in rows]),
        mp20_split=torch.tensor([SPLITS.index(r["mp20_split"] or "") for r in rows]),
        labels=torch.tensor(labels),
        mp2020=torch.tensor([r["e_form_src"] in MP2020_SOURCES for r in rows]),
        volume_ratio=torch.tensor([r["volume_ratio"] for r in rows]),
    )
