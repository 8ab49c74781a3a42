"""A column of a user's table, with the structure of each row: checked, and counted by reason where it is left out."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tokenize import TokenError
from typing import Any

import pint
from pymatgen.core.structure import Structure

from matgen.checks.crystals import min_distance
from matgen.chemistry.elements import known_elements
from matgen.learning.rows import LabelError
from matgen.learning.tables import (
    FRAMES,
    HOLDERS,
    NAMES,
    TABLES,
    files_by_stem,
    first_structure,
    held_structure,
    read_table,
    values_beside,
)
from matgen.runtime.config import did_you_mean
from matgen.structures.broken import BrokenStructureError
from matgen.structures.candidate import Candidate, KindName
from matgen.structures.files import MissingPathError, found, read
from matgen.templates.molecule import MoleculeError, MoleculeTemplate
from matgen.templates.skeleton import Skeleton

LARGEST = 200
"""Atoms, as given, above which a crystal is left out."""

FEWEST, FEWEST_FORMULAS = 20, 5
"""Rows and formulas below which nothing is fitted."""

FARTHEST = 1e30
"""Numbers beyond it, or with a logarithm below one over it, are refused: the networks calculate in single precision."""

SMILES = "smiles"
"""Column that makes the rows molecules."""


@dataclass(frozen=True)
class Column:
    """What to read.

    Attributes:
        table: CSV or Parquet, or a file of structures with values beside them: extxyz, JSON, JSON lines.
        column: of the values.
        structures: folder with a file for each row of a CSV or Parquet table, by its name; that of the table if left
            out.
        unit: of the property; empty for a number without unit.
        column_unit: of the column, if it is another one, which is converted.
        logarithmic: whether values are positive and their logarithm is predicted.
    """

    table: Path
    column: str
    structures: Path | None = None
    unit: str = ""
    column_unit: str = ""
    logarithmic: bool = False


@dataclass(frozen=True)
class Sample:
    """A row that can be learned from.

    Attributes:
        name: of the row.
        material: the crystal, or the canonical SMILES of the molecule.
        group: reduced formula of a crystal, formula of a molecule; rows of one group are held out together.
        value: in the unit of the property.
    """

    name: str
    material: Structure | str
    group: str
    value: float


@dataclass(frozen=True)
class Samples:
    """The rows of a table.

    Attributes:
        kind: crystal or molecule.
        samples: that can be learned from.
        skipped: number of the others by reason.
    """

    kind: KindName
    samples: tuple[Sample, ...]
    skipped: Counter[str]


def read_column(asked: Column) -> Samples:
    """Read the values of a column and the structures of their rows.

    Raises:
        MissingPathError: a path does not exist.
        LabelError: there is nothing to learn; the message says why.
    """
    for path in filter(None, (asked.table, asked.structures)):
        if not path.exists():
            raise MissingPathError(f"expected a table and a folder of structures, got {path}, which is not there")
    factor = Conversion.of(asked.column_unit, asked.unit)
    rows, kind = _rows(asked)
    samples: list[Sample] = []
    skipped: Counter[str] = Counter()
    texts, negative = [], []
    for name, material, raw in rows:
        value = _number(raw)
        if value is None:
            skipped["no value"] += 1
        elif math.isnan(value):
            texts.append(f"{raw!r} in {name}")
        elif isinstance(material, BrokenStructureError):
            skipped[str(material)] += 1
        else:
            samples.append(Sample(name, material, _group(material), factor(value)))
            if not abs(samples[-1].value) < FARTHEST:
                texts.append(f"{value:g} in {name}")
            if asked.logarithmic and samples[-1].value < 1 / FARTHEST:
                negative.append(f"{value:g} in {name}")
    _check_numbers(asked, texts, negative)
    check_enough(asked, samples, skipped)
    return Samples(kind, tuple(samples), skipped)


def _check_numbers(asked: Column, texts: list[str], negative: list[str]) -> None:
    """Check that there is nothing else than numbers, and no negative one with --log.

    Raises:
        LabelError: there is.
    """
    if texts:
        raise LabelError(
            f"expected numbers in the column {asked.column}, got {texts[0]}, and {len(texts) - 1} more; correct them, "
            "or leave these cells empty"
        )
    if negative:
        raise LabelError(
            f"expected positive numbers with --log, got {negative[0]}, and {len(negative) - 1} more; leave --log out, "
            "or leave these cells empty"
        )


def check_enough(asked: Column, samples: Sequence[Sample], skipped: Counter[str]) -> None:
    """Check that there are enough different numbers, of enough formulas.

    Raises:
        LabelError: there are not.
    """
    left = "; ".join(f"{n} {reason}" for reason, n in skipped.most_common(3))
    left = f" ({sum(skipped.values())} are left out: {left[:300]})" if skipped else ""
    if len(samples) < FEWEST:
        raise LabelError(f"expected at least {FEWEST} rows to learn from, got {len(samples)}{left}; add some")
    if len({one.group for one in samples}) < FEWEST_FORMULAS:
        raise LabelError(
            f"expected at least {FEWEST_FORMULAS} formulas, some of which are held out, got "
            f"{len({one.group for one in samples})}; add rows of others"
        )
    if len({one.value for one in samples}) == 1:
        raise LabelError(
            f"expected different numbers in the column {asked.column}, got {samples[0].value:g} in all; name another"
        )


@dataclass(frozen=True)
class Conversion:
    """Numbers in one unit from numbers in another."""

    source: str
    target: str

    @classmethod
    def of(cls, source: str, target: str) -> "Conversion":
        """Make it.

        Raises:
            LabelError: a unit that is unknown, or that does not convert to the other.
        """
        if not target.isprintable():
            raise LabelError(f"expected a unit in plain text, got {target!r}; correct --unit")
        made = cls(source, target)
        if source:
            try:
                made(1.0)
            except (  # all that pint raises for text that is no unit
                *(pint.PintError, AssertionError, AttributeError, TypeError, ValueError),
                *(ArithmeticError, LookupError, RecursionError, TokenError),
            ) as error:
                raise LabelError(
                    f"expected a unit that converts to {target or 'a number'}, got {source[:60]!r} "
                    f"({repr(error)[:100]}); correct --column-unit or --unit"
                ) from error
        return made

    def __call__(self, value: float) -> float:
        """Return a value in the target unit; itself if no source unit is named."""
        if not self.source:
            return value
        return float(_units().Quantity(value, self.source).to(self.target).magnitude)


_REGISTRY: list[pint.UnitRegistry] = []


def _units() -> pint.UnitRegistry:
    if not _REGISTRY:
        _REGISTRY.append(pint.UnitRegistry())
    return _REGISTRY[0]


def _number(raw: Any) -> float | None:
    """Return a number; None for an empty cell, NaN for text and for infinity."""
    if raw is None or (isinstance(raw, str) and raw.strip().lower() in {"", "nan", "na", "none", "null"}):
        return None
    try:
        value = float(raw)
    except (TypeError, ValueError):
        return math.nan
    if math.isnan(value):
        return None
    return math.nan if math.isinf(value) else value


def _group(material: Structure | str) -> str:
    return (
        MoleculeTemplate(material).hill_formula if isinstance(material, str) else material.composition.reduced_formula
    )


Found = tuple[str, Structure | str | BrokenStructureError, Any]
"""Name of a row, its material or why there is none, and its value as it stands there."""


def _rows(asked: Column) -> tuple[list[Found], KindName]:
    suffix = asked.table.suffix.lower()
    if suffix in TABLES:
        return _rows_of_table(asked)
    if suffix not in FRAMES:
        known = ", ".join(sorted(TABLES | FRAMES))
        raise LabelError(f"expected a table ({known}), got {asked.table}; name another with --table")
    several = list(found([asked.table]))
    values = [values_beside(one.piece) for one in several]
    _check_column(asked, dict.fromkeys(key for one in values for key in one))
    read_rows = zip((read(one) for one in several), values, strict=True)
    return [
        (entry.name, _sound(entry.structure, entry.error), beside.get(asked.column)) for entry, beside in read_rows
    ], "crystal"


def _rows_of_table(asked: Column) -> tuple[list[Found], KindName]:
    columns, rows = read_table(asked.table)
    _check_column(asked, columns)
    lower = [{name.lower(): value for name, value in row.items()} for row in rows]
    names = [f"{asked.table.name}#{place}" for place in range(len(rows))]
    values = [row.get(asked.column) for row in rows]
    if any(name.lower() == SMILES for name in columns):
        return list(zip(names, (_molecule(row.get(SMILES)) for row in lower), values, strict=True)), "molecule"
    folder = asked.structures or asked.table.parent
    by_stem = files_by_stem(folder)
    return list(zip(names, _crystals(lower, folder, by_stem), values, strict=True)), "crystal"


def _check_column(asked: Column, columns: Iterable[str]) -> None:
    names = list(columns)
    if not all(name.isprintable() for name in names):
        raise LabelError(f"expected a table in {asked.table}, found characters that are no text; name another")
    if asked.column not in names:
        hint = did_you_mean(asked.column, names) if names else ""
        raise LabelError(
            f"expected a column {asked.column} in {asked.table}, which has {', '.join(names)[:300] or 'none'}; name "
            f"another with --column{f' ({hint})' if 0 < len(hint) < 80 else ''}"
        )


def _crystals(
    rows: Iterable[Mapping[str, Any]], folder: Path, by_stem: Mapping[str, Path]
) -> Iterator[Structure | str | BrokenStructureError]:
    """Yield the crystal of each row: what a column holds, or the file by the name in a column."""
    for row in rows:
        try:
            held = next((row[key] for key in HOLDERS if row.get(key)), None)
            if held is not None:
                yield _sound(held_structure(held, folder), "")
                continue
            keys = [str(row[key]) for key in NAMES if row.get(key)]
            stems = chain.from_iterable((key, Path(key).stem) for key in keys)
            file = next((by_stem[stem] for stem in stems if stem in by_stem), None)
            if file is None:
                yield BrokenStructureError(f"no file named as in a column {', '.join(NAMES[:3])}")
                continue
            yield _sound(first_structure(file), "")
        except BrokenStructureError as error:
            yield BrokenStructureError(f"broken: {_kind_of_error(error)}")


def _kind_of_error(error: Exception) -> str:
    """Return an error without the numbers and names that make each one different."""
    return re.sub(r"\d+(\.\d+)?", "N", str(error))[:60]


def _sound(structure: Any, error: str) -> Structure | str | BrokenStructureError:
    """Return a crystal, or why nothing is learned from it."""
    if not isinstance(structure, Structure):
        return BrokenStructureError(f"broken: {_kind_of_error(ValueError(error or 'no crystal'))}")
    if not structure.is_ordered:
        return BrokenStructureError("with sites that several elements share")
    if len(structure) > LARGEST:
        return BrokenStructureError(f"with more than {LARGEST} atoms")
    if any(site.specie.Z not in known_elements() for site in structure):
        return BrokenStructureError("with an element that no training crystal holds")
    contact = min_distance(Candidate("", structure, structure, None))
    return structure if contact.passed else BrokenStructureError("with overlapping atoms")


def _molecule(text: Any) -> str | BrokenStructureError:
    """Return the canonical SMILES of a molecule as the models know them, or why there is none."""
    try:
        template = MoleculeTemplate(str(text or ""))
        Skeleton.of(template)
    except (MoleculeError, ValueError) as error:
        return BrokenStructureError(f"broken SMILES, or beyond the models: {_kind_of_error(error)}")
    return str(template)
