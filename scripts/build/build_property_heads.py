"""Make the shipped property file: heads on the frozen embeddings, from published labels.

    python scripts/build/build_property_heads.py FOLDER cache/crystals.npz

FOLDER holds crystals/aflow_elastic.parquet and crystals/mp24_le20.parquet; the prepared table holds the labels of the
Materials Project. Rows of the split `train` are fitted, those of `val` calibrate, and the errors on those of `test` are
printed as JSON and written into the header. A row of AFLOW gets the split of its formula in the Materials Project; of
the formulas that are not there, a tenth each is held out for `val` and `test`.
"""

import argparse
import json
import math
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from pymatgen.core import Composition
from torch import Tensor

from matgen.datasets.crystals import CrystalTable
from matgen.datasets.described_rows import described_rows
from matgen.datasets.prepare import Labels, table_of_rows
from matgen.nn.embedding_heads import EmbeddingHeads
from matgen.targets.learned import LEARNED
from matgen.templates.batch import TemplateBatch
from matgen.templates.symmetry import Described
from matgen.training.embedding_heads import (
    covered,
    fit_together,
    mixture,
    temperatures,
)
from matgen.training.structure_properties import Neighbourhoods
from matgen.weights.files import record_hash
from matgen.weights.models import load
from matgen.weights.property_files import SHIPPED_FILE, write_property_file
from matgen.weights.property_format import Block, FileProperty
from matgen.workflows.property import composition_features

SPLITS = ("train", "val", "test")
HIDDEN, EPOCHS, LARGEST, LARGEST_VOLUME_RATIO = 128, 60, 60, 1.7
OF_MP = "Materials Project 2019 (Matbench), CC BY 4.0"
OF_AFLOW = "AFLOW (AEL, AGL)"
SOURCES = {
    "bulk_modulus": f"{OF_MP}; {OF_AFLOW}",
    "shear_modulus": f"{OF_MP}; {OF_AFLOW}",
    "refractive_index": OF_MP,
    "phonon_peak": OF_MP,
}


@dataclass(frozen=True)
class Rows:
    """Labelled rows.

    Attributes:
        embedded: by kind of network (members, n_rows, width).
        labels: (n_rows, n_properties), NaN where unknown.
        split: 0 train, 1 val, 2 test (n_rows,).
        mp20: whether a row is of MP-20 test (n_rows,).
        composition: statistics for the forest (n_rows, n_statistics).
        formulas: reduced (n_rows,).
    """

    embedded: dict[str, Tensor]
    labels: Tensor
    split: Tensor
    mp20: Tensor
    composition: Tensor
    formulas: list[str]

    def __add__(self, other: "Rows") -> "Rows":
        embedded = {kind: torch.cat([self.embedded[kind], other.embedded[kind]], 1) for kind in self.embedded}
        names = ("labels", "split", "mp20", "composition")
        joined = [torch.cat([getattr(self, name), getattr(other, name)]) for name in names]
        return Rows(embedded, *joined, formulas=self.formulas + other.formulas)


