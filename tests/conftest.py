"""Fixtures for every test: the textbook structures, and the training data where there is any."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymatgen.core import Structure

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"


@dataclass(frozen=True)
class TextbookEntry:
    """One row of data/textbook/index.csv with its structure (conventional cell)."""

    file: str
    formula: str
    space_group: int
    prototype: str
    band_gap: float | None  # eV, measured; None where the index leaves it empty
    source: str
    structure: Structure


def read_textbook(folder: Path) -> tuple[TextbookEntry, ...]:
    """Read an index and the CIFs beside it."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(
            TextbookEntry(
                file=row["file"],
                formula=row["formula"],
                space_group=int(row["space_group"]),
                prototype=row["prototype"],
                band_gap=float(row["band_gap"]) if row["band_gap"] else None,
                source=row["source"],
                structure=Structure.from_file(folder / row["file"]),
            )
            for row in csv.DictReader(stream)
        )


@pytest.fixture(scope="session")
def textbook() -> tuple[TextbookEntry, ...]:
    """The textbook structures of data/textbook, in the order of their index."""
    return read_textbook(TEXTBOOK)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of training tables that MATGEN_DATA names; without it the test is skipped."""
    name = os.environ.get("MATGEN_DATA")
    if not name:
        pytest.skip("needs the training tables: set MATGEN_DATA to their folder (data/README.md)")
    folder = Path(name)
    if not folder.is_dir():
        pytest.skip(f"needs the training tables, but MATGEN_DATA={name} is not a folder")
    return folder
