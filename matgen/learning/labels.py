"""Calculated gaps and their crystals, from results of `matgen verify` and from tables of users."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pymatgen.core.structure import Structure

from matgen.checks.crystals import min_distance
from matgen.chemistry.elements import known_elements
from matgen.learning.rows import LabelConfig, LabelError, Row
from matgen.learning.tables import FRAMES, TABLES, frame_rows, table_rows
from matgen.learning.verified import result_files, verified_rows
from matgen.runtime.failures import guarded
from matgen.structures.candidate import Candidate
from matgen.structures.files import MissingPathError
from matgen.structures.run_folder import CANDIDATES
from matgen.targets.properties import PROPERTIES

LARGEST = 300
"""Atoms, as given, above which a crystal is left out."""


@dataclass(frozen=True)
class Label:
    """A crystal and its gap.

    Attributes:
        name: unique among those of a path.
        structure: as it was calculated.
        gap: eV; 0 for a metal.
        source: of the gap.
    """

    name: str
    structure: Structure
    gap: float
    source: str


@dataclass(frozen=True)
class Labels:
    """Labels, and what was left out.

    Attributes:
        labels: of different crystals.
        skipped: names and reasons.
    """

    labels: tuple[Label, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def read_labels(paths: Sequence[Path], config: LabelConfig | None = None) -> Labels:
    """Read the gaps in folders and files; the last one of a crystal that occurs several times.

    Args:
        paths: output folders of `matgen verify`, its `verified.jsonl`, and the structures that it was given;
            CSV or Parquet with a column for structures or for files, folders of structures with a table beside them,
            extxyz or JSON with the gap as a key.
        config: how to read tables.

    Raises:
        MissingPathError: a path does not exist.
        LabelError: there is nothing to learn; the message says why.
    """
    config = config or LabelConfig()
    for path in paths:
        if not path.exists():
            raise MissingPathError(f"expected results of `matgen verify` or a table, got {path}, which is not there")
    results = list(dict.fromkeys(chain.from_iterable(map(result_files, paths))))
    others = [path for path in paths if path.is_file() and path not in results]
    beside = [path for path in paths if path.is_dir() and not result_files(path) and not (path / CANDIDATES).exists()]
    rows: list[Row] = []
    if results:
        rows += verified_rows(results, [path for path in paths if path not in results])
    tables = [path for path in others if path.suffix.lower() in TABLES]
    tables += [file for path in beside for file in sorted(path.iterdir()) if file.suffix.lower() in TABLES]
    for table in tables:
        rows += table_rows(table, config)
    frames = [path for path in others if path.suffix.lower() in FRAMES]
    rows += chain.from_iterable(frame_rows(path, config, strict=not results) for path in frames)
    labels, skipped = _checked(rows)
    if not labels:
        why = f"; of {len(skipped)} rows: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise LabelError(
            f"expected gaps to learn from in {', '.join(map(str, paths))}, found none{why}; run `matgen verify` there, "
            "or name a table with --column"
        )
    return Labels(labels, skipped)


def _checked(rows: Iterable[Row]) -> tuple[tuple[Label, ...], tuple[tuple[str, str], ...]]:
    """Return the labels among the rows, and names and reasons of the other rows."""
    sound: dict[str, Label] = {}
    skipped = []
    for row in rows:
        unfit = guarded(_unfit, row, lambda _, why: f"not assessed: {why}") if row.structure is not None else ""
        reason = row.error or (unfit if row.structure is not None else "no structure")
        if reason:
            skipped.append((row.name, reason))
        elif row.structure is not None:
            label = Label(row.name, row.structure, float(row.value), row.source)
            sound.pop(digest(row.structure), None)
            sound[digest(row.structure)] = label
    return tuple(sound.values()), tuple(skipped)


def digest(structure: Structure) -> str:
    """Return a hash of cell, elements and coordinates as given, equal for calculations of the same crystal."""
    cell = [structure.lattice.matrix.round(6).tolist(), [site.specie.symbol for site in structure]]
    content = json.dumps([*cell, structure.frac_coords.round(6).tolist()])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _unfit(row: Row) -> str:
    """Return why a row is no label; empty if it is one."""
    gap, structure = _number(row.value), row.structure
    highest = PROPERTIES["band_gap"].highest
    if math.isnan(gap):
        return f"expected a number, got {row.value!r}"
    if not 0 <= gap <= highest:
        return f"expected a gap from 0 to {highest:g} eV, got {gap:g}"
    if structure is None or len(structure) > LARGEST:
        return f"more than {LARGEST} atoms"
    if strange := {site.specie.Z for site in structure} - set(known_elements()):
        return f"an element that no training crystal holds: atomic number {min(strange)}"
    contact = min_distance(Candidate(row.name, structure, structure, None))
    return "" if contact.passed else contact.reason


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
