"""Prepared tables of training data from files."""

import zlib
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

from matgen.datasets.crystals import CrystalTable
from matgen.datasets.molecules import MoleculeTable
from matgen.errors import UserError

TableT = TypeVar("TableT", CrystalTable, MoleculeTable)


class DataError(UserError, ValueError):
    """Training data that are missing or not as expected."""


def read_table(path: Path, of: type[TableT]) -> TableT:
    """Return a prepared table of crystals or of molecules.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if not path.is_file():
        raise DataError(f"expected a prepared table at {path}; make one with `matgen data prepare FOLDER`")
    try:
        return of.load(path)
    except (ValueError, KeyError, TypeError, EOFError, OSError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a prepared table ({error}); make one with `matgen data prepare`") from error
