"""Training data: the tables in a data folder, and the prepared table that training reads."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import pyarrow.parquet as pq
import torch

from matgen.datasets.crystals import SPLITS, Crystals
from matgen.datasets.described_rows import open_table
from matgen.datasets.molecules import LABELS as MOLECULE_LABELS
from matgen.datasets.molecules import MoleculeTable
from matgen.datasets.prepare import Labels
from matgen.datasets.prepare_shards import SOURCE, into_file, prepare_shards
from matgen.datasets.qm9 import SPLIT_FILE, prepare_qm9, qm9_folder
from matgen.datasets.shards import MANIFEST
from matgen.runtime.output import make_folder
from matgen.targets.properties import PROPERTIES
from matgen.training.properties import in_chunks
from matgen.training.tables import DataError, read_crystals, read_table

TABLES = ("mp24_le20.parquet", "chgnet_energies.parquet")
"""Tables that `crystals/` in a data folder must contain."""

CACHE, LARGEST_FILE = Path("cache"), 200_000
"""Where tables are written unless told, and the number of rows up to which as one file, which is read into memory."""


@dataclass(frozen=True)
class Prepared:
    """The result of preparing a table.

    Attributes:
        path: file that was written.
        rows: number of rows in it.
        failures: number of rows without a template, by cause.
        ways: number of molecules by method of bond perception.
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
        rows: number of crystals.
        splits: number of crystals by split.
        labels: number of crystals with each label.
        gaps: number of band gaps by source; a gap on which sources disagree is dropped, and counted as `contradicted`.
        metals: share of the band gaps that are zero, in `train`.
        space_groups: number of space groups.
        elements: number of elements.
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
        rows: number of molecules.
        splits: number of molecules by split.
        labels: number of molecules with each label.
        graphs: number of distinct graphs, stereo included.
        elements: number of elements.
        largest: atoms in the largest molecule.
        ions: number of molecules with charged atoms.
        stereo: number of molecules with stereo.
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
    """Return the folder of training tables, checked.

    Raises:
        DataError: none was named, it does not exist, or it lacks a table.
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
    source: Path | None, out: Path | None, *, jobs: int = 1, progress: Callable[[Iterable], Iterable] = iter
) -> Prepared:
    """Describe every crystal of a table by template and free parameters; an interrupted preparation goes on.

    Args:
        source: folder of training tables, or one Parquet table (data/README.md lists its columns).
        out: file to write, or folder for shards; by the number of rows, cache/crystals.npz or cache/crystals if None.
        jobs: number of processes.
        progress: wraps the iteration over rows, to show it.

    Raises:
        DataError: the folder does not exist or lacks a table.
        TableError: the table cannot be read, or `out` holds another one.
        OutputError: `out` cannot be written.
    """
    path, folder = _table_and_folder(source)
    if out is None:
        with open_table(path) as file:
            out = CACHE / ("crystals.npz" if file.metadata.num_rows <= LARGEST_FILE else "crystals")
    in_one = out.suffix == ".npz"
    shards = out.with_suffix(".parts") if in_one else out
    if in_one or out.suffix:
        _check_out(out, "crystals.npz")
    elif out.is_dir() and any(out.iterdir()) and not (out / SOURCE).is_file():
        raise DataError(f"expected a file name or a new folder for the table, got the folder {out}, which holds files")
    else:
        make_folder(out, "--out")
    labels = Labels.none() if folder is None else Labels.read(folder / "crystals")
    found = prepare_shards(path, labels, shards, jobs=jobs, progress=progress)
    if in_one:
        into_file(found, out)
    return Prepared(out, found.rows, found.failures)


def _table_and_folder(source: Path | None) -> tuple[Path, Path | None]:
    """Return the Parquet table, and the folder of training tables if there is one."""
    if source is not None and source.suffix == ".parquet":
        if not source.is_file():
            raise DataError(f"expected a Parquet table, got {source}, which is not there; check the name")
        return source, None
    folder = data_folder(source)
    return folder / "crystals" / TABLES[0], folder


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
        folder: of training tables, which contains the split.
        out: file to write.
        tables: of QM9; those of the installed package `qm9pack` if None.
        jobs: number of processes.
        progress: wraps the iteration over rows, to show it.

    Raises:
        DataError: the folder does not exist.
        QM9Error: QM9 or its split is not available.
        OutputError: `out` cannot be written.
    """
    splits = _folder(folder) / SPLIT_FILE
    _check_out(out, "molecules.npz")
    found = prepare_qm9(tables or qm9_folder(), splits, jobs=jobs, progress=progress)
    found.table.save(out)
    return Prepared(out, len(found.table), found.failures, found.ways)


def _check_out(out: Path, usual: str) -> None:
    """Check before any long computation that a file can be written."""
    if out.is_dir():
        raise DataError(f"expected a file name for the table, got the folder {out}; write {out / usual}")
    if out.suffix != ".npz":  # which numpy would add
        raise DataError(f"expected a file name that ends in .npz, got {out}; write {out.with_suffix('.npz')}")
    make_folder(out.parent, "--out")
    if out.exists() and not os.access(out, os.W_OK):
        raise DataError(f"cannot write {out}: it is read-only; choose another place with --out")


def files(folder: Path | None) -> list[FileFacts]:
    """Return the Parquet tables in a data folder.

    Raises:
        DataError: the folder does not exist, or lacks a table.
    """
    return [_facts(path) for path in sorted(data_folder(folder).rglob("*.parquet"))]


def table_facts(path: Path) -> TableFacts | MoleculeFacts:
    """Summarise a prepared table in numbers.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if _holds_molecules(path):
        return _molecule_facts(read_table(path, MoleculeTable))
    table = read_crystals(path)
    groups: set[int] = set()
    elements: set[int] = set()
    free = []
    for some in in_chunks(table):
        groups.update(some.space_group.unique().tolist())
        elements.update(some.site_element.unique().tolist())
        zeros = torch.zeros(some.n_systems)
        free.append(zeros.index_add(0, some.site_system, some.free_coords.sum(1).float()))
    return TableFacts(
        rows=len(table),
        splits={name or "none": int((table.split == i).sum()) for i, name in enumerate(SPLITS)},
        labels={name: int(torch.isfinite(table.label(name)).sum()) for name in table.label_names},
        gaps=dict(Counter(name or "none" for name in table.gap_source.tolist()).most_common()),
        metals=_metals(table),
        space_groups=len(groups),
        elements=len(elements),
        largest=int(table.n_atoms.max()),
        free=float(torch.cat(free).median()),
    )


def is_table(path: Path) -> bool:
    """Return whether a path names a prepared table: a file, or a folder of shards."""
    return path.suffix == ".npz" or (path / MANIFEST).is_file()


def _metals(table: Crystals) -> float:
    """Return the share of metals among the band gaps of the split `train`; NaN without any."""
    gaps = table.label("band_gap")[table.split == 0]
    known = gaps[torch.isfinite(gaps)]
    return float((known <= PROPERTIES["band_gap"].zero).float().mean())


def _holds_molecules(path: Path) -> bool:
    """Return whether an archive has the column that only tables of molecules have."""
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