def main() -> None:
    """Read labels, fit heads, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--cache", type=Path, help="file that keeps the embeddings")
    parser.add_argument("--out", type=Path, default=SHIPPED_FILE)
    asked = parser.parse_args()
    rows = labelled_rows(asked.folder, asked.table, asked.cache)
    block, heads, figures = fitted(rows)
    written = write_property_file(asked.out, "crystal", [(block, heads)])
    if asked.out == SHIPPED_FILE:
        record_hash(written.path)
    print(json.dumps({"file": str(written.path), "sha256": written.sha256, "figures": figures}, indent=1))


def labelled_rows(folder: Path, table: Path, cache: Path | None = None) -> Rows:
    """Return all labelled rows with their embeddings.

    Args:
        folder: of the training tables.
        table: the prepared one.
        cache: file that keeps the result; an existing one is read.
    """
    if cache and cache.exists():
        return Rows(**torch.load(cache, weights_only=True))
    rows = of_mp(table) + of_aflow(folder / "crystals")
    if cache:
        torch.save({one.name: getattr(rows, one.name) for one in fields(rows)}, cache)
    return rows


def of_mp(path: Path) -> Rows:
    """Return the labelled rows of the prepared table."""
    table = CrystalTable.load(path)
    names = [name for name in LEARNED if name in table.label_names]
    known = torch.stack([table.label(name).isfinite() for name in names]).any(0)
    table = table.select(known & (table.volume_ratio < LARGEST_VOLUME_RATIO))
    nothing = torch.full((len(table),), math.nan)
    labels = torch.stack([table.label(name) if name in names else nothing for name in LEARNED], dim=1)
    mp20 = table.mp20_split == SPLITS.index("test")
    return Rows(embeddings(table), labels, table.split, mp20, *compositions(table.templates))


def of_aflow(folder: Path) -> Rows:
    """Return the rows of AFLOW."""
    path = folder / "aflow_elastic.parquet"
    columns = tuple(pq.read_schema(path).names)
    rows = [row for row in described_rows(path, columns, 1) if isinstance(row.found, Described)]
    rows = [row for row in rows if row.found.template.n_atoms <= LARGEST]
    known = pq.read_table(folder / "mp24_le20.parquet", columns=["formula", "split"]).to_pylist()
    split_of = {Composition(row["formula"]).reduced_formula: SPLITS.index(row["split"]) for row in known}
    formulas = [Composition(row.labels["formula"]).reduced_formula for row in rows]
    split = torch.tensor([split_of.get(one, _by_chance(one)) for one in formulas])
    labels = torch.tensor([[_number(row.labels.get(name)) for name in LEARNED] for row in rows])
    for row in rows:
        row.labels.update(split="train", mp20_split="", volume_ratio=1.0, ehull=None)
        row.labels["material_id"] = str(row.labels["material_id"])
    table = table_of_rows(rows, Labels.none())
    mp20 = torch.zeros(len(rows), dtype=torch.bool)
    return Rows(embeddings(table), labels, split, mp20, *compositions(table.templates))


def compositions(templates: TemplateBatch) -> tuple[Tensor, list[str]]:
    """Return statistics of the compositions, and reduced formulas."""
    formulas = [Composition(one.formula).reduced_formula for one in templates.unbatch()]
    return composition_features(templates), formulas


def _by_chance(formula: str) -> int:
    share = zlib.crc32(formula.encode()) / 2**32
    return 2 if share < 0.1 else 1 if share < 0.2 else 0


def _number(value: Any) -> float:
    """Return a positive number; NaN for none, and for one that has no logarithm."""
    return float(value) if value is not None and value > 0 else math.nan


@torch.no_grad()
def embeddings(table: CrystalTable) -> dict[str, Tensor]:
    """Return the embeddings of a table by both ensembles."""
    structures, templates = load("structure_properties"), load("template_properties")
    known = Neighbourhoods.of(table, torch.arange(len(table)), structures.config.trunk.cutoff)
    chunks = torch.arange(len(table)).split(64)
    pooled = [torch.cat([one.pool(known.select(chunk)) for chunk in chunks]) for one in structures.members]
    embedded = [torch.cat([one.embed(table.batch(chunk)[0]) for chunk in chunks]) for one in templates.members]
    return {"structure_properties": torch.stack(pooled), "template_properties": torch.stack(embedded)}


def fitted(rows: Rows) -> tuple[Block, dict[str, EmbeddingHeads], dict[str, Any]]:
    """Return the heads on both networks, calibrated, and their errors on test rows."""
    logs = rows.labels.log10()
    train = [rows.split == place for place in range(3)]
    of_train = [logs[train[0] & logs[:, i].isfinite(), i] for i in range(len(LEARNED))]
    centre, spread = torch.stack([y.mean() for y in of_train]), torch.stack([y.std() for y in of_train])
    z = (logs - centre) / spread
    heads, figures, correlation = {}, {}, 0.0
    for kind, embedded in rows.embedded.items():
        block = _block(rows, centre, spread, {}, correlation)
        torch.manual_seed(0)
        own = EmbeddingHeads(block.heads_config(embedded.shape[0], embedded.shape[2]))
        fit_together(own, embedded[:, train[0]], z[train[0]], EPOCHS)
        loc, scale = own.standardised(own.features(embedded))
        own.temperature = temperatures(loc[:, train[1]], scale[:, train[1]], z[train[1]])
        heads[kind] = own
        figures[kind] = errors(loc, scale * own.temperature, z, rows, spread)
        if kind == "structure_properties":
            left = (z - loc.mean(0))[train[1]][:, :2]
            left = left[left.isfinite().all(1)]
            correlation = float(torch.corrcoef(left.T)[0, 1])
    print(json.dumps({"correlation of the errors of log K and log G": correlation, "rows": len(left)}))
    return _block(rows, centre, spread, figures["structure_properties"], correlation), heads, figures


def _block(rows: Rows, centre: Tensor, spread: Tensor, figures: dict[str, Any], correlation: float) -> Block:
    properties = []
    for place, (name, described) in enumerate(LEARNED.items()):
        known = rows.labels[(rows.split == 0) & rows.labels[:, place].isfinite(), place]
        source = SOURCES.get(name, OF_AFLOW)
        limits = float(known.min()), float(known.max())
        properties.append(FileProperty(described, True, *limits, source, figures.get(name, {})))
    return Block(tuple(properties), HIDDEN, tuple(centre.tolist()), tuple(spread.tolist()), correlation)


def errors(loc: Tensor, scale: Tensor, z: Tensor, rows: Rows, spread: Tensor) -> dict[str, Any]:
    """Return the errors on test rows of each property, in decades and in its unit."""
    found = {}
    for place, name in enumerate(LEARNED):
        known = z[:, place].isfinite()
        test = known & (rows.split == 2)
        found[name] = {"n_train": int((known & (rows.split == 0)).sum())}
        for label, some in (("", test), ("_mp20", test & rows.mp20)):
            if int(some.sum()) < 2:
                continue
            own, y = mixture(loc[:, some, place], scale[:, some, place]), z[some, place]
            guess = own.quantile(torch.tensor(0.5))
            decades = (guess - y).abs() * spread[place]
            plain = 10 ** (torch.log10(rows.labels[some, place]) + (guess - y) * spread[place])
            found[name] |= {
                f"n_test{label}": int(some.sum()),
                f"mae_log10{label}": round(float(decades.mean()), 4),
                f"mae{label}": _digits(float((plain - rows.labels[some, place]).abs().mean())),
                f"coverage_90{label}": round(covered(loc[:, some, place], scale[:, some, place], y), 3),
            }
    return found


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
