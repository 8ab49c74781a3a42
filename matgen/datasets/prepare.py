"""Labels of crystals from several tables, and described rows as a `CrystalTable` (needs pyarrow)."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow.parquet as pq
import torch

from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.datasets.described_rows import DescribedRow
from matgen.datasets.labels import LABELS, OF_2019, GapLabel, gap_label
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.symmetry import Described

MP2020_SOURCES = {"mp20_2021", "mpts52_2022"}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


@dataclass(frozen=True)
class Labels:
    """Labels from sources other than the table, by `material_id`.

    Attributes:
        chgnet: CHGNet's energy, eV/atom.
        of_2019: rows of the Materials Project of 2019.
        predicted: gaps by MEGNet, eV.
        digest: hash of the files that were read.
    """

    chgnet: Mapping[str, float]
    of_2019: Mapping[str, dict[str, Any]]
    predicted: Mapping[str, float]
    digest: str = ""

    @classmethod
    def none(cls) -> Self:
        """Return no labels."""
        return cls({}, {}, {})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the tables of a folder; the last two may be missing."""
        chgnet, of_2019, predicted = (
            folder / f"{name}.parquet" for name in ("chgnet_energies", "mp_labels_2019", "megnet_gaps")
        )
        return cls(
            chgnet=_by_id(chgnet, "chgnet_energy"),
            of_2019={row["material_id"]: row for row in _rows(of_2019)},
            predicted=_by_id(predicted, "megnet_gap") if predicted.exists() else {},
            digest=" ".join(file_digest(path) if path.exists() else "-" for path in (chgnet, of_2019, predicted)),
        )

    def gap(self, row: dict[str, Any]) -> GapLabel:
        """Return the band gap of a row."""
        name = row["material_id"]
        own = {"band_gap": row.get("band_gap"), "band_gap_src": row.get("band_gap_src") or "table"}
        return gap_label(own | {"split": row["split"]}, self.of_2019.get(name, {}), self.predicted.get(name))

    def others(self, row: dict[str, Any]) -> dict[str, float]:
        """Return all labels of a row except the gap."""
        name = row["material_id"]
        later = self.of_2019.get(name, {})
        own = {
            "e_form": row.get("e_form"),
            "energy_above_hull": row["ehull"],
            "chgnet_energy": row.get("chgnet_energy", self.chgnet.get(name)),
        }
        more = {one: row.get(one, later.get(one)) for one in OF_2019}
        return {label: _number(value) for label, value in (own | more).items()}


def _rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist() if path.exists() else []


class Numbers(Mapping[str, float]):
    """Numbers by name, as sorted columns: some twenty bytes for each."""

    def __init__(self, names: Sequence[str], values: np.ndarray) -> None:
        encoded = np.char.encode(np.array(names, dtype=str), "utf-8") if len(names) else np.zeros(0, "S1")
        # Of equal names the last one counts, as in a dictionary.
        self._names, last = np.unique(encoded[::-1], return_index=True)
        self._values = values[::-1][last]

    def __getitem__(self, name: str) -> float:
        key = name.encode("utf-8")
        place = int(np.searchsorted(self._names, key))
        if place == len(self._names) or self._names[place] != key:
            raise KeyError(name)
        return float(self._values[place])

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8") for name in self._names)

    def __len__(self) -> int:
        return len(self._names)


def _by_id(path: Path, column: str) -> Numbers:
    read = pq.read_table(path, columns=["material_id", column])
    return Numbers(read["material_id"].to_pylist(), read[column].to_numpy())


def table_of_rows(rows: Sequence[DescribedRow], more: Labels) -> CrystalTable:
    """Return described rows, and their labels, as a table."""
    kept = [row.found for row in rows if isinstance(row.found, Described)]
    own = [row.labels for row in rows]
    gaps, others = [more.gap(row) for row in own], [more.others(row) for row in own]
    columns = {"band_gap": [one.gap for one in gaps]} | {
        name: [one[name] for one in others] for name in LABELS if name != "band_gap"
    }
    lattice = np.array([d.lattice for d in kept]).reshape(-1, 6)
    return CrystalTable(
        material_id=np.array([r["material_id"] for r in own], dtype=str),
        templates=TemplateBatch.of([d.template for d in kept]),
        geometry=Geometry(
            torch.from_numpy(lattice).float(),
            torch.from_numpy(np.concatenate([np.zeros((0, 3)), *(d.coords for d in kept)])).float(),
        ),
        split=torch.tensor([SPLITS.index(r["split"]) for r in own], dtype=torch.long),
        mp20_split=torch.tensor([SPLITS.index(r["mp20_split"] or "") for r in own], dtype=torch.long),
        labels={name: torch.tensor(column, dtype=torch.float) for name, column in columns.items()},
        gap_source=np.array([one.source for one in gaps], dtype=str),
        mp2020=torch.tensor([r.get("e_form_src") in MP2020_SOURCES for r in own], dtype=torch.bool),
        volume_ratio=torch.tensor([r["volume_ratio"] for r in own], dtype=torch.float),
        neutral=torch.tensor([row.neutral for row in rows], dtype=torch.bool),
    )
