"""Training data: what there is, and the prepared table that training reads."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import pyarrow.parquet as pq
import torch

from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.datasets.molecules import LABELS as MOLECULE_LABELS
from matgen.datasets.molecules import MoleculeTable
from matgen.datasets.prepare import prepare
from matgen.datasets.qm9 import SPLIT_FILE, prepare_qm9, qm9_folder
from matgen.runtime.output import make_folder
from matgen.targets.properties import PROPERTIES
from matgen.training.tables import DataError, read_table

TABLES = ("mp24_le20.parquet", "chgnet_energies.parquet")
"""What `crystals/` in a data folder must hold."""


@dataclass(frozen=True)
class Prepared:
    """What preparing gave.

    Attributes:
        path: file that was written.
        rows: in it.
        failures: rows without a template, by cause.
        ways: of molecules, how often each way of finding the bonds was taken.
    """

    path: Path
    rows: int
    failures: Counter[str]
    ways: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class FileFacts:
    """A file of a data folder: rows and columns of a Parquet table."""

    path: Path
    megabytes: float
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class TableFacts:
    """A prepared table in numbers.

    Attributes:
        rows: crystals.
        splits: crystals by split.
        labels: crystals with each label.
        gaps: band gaps by source; what sources contradict each other about is counted as `contradicted`, and has none.
        metals: share of the band gaps that are zero, in `train`.
        space_groups: how many of them occur.
        elements: how many of them occur.
        largest: atoms in the largest primitive cell.
        free: median count of free site coordinates.
    """

    rows: int
    splits: dict[str, int]
    labels: dict[str, int]
    gaps: dict[str, int]
    metals: float
    space_groups: int
    elements: int
    largest: int
    free: float


@dataclass(frozen=True)
class MoleculeFacts:
    """A prepared table of molecules in numbers.

    Attributes:
        rows: molecules.
        splits: molecules by split.
        labels: molecules with each label.
        graphs: how many differ, hands included.
        elements: how many of them occur.
        largest: atoms in the largest molecule.
        ions: molecules with charged atoms.
        stereo: molecules that have a hand.
    """

    rows: int
    splits: dict[str, int]
    labels: dict[str, int]
    graphs: int
    elements: int
    largest: int
    ions: int
    stereo: int


def data_folder(folder: Path | None) -> Path:
    """The folder of training tables, checked.

    Raises:
        DataError: none was named, it is not there, or it lacks a table.
    """
    folder = _folder(folder)
    missing = [name for name in TABLES if not (folder / "crystals" / name).is_file()]
    if missing:
        raise DataError(f"expected {', '.join(missing)} in {folder / 'crystals'}, found none; see data/README.md")
    return folder


def _folder(folder: Path | None) -> Path:
    if folder is None:
        raise DataError(
            "expected the folder of training tables, got none; name it, or set MATGEN_DATA (data/README.md)"
        )
    if not folder.is_dir():
        raise DataError(f"expected a folder of training tables, got {folder}, which is none; check the name")
    return folder


def prepare_table(
    folder: Path | None, out: Path, *, jobs: int = 1, progress: Callable[[Iterable], Iterable] = iter
) -> Prepared:
    """Describe every crystal of a data folder by template and free numbers, and write one table.

    Args:
        folder: of training tables.
        out: file to write.
        jobs: processes.
        progress: wraps the iteration over rows, to show it.

    Raises:
        DataError: the folder is not there or lacks a table.
        OutputError: `out` cannot be written.
    """
    source = data_folder(folder)
    _check_out(out, "crystals.npz")
    found = prepare(source, jobs=jobs, progress=progress)
    found.table.save(out)
    return Prepared(out, len(found.table), found.failures)


def prepare_molecules(
    folder: Path | None,
    out: Path,
    *,
    tables: Path | None = None,
    jobs: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Prepared:
    """Describe every molecule of QM9 by graph, geometry and labels, and write one table.

    Args:
        folder: of training tables, which holds the split.
        out: file to write.
        tables: of QM9; those of the installed package `qm9pack` if left out.
        jobs: processes.
        progress: wraps the iteration over rows, to show it.

    Raises:
        DataError: the folder is not there.
        QM9Error: QM9 or its split is not at hand.
        OutputError: `out` cannot be written.
    """
    splits = _folder(folder) / SPLIT_FILE
    _check_out(out, "molecules.npz")
    found = prepare_qm9(tables or qm9_folder(), splits, jobs=jobs, progress=progress)
    found.table.save(out)
    return Prepared(out, len(found.table), found.failures, found.ways)


def _check_out(out: Path, usual: str) -> None:
    """Complain about a place that cannot be written before anything takes long."""
    if out.is_dir():
        raise DataError(f"expected a file name for the table, got the folder {out}; write {out / usual}")
    if out.suffix != ".npz":  # which numpy would add
        raise DataError(f"expected a file name that ends in .npz, got {out}; write {out.with_suffix('.npz')}")
    make_folder(out.parent, "--out")
    if out.exists() and not os.access(out, os.W_OK):
        raise DataError(f"cannot write {out}: it is read-only; choose another place with --out")


def files(folder: Path | None) -> list[FileFacts]:
    """The Parquet tables in a data folder.

    Raises:
        DataError: the folder is not there, or lacks a table.
    """
    return [_facts(path) for path in sorted(data_folder(folder).rglob("*.parquet"))]


def table_facts(path: Path) -> TableFacts | MoleculeFacts:
    """A prepared table in numbers.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if _holds_molecules(path):
        return _molecule_facts(read_table(path, MoleculeTable))
    table = read_table(path, CrystalTable)
    templates = table.templates
    free = torch.zeros(len(table)).index_add(0, templates.site_system, templates.free_coords.sum(1).float())
    return TableFacts(
        rows=len(table),
        splits={name or "none": int((table.split == i).sum()) for i, name in enumerate(SPLITS)},
        labels={name: int(torch.isfinite(label).sum()) for name, label in table.labels.items()},
        gaps=dict(Counter(name or "none" for name in table.gap_source.tolist()).most_common()),
        metals=_metals(table),
        space_groups=len(templates.space_group.unique()),
        elements=len(templates.site_element.unique()),
        largest=int(templates.n_atoms.max()),
        free=float(free.median()),
    )


def _metals(table: CrystalTable) -> float:
    """Share of metals among the band gaps of the split `train`; NaN where it has none."""
    gaps = table.label("band_gap")[table.split == 0]
    known = gaps[torch.isfinite(gaps)]
    return float((known <= PROPERTIES["band_gap"].zero).float().mean())


def _holds_molecules(path: Path) -> bool:
    """Whether an archive has the column that only tables of molecules have."""
    return is_zipfile(path) and "smiles.npy" in ZipFile(path).namelist()


def _molecule_facts(table: MoleculeTable) -> MoleculeFacts:
    templates, graphs = table.templates, table.templates.graphs
    owner = templates.site_system
    return MoleculeFacts(
        rows=len(table),
        splits={name or "none": int((table.split == i).sum()) for i, name in enumerate(SPLITS)},
        labels={name: int(torch.isfinite(table.label(name)).sum()) for name in MOLECULE_LABELS},
        graphs=len(set(templates.smiles)),
        elements=len(templates.site_element.unique()),
        largest=int(templates.n_atoms.max()),
        ions=len(owner[graphs.charge != 0].unique()),
        stereo=len(owner[graphs.stereo_sites[:, 0]].unique()),
    )


def _facts(path: Path) -> FileFacts:
    with pq.ParquetFile(path) as file:
        return FileFacts(path, path.stat().st_size / 1e6, file.metadata.num_rows, tuple(file.schema_arrow.names))
