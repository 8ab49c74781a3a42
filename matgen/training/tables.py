"""Prepared tables of training data from files."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

from matgen.datasets.crystals import CrystalTable
from matgen.datasets.molecules import MoleculeTable
from matgen.datasets.shards import ShardedCrystals
from matgen.errors import UserError

T = TypeVar("T")
TableT = TypeVar("TableT", CrystalTable, MoleculeTable)


class DataError(UserError, ValueError):
    """Training data that are missing or not as expected."""


def read_table(path: Path, of: type[TableT]) -> TableT:
    """Return a prepared table of crystals or of molecules.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if of is CrystalTable and path.is_dir():
        return _read(path, ShardedCrystals.load).whole()  # type: ignore[return-value]
    if not path.is_file():
        raise DataError(f"expected a prepared table at {path}; make one with `matgen data prepare FOLDER`")
    return _read(path, of.load)


def read_crystals(path: Path) -> CrystalTable | ShardedCrystals:
    """Return a prepared table of crystals: a file in memory, a folder of shards on the disk.

    Raises:
        DataError: there is none, or it is damaged.
    """
    return _read(path, ShardedCrystals.load) if path.is_dir() else read_table(path, CrystalTable)


def _read(path: Path, load: Callable[[Path], T]) -> T:
    try:
        return load(path)
    except (ValueError, KeyError, TypeError, EOFError, OSError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a prepared table ({error}); make one with `matgen data prepare`") from error
