"""Data sets by name, as structures: what generated ones are compared with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core.structure import Structure

from matgen.datasets.crystals import cell_from_parameters
from matgen.errors import UserError


class DataSetError(UserError, FileNotFoundError):
    """A named data set that is unknown, or whose table is not at hand."""


@dataclass(frozen=True)
class Named:
    """A data set in the folder of training tables.

    Attributes:
        file: in `crystals/`.
        split: rows of this split; empty for all.
        title: in words.
        source: where it came from, and under which licence.
    """

    file: str
    split: str
    title: str
    source: str


MP = "CDVAE (Xie et al. 2022) from the Materials Project, CC BY 4.0; 81 % of the published split of 9,046"
NAMED = {
    "mp20": Named("mp20_val_test.parquet", "test", "MP-20 test", MP),
    "mp20_val": Named("mp20_val_test.parquet", "val", "MP-20 validation", MP),
    "perov5": Named("perov5_test.parquet", "", "Perov-5 test", "CDVAE, from Castelli et al. 2012, MIT"),
    "carbon24": Named("carbon24_test.parquet", "", "Carbon-24 test", "CDVAE, from Pickard 2020, MIT"),
}


def named(name: str) -> Named:
    """The data set of this name.

    Raises:
        DataSetError: there is none.
    """
    if name not in NAMED:
        raise DataSetError(f"expected a data set ({', '.join(NAMED)}) or a path that exists, got {name!r}")
    return NAMED[name]


def named_structures(name: str, folder: Path | None) -> list[Structure]:
    """The structures of a data set, as they were published.

    Args:
        name: a key of `NAMED`.
        folder: of the training tables.

    Raises:
        DataSetError: an unknown name, no folder, or no such table in it.
    """
    one = named(name)
    if folder is None:
        raise DataSetError(f"expected the folder that holds crystals/{one.file}; set MATGEN_DATA (data/README.md)")
    path = folder / "crystals" / one.file
    if not path.is_file():
        raise DataSetError(f"expected the table {path}, which is not there; see data/README.md for where to get it")
    wanted = [("split", "=", one.split)] if one.split else None
    rows = pq.read_table(path, columns=["cell", "Z", "frac"], filters=wanted).to_pylist()
    return [Structure(cell_from_parameters(r["cell"]), r["Z"], np.reshape(r["frac"], (-1, 3))) for r in rows]
