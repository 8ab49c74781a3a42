"""Named data sets as structures, with which generated structures are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core.structure import Molecule, Structure

from matgen.datasets.crystals import cell_from_parameters
from matgen.datasets.qm9 import SPLIT_FILE, QM9Error, published_molecules, qm9_folder
from matgen.errors import UserError
from matgen.structures.candidate import KindName


class DataSetError(UserError, FileNotFoundError):
    """A named data set that is unknown, or whose table is missing."""


@dataclass(frozen=True)
class Named:
    """A data set in the folder of training tables.

    Attributes:
        file: table of its rows, or of their split if a package holds the rows.
        split: name of the split; empty for all rows.
        title: display name.
        source: reference and licence.
        kind: of its structures.
    """

    file: Path
    split: str
    title: str
    source: str
    kind: KindName = "crystal"


MP = "CDVAE (Xie et al. 2022) from the Materials Project, CC BY 4.0; 81 % of the published split of 9,046"
QM9 = "Ramakrishnan et al. 2014, by the package qm9pack; split of EDM (Hoogeboom et al. 2022)"
CRYSTALS = Path("crystals")
NAMED = {
    "mp20": Named(CRYSTALS / "mp20_val_test.parquet", "test", "MP-20 test", MP),
    "mp20_val": Named(CRYSTALS / "mp20_val_test.parquet", "val", "MP-20 validation", MP),
    "perov5": Named(CRYSTALS / "perov5_test.parquet", "", "Perov-5 test", "CDVAE, from Castelli et al. 2012, MIT"),
    "carbon24": Named(CRYSTALS / "carbon24_test.parquet", "", "Carbon-24 test", "CDVAE, from Pickard 2020, MIT"),
    "qm9": Named(SPLIT_FILE, "test", "QM9 test", QM9, "molecule"),
    "qm9_val": Named(SPLIT_FILE, "valid", "QM9 validation", QM9, "molecule"),
}


def named(name: str, kind: KindName | None = None) -> Named:
    """Return the data set with a name.

    Args:
        name: a key of `NAMED`.
        kind: expected kind; None for either.

    Raises:
        DataSetError: there is none of this kind.
    """
    known = [key for key, one in NAMED.items() if kind in {None, one.kind}]
    if name not in known:
        raise DataSetError(f"expected a data set ({', '.join(known)}) or a path that exists, got {name!r}")
    return NAMED[name]


def named_structures(name: str, folder: Path | None) -> list[Structure]:
    """Return the crystals of a data set, as published.

    Args:
        name: a key of `NAMED`.
        folder: of the training tables.

    Raises:
        DataSetError: an unknown name, no folder, or no such table in it.
    """
    one = named(name, "crystal")
    wanted = [("split", "=", one.split)] if one.split else None
    rows = pq.read_table(_path(one, folder), columns=["cell", "Z", "frac"], filters=wanted).to_pylist()
    return [row_structure(row) for row in rows]


def row_structure(row: Mapping[str, Any]) -> Structure:
    """Return the crystal of a row of the training tables, from its columns `cell`, `Z` and `frac`."""
    return Structure(cell_from_parameters(row["cell"]), row["Z"], np.reshape(row["frac"], (-1, 3)))


def named_molecules(name: str, folder: Path | None) -> list[Molecule]:
    """Return the molecules of a data set, as published: elements and positions.

    Args:
        name: a key of `NAMED`.
        folder: of the training tables.

    Raises:
        DataSetError: an unknown name, no folder, no such table in it, or a package that is not installed.
    """
    one = named(name, "molecule")
    path = _path(one, folder)
    try:
        return published_molecules(qm9_folder(), path, one.split)
    except QM9Error as error:
        raise DataSetError(str(error)) from error


def _path(one: Named, folder: Path | None) -> Path:
    if folder is None:
        raise DataSetError(f"expected the folder that holds {one.file}; set MATGEN_DATA (data/README.md)")
    path = folder / one.file
    if not path.is_file():
        raise DataSetError(f"expected the table {path}, which is not there; see data/README.md for where to get it")
    return path
