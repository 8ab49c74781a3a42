"""Known phases and their energies by one potential: the table behind a hull, and its file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matgen.errors import UserError
from matgen.runtime.output import replacing

SHIPPED = "references/chgnet.parquet"
"""Path of the shipped reference in the package."""

ELEMENT = re.compile(r"[A-Z][a-z]?")

KEY = b"matgen_reference"
"""Key of the header in the metadata of the file."""

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("formula", pa.string()),
        ("energy", pa.float64()),  # eV/atom
        ("above_hull", pa.float64()),  # eV/atom
        ("relaxed", pa.bool_()),
    ]
)


class ReferenceFileError(UserError, ValueError):
    """A file that is no reference, or cannot be read."""


@dataclass(frozen=True)
class Reference:
    """Phases of one potential, one row each; several rows may share a formula (polymorphs).

    Attributes:
        potential: name and version, as `matgen.relaxation.calculators.potential_name` gives it.
        names: of each phase, such as mp-149; unique.
        formulas: of each phase; counts may be fractions.
        energies: total energy by the potential (n,), eV/atom.
        above_hull: energy above the hull of all phases of this table (n,), eV/atom; 0 on it.
        relaxed: whether the energy is at a minimum of the potential (n,), or at the given geometry.
        facts: other fields of the header: source, margin, how it was made.
    """

    potential: str
    names: tuple[str, ...]
    formulas: tuple[str, ...]
    energies: np.ndarray
    above_hull: np.ndarray
    relaxed: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: Sequence[int] | np.ndarray) -> Self:
        """Return some of the rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        return type(self)(
            self.potential,
            tuple(self.names[i] for i in rows),
            tuple(self.formulas[i] for i in rows),
            self.energies[rows],
            self.above_hull[rows],
            self.relaxed[rows],
            self.facts,
        )

    def save(self, path: Path) -> None:
        """Write a Parquet file; energies to 1 µeV/atom."""
        columns = [self.names, self.formulas, self.energies.round(6), self.above_hull.round(6), self.relaxed]
        header = json.dumps({"potential": self.potential, **self.facts}, ensure_ascii=False)
        table = pa.table(columns, schema=SCHEMA.with_metadata({KEY: header.encode()}))
        with replacing(path) as stream:
            pq.write_table(table, stream, compression="zstd", compression_level=19, use_dictionary=["relaxed"])

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read a reference.

        Args:
            path: file; the shipped one if left out.

        Raises:
            ReferenceFileError: the file is missing, or no reference.
        """
        if path is None:
            with as_file(files("matgen") / SHIPPED) as shipped:
                return cls.load(shipped)
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            reason = str(error).splitlines()[0]
            raise ReferenceFileError(
                f"cannot read the reference {path}: {reason}; make one with `matgen reference build`"
            ) from error
        header = (table.schema.metadata or {}).get(KEY)
        if header is None or not table.schema.equals(SCHEMA):
            raise ReferenceFileError(
                f"expected a reference (columns {', '.join(SCHEMA.names)}, and a header), got {path}, which has "
                f"{', '.join(table.schema.names)}; make one with `matgen reference build`"
            )
        facts = json.loads(header)
        return cls(
            facts.pop("potential"),
            tuple(table["name"].to_pylist()),
            tuple(table["formula"].to_pylist()),
            table["energy"].to_numpy(),
            table["above_hull"].to_numpy(),
            table["relaxed"].to_numpy(),
            facts,
        )


def elements_of(formula: str) -> tuple[str, ...]:
    """Return the symbols in a formula, each once, in alphabetical order."""
    return tuple(sorted(set(ELEMENT.findall(formula))))
