"""Rows of a Parquet table, described by template and free parameters: read, worked on and returned bit by bit."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matgen.chemistry.charges import commonly_neutral_formula
from matgen.chemistry.elements import reduced
from matgen.datasets.crystals import cell_from_parameters
from matgen.errors import UserError
from matgen.runtime.processes import in_chunks, in_pool
from matgen.templates.symmetry import Described, NoTemplateError, describe

NEEDED = ("material_id", "cell", "Z", "frac")
"""Columns of every table: a, b, c in Å and α, β, γ in degrees; atomic numbers; fractional coordinates, flat."""

GEOMETRY = frozenset({"cell", "Z", "frac"})

AT_ONCE, READ_AT_ONCE = 64, 4096
"""Rows that a process works on, and that are read from the file, at once."""

AHEAD = 4
"""Chunks that wait for each process."""


class TableError(UserError, ValueError):
    """A Parquet table that is not as expected."""


@dataclass(frozen=True)
class Crystal:
    """The geometry of a row, to be described.

    Attributes:
        number: of the row.
        cell: a, b, c, α, β, γ.
        elements: atomic numbers (n_atoms,).
        frac: fractional coordinates, flat (3 n_atoms,).
    """

    number: int
    cell: tuple[float, ...]
    elements: np.ndarray
    frac: np.ndarray


@dataclass(frozen=True)
class DescribedRow:
    """A row of a table.

    Attributes:
        labels: all columns except the geometry.
        found: template and free parameters, or the reason why there are none.
        neutral: whether common oxidation states sum to zero.
    """

    labels: dict[str, Any]
    found: Described | str
    neutral: bool


def described(crystal: Crystal) -> tuple[int, Described | str, bool]:
    """Return the number of a row, its description or the reason why there is none, and whether it may be neutral."""
    if len(crystal.cell) != 6 or len(crystal.frac) != 3 * len(crystal.elements):
        return crystal.number, "cell, Z and frac of other lengths than six, n and 3 n", False
    try:
        finite = np.isfinite(crystal.cell).all() and np.isfinite(crystal.frac).all() and None not in crystal.elements
    except TypeError:  # a null, or text
        finite = False
    if not finite:
        return crystal.number, "numbers that are missing or not finite", False
    try:
        found = describe(cell_from_parameters(np.array(crystal.cell)), crystal.frac.reshape(-1, 3), crystal.elements)
    except (NoTemplateError, ValueError) as error:  # of angles that make no cell as well
        return crystal.number, str(error), False
    return crystal.number, found, commonly_neutral_formula(reduced(found.template.composition))


def open_table(path: Path) -> pq.ParquetFile:
    """Open a Parquet table of crystals.

    Raises:
        TableError: it cannot be read, or lacks a column.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"expected a Parquet table, got {path} ({error}); check the file") from error
    missing = [name for name in NEEDED if name not in file.schema_arrow.names]
    if missing:
        raise TableError(f"expected the columns {', '.join(NEEDED)} in {path}, found no {', '.join(missing)}; add it")
    return file


def described_rows(
    path: Path, columns: tuple[str, ...], jobs: int, start: int = 0
) -> Generator[DescribedRow, None, None]:
    """Yield the rows of a Parquet table in their order, of which few are in memory at a time.

    Args:
        path: of the table.
        columns: labels to read; those that the table lacks are left out.
        jobs: number of processes.
        start: row to begin with.

    Raises:
        TableError: the table cannot be read, or lacks a column.
    """
    labels: dict[int, dict[str, Any]] = {}
    chunks = in_chunks(_crystals(path, columns, start, labels), AT_ONCE)
    waiting: dict[int, tuple[Described | str, bool]] = {}
    number = start
    for results in in_pool(_described_all, chunks, _given_up, jobs, AHEAD):
        waiting.update({done: (found, neutral) for done, found, neutral in results})
        while number in waiting:
            yield DescribedRow(labels.pop(number), *waiting.pop(number))
            number += 1


def _crystals(path: Path, columns: tuple[str, ...], start: int, labels: dict[int, dict[str, Any]]) -> Iterator[Crystal]:
    """Yield the geometries of rows; their labels are put aside by number."""
    with open_table(path) as file:
        names = [name for name in file.schema_arrow.names if name in {*NEEDED, *columns}]
        first = 0
        for batch in file.iter_batches(batch_size=READ_AT_ONCE, columns=names):
            skipped = min(max(start - first, 0), len(batch))
            rest = batch.slice(skipped)
            cells, elements, frac = (rest.column(name).to_pylist() for name in ("cell", "Z", "frac"))
            others = rest.select([name for name in names if name not in GEOMETRY]).to_pylist()
            for place, other in enumerate(others):
                number = first + skipped + place
                labels[number] = other
                z, x = np.asarray(elements[place] or ()), np.asarray(frac[place] or (), dtype=float)
                yield Crystal(number, tuple(cells[place] or ()), z, x)
            first += len(batch)


def _described_all(crystals: tuple[Crystal, ...]) -> list[tuple[int, Described | str, bool]]:
    return [described(crystal) for crystal in crystals]


def _given_up(crystal: Crystal, reason: str) -> tuple[int, str, bool]:
    return crystal.number, reason, False
