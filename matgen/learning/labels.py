"""Calculated gaps and the crystals that they belong to: results of `matgen verify`, and anyone's tables."""

import csv
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ase.io.extxyz import key_val_str_to_dict
from pymatgen.core.structure import Structure

from matgen.checks.crystals import min_distance
from matgen.chemistry.elements import known_elements
from matgen.errors import UserError
from matgen.first_principles import gpaw
from matgen.first_principles.gpaw import FirstPrinciples, FirstPrinciplesConfig, Interpreter
from matgen.first_principles.gpaw_worker import hubbard_u
from matgen.first_principles.subjects import CANDIDATES, OWN_FILES, RESULTS, subjects
from matgen.runtime.config import did_you_mean
from matgen.structures.candidate import Candidate
from matgen.structures.files import MissingPathError, found, read, read_structures
from matgen.structures.formats import BrokenStructureError, Piece, reading
from matgen.structures.record import material_of
from matgen.targets.properties import PROPERTIES

PBE = frozenset({"PBE", "PBE+U", "GGA", "GGA+U"})
"""What the models learned: PBE, with the Hubbard U of the Materials Project where that has one."""

FOREIGN = re.compile(
    r"(?<![a-z])(hse\w*|gllb\w*|exp\w*|measured|optical|scan|r2scan|gw|g0w0|t?mbj|lda|pbe0|b3lyp)(?![a-z])",
    re.IGNORECASE,
)
"""Words in the name of a column that tell of something else than PBE."""

TABLES = frozenset({".csv", ".parquet"})
FRAMES = frozenset({".extxyz", ".xyz", ".json", ".jsonl"})
HOLDERS = ("structure", "cif", "path", "file", "filename")
NAMES = ("name", "material_id", "id", "file", "filename")
LARGEST = 300
"""Atoms as given beyond which a crystal is passed over."""


class LabelError(UserError, ValueError):
    """Results that cannot be learned from."""


@dataclass(frozen=True)
class LabelConfig:
    """How somebody's table is to be understood; results of `matgen verify` say it themselves.

    Attributes:
        column: that holds gaps; the key of a frame or of a JSON object likewise.
        unit: of it.
        functional: that the gaps were calculated with.
        allow_functional: learn it though it is not PBE.
    """

    column: str = "band_gap"
    unit: str = "eV"
    functional: str = "PBE"
    allow_functional: bool = False

    def __post_init__(self) -> None:
        """Check the border.

        Raises:
            LabelError: a unit or a functional that the models do not know.
        """
        if self.unit.lower() != "ev":
            raise LabelError(f"expected gaps in eV, got {self.unit}; convert the column")
        if self.functional.upper() not in PBE and not self.allow_functional:
            raise LabelError(
                f"expected gaps of PBE, which the models learned, got {self.functional}: mixed, they would mean "
                "neither; give --allow-functional too if all targets are to mean that"
            )


@dataclass(frozen=True)
class Label:
    """A crystal and its gap.

    Attributes:
        name: unique among those of a path.
        structure: as it was calculated.
        gap: eV; 0 of a metal.
        source: what calculated it.
    """

    name: str
    structure: Structure
    gap: float
    source: str


@dataclass(frozen=True)
class Labels:
    """What there is to learn, and what was passed over.

    Attributes:
        labels: of different crystals.
        skipped: names and reasons.
    """

    labels: tuple[Label, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """How many."""
        return len(self.labels)


@dataclass(frozen=True)
class Row:
    """What a file says of one crystal: its structure or why there is none, and the value as it stands."""

    name: str
    structure: Structure | None
    error: str
    value: Any
    source: str


def read_labels(paths: Sequence[Path], config: LabelConfig | None = None) -> Labels:
    """The gaps of folders and files; of a crystal that comes twice, the last.

    Args:
        paths: folders in which `matgen verify` wrote, its `verified.jsonl`, and the structures that it was given;
            CSV or Parquet with a column for structures or for files, folders of structures with a table beside them,
            extxyz or JSON with the gap as a key.
        config: how tables are to be understood.

    Raises:
        MissingPathError: a path that is not there.
        LabelError: nothing to learn, and why.
    """
    config = config or LabelConfig()
    for path in paths:
        if not path.exists():
            raise MissingPathError(f"expected results of `matgen verify` or a table, got {path}, which is not there")
    results = list(dict.fromkeys(chain.from_iterable(map(_result_files, paths))))
    others = [path for path in paths if path.is_file() and path not in results]
    beside = [path for path in paths if path.is_dir() and not _result_files(path) and not (path / CANDIDATES).exists()]
    rows: list[Row] = []
    if results:
        rows += _verified(results, [path for path in paths if path not in results])
    tables = [path for path in others if path.suffix.lower() in TABLES]
    tables += [file for path in beside for file in sorted(path.iterdir()) if file.suffix.lower() in TABLES]
    for table in tables:
        rows += _of_table(table, config)
    frames = [path for path in others if path.suffix.lower() in FRAMES]
    rows += chain.from_iterable(_of_frames(path, config, strict=not results) for path in frames)
    found_labels, skipped = _sound(rows)
    if not found_labels:
        why = f"; of {len(skipped)} rows: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise LabelError(
            f"expected gaps to learn from in {', '.join(map(str, paths))}, found none{why}; run `matgen verify` there, "
            "or name a table with --column"
        )
    return Labels(found_labels, skipped)


def _sound(rows: Iterable[Row]) -> tuple[tuple[Label, ...], tuple[tuple[str, str], ...]]:
    """Labels of rows, and why others are none."""
    sound: dict[str, Label] = {}
    skipped = []
    for row in rows:
        reason = row.error or (_unfit(row) if row.structure is not None else "no structure")
        if reason:
            skipped.append((row.name, reason))
        elif row.structure is not None:
            label = Label(row.name, row.structure, float(row.value), row.source)
            sound.pop(digest(row.structure), None)
            sound[digest(row.structure)] = label
    return tuple(sound.values()), tuple(skipped)


def digest(structure: Structure) -> str:
    """What makes two crystals the same calculation: cell, elements and coordinates as given."""
    told = [structure.lattice.matrix.round(6).tolist(), [site.specie.symbol for site in structure]]
    content = json.dumps([*told, structure.frac_coords.round(6).tolist()])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _unfit(row: Row) -> str:
    """Why a row is no label; empty if it is one."""
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


# ---------------------------------------------------------------- results of `matgen verify`


def _result_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob(f"{RESULTS}.jsonl"))
    return [path] if path.suffix == ".jsonl" and _is_result(path) else []


def _is_result(path: Path) -> bool:
    with path.open(encoding="utf-8") as stream:
        try:
            first = json.loads(stream.readline())
        except ValueError:
            return False
    return isinstance(first, dict) and {"key", "converged"} <= set(first)


def _verified(files: Sequence[Path], paths: Sequence[Path]) -> Iterator[Row]:
    """Results with their crystals: those that stand beside them, or else those of the paths that have their keys."""
    lines = [(file, line) for file in files for line in _records(file)]
    without = [line for _, line in lines if "structure" not in line]
    homes = list(dict.fromkeys([*(file.parent for file in files), *paths])) if without else []
    known = _by_key(without, [path for path in homes if path.is_dir() or path.suffix.lower() not in TABLES])
    for file, line in lines:
        name = f"{file.parent.name}/{line.get('name', '')}"
        if "rmsd" in line:
            yield Row(name, None, "a molecule: matgen learn learns the gaps of crystals", None, "")
            continue
        result = gpaw.from_record(line)
        crystal = material_of(line["structure"]) if "structure" in line else known.get(line["key"])
        if not result.converged:
            yield Row(name, None, f"not calculated: {result.reason}", None, "")
        elif not isinstance(crystal, Structure):
            yield Row(
                name, None, "its crystal is in none of the paths: name the files that were verified too", None, ""
            )
        else:
            yield Row(name, crystal, _another_functional(result, crystal), result.gap, _method(result))


def _records(file: Path) -> list[dict[str, Any]]:
    """The last line of each key; one that an interrupt cut short is left out."""
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
    try:
        lines = {line["key"]: line for line in map(json.loads, whole.splitlines())}
        for line in lines.values():
            if "rmsd" not in line:
                gpaw.from_record(line)
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{file} is damaged ({error}); verify again, into another --out") from error
    return list(lines.values())


def _by_key(lines: Iterable[Mapping[str, Any]], homes: Sequence[Path]) -> dict[str, Structure]:
    """Crystals of the paths by the key that each kind of settings gives them."""
    kinds = {json.dumps(_settings(line), sort_keys=True): line for line in lines if line["settings"]}
    if not kinds:
        return {}
    runs = {file.parent for home in homes if home.is_dir() for file in home.rglob(CANDIDATES)}
    entries = [structure for run in runs for structure in _candidates(run).values()]
    others = [home for home in homes if not home.is_dir() or not any(run.is_relative_to(home) for run in runs)]
    entries += [one.structure for one in subjects(others) if isinstance(one.structure, Structure)] if others else []
    keyed: dict[str, Structure] = {}
    for line in kinds.values():
        config, interpreter = _settings(line), Interpreter("", str(line["settings"].get("gpaw")), "")
        keyed |= {gpaw.key(s, FirstPrinciplesConfig(**config), interpreter): s for s in entries}
    return keyed


def _candidates(folder: Path) -> dict[str, Structure]:
    """Crystals of a design by name, whatever else its version wrote of them."""
    path = folder / CANDIDATES
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines() if path.exists() else []
    try:
        records = list(map(json.loads, whole))
        found = {str(record["name"]): material_of(record["structure"]) for record in records}
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{path} is damaged ({error}); name the CIFs of its candidates instead") from error
    return {name: one for name, one in found.items() if isinstance(one, Structure)}


def _settings(line: Mapping[str, Any]) -> dict[str, Any]:
    names = (f.name for f in fields(FirstPrinciplesConfig))
    return {name: line["settings"].get(name, 0.0) for name in names}  # nothing of what there was not yet


def _method(result: FirstPrinciples) -> str:
    return f"GPAW {result.settings.get('gpaw', '')} {result.settings.get('xc', 'PBE')}".replace("  ", " ")


def _another_functional(result: FirstPrinciples, crystal: Structure) -> str:
    """Why a result is not what the models learn; empty if it is."""
    functional = str(result.settings.get("xc", "PBE"))
    if functional.upper() not in PBE:
        return f"calculated with {functional}, expected PBE"
    shifts = hubbard_u([element.symbol for element in crystal.elements])
    if shifts and not result.settings.get("hubbard", True):
        return f"calculated without the Hubbard U of {', '.join(shifts)}, which the training gaps have"
    return ""


# ---------------------------------------------------------------- tables


def _of_table(path: Path, config: LabelConfig) -> list[Row]:
    """Rows of a CSV or Parquet file."""
    columns, rows = _table(path)
    _check_column(path, columns, config)
    if not rows:
        raise LabelError(f"expected rows in {path}, found none; is the table complete?")
    by_stem = _files_beside(path.parent)
    return [_of_row(f"{path.name}#{index}", row, path, by_stem, config) for index, row in enumerate(rows)]


def _table(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
            return table.column_names, table.to_pylist()
        csv.field_size_limit(sys.maxsize)
        with path.open(encoding="utf-8-sig", newline="", errors="replace") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            return [name.strip() for name in reader.fieldnames or ()], [_stripped(row) for row in rows]
    except (OSError, pa.ArrowException, csv.Error) as error:
        raise LabelError(f"cannot read {path} as a table: {' '.join(str(error).split())[:200]}") from error


def _stripped(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name.strip(): value for name, value in row.items() if isinstance(name, str)}


def _check_column(path: Path, columns: Sequence[str], config: LabelConfig) -> None:
    if config.column not in columns:
        there = ", ".join(columns)[:300] or "none"
        hint = did_you_mean(config.column, columns) if columns else ""
        raise LabelError(
            f"expected a column {config.column} in {path}, which has {there}; name another with --column"
            + (f" ({hint})" if hint and len(hint) < 80 else "")
        )
    if f"{config.column}_spread" in columns:
        raise LabelError(
            f"expected calculated gaps in {path}, but its {config.column} was predicted: {config.column}_spread stands "
            "beside it; run `matgen verify` and name its folder"
        )
    if (word := FOREIGN.search(config.column.replace("_", " "))) and config.functional.upper() in PBE:
        raise LabelError(
            f"expected PBE gaps, but the column {config.column} speaks of {word[0]}; say --functional {word[0]} "
            "--allow-functional if that is what targets are to mean from now on"
        )


def _of_row(name: str, row: Mapping[str, Any], path: Path, by_stem: Mapping[str, Path], config: LabelConfig) -> Row:
    lower = {column.lower(): value for column, value in row.items()}
    label = next((str(lower[key]) for key in NAMES if lower.get(key)), "")
    name = f"{name} {label}".strip()
    said = str(lower.get("functional") or config.functional)
    if said.upper() != config.functional.upper() and not {said.upper(), config.functional.upper()} <= PBE:
        return Row(name, None, f"calculated with {said}, expected {config.functional}", None, "")
    held = next((lower[key] for key in HOLDERS if lower.get(key)), None)
    try:
        structure = _structure(held, path.parent) if held is not None else _beside(label, by_stem)
    except BrokenStructureError as error:
        return Row(name, None, str(error), None, "")
    return Row(name, structure, "", row[config.column], f"{path.name} {config.functional}")


def _structure(held: Any, folder: Path) -> Structure:
    """Of a CIF, a JSON text or object, or the name of a file."""
    text = held if isinstance(held, str) else ""
    if text and "_cell_length_a" not in text and not text.lstrip().startswith("{"):
        file = folder / text
        if not file.is_file():
            raise BrokenStructureError(f"expected a CIF, a pymatgen JSON or a file, got {text[:60]!r}")
        return _first(file)
    return reading(Piece("", "json", held), "crystal").structure  # type: ignore[return-value]  # the kind is asked for


def _beside(label: str, by_stem: Mapping[str, Path]) -> Structure:
    file = by_stem.get(label) or by_stem.get(Path(label).stem)
    if file is None:
        raise BrokenStructureError(
            f"no structure: expected a column {', '.join(HOLDERS[:3])}, or a file named {label or 'as its `name`'}.cif"
        )
    return _first(file)


def _first(file: Path) -> Structure:
    entry = next(read_structures([file]))
    if entry.structure is None:
        raise BrokenStructureError(entry.error)
    return entry.structure  # type: ignore[return-value]  # likewise


def _files_beside(folder: Path) -> dict[str, Path]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in OWN_FILES)
    return {file.stem: file for file in files if file.suffix.lower() not in TABLES | {".txt"}}  # logs of GPAW


def _of_frames(path: Path, config: LabelConfig, *, strict: bool) -> list[Row]:
    """Frames of an extxyz, or JSON objects, that hold the gap as a key.

    Args:
        path: of the file.
        config: how it is to be understood.
        strict: refuse a file without gaps; else it may merely hold the crystals of results.
    """
    several = list(found([path]))
    told = [_said(one.piece) for one in several]
    keys = list(dict.fromkeys(key for one in told for key in one))
    if not strict and config.column not in keys:
        return []
    _check_column(path, keys, config)
    rows = []
    for one, said in zip(several, told, strict=True):
        entry = read(one)
        structure = entry.structure if isinstance(entry.structure, Structure) else None
        rows.append(Row(one.name, structure, entry.error, said.get(config.column), f"{path.name} {config.functional}"))
    return rows


def _said(piece: Piece) -> dict[str, Any]:
    """What stands beside a structure."""
    if isinstance(piece.content, dict):
        return {key: value for key, value in piece.content.items() if not isinstance(value, dict | list)}
    if piece.form == "extxyz":
        return key_val_str_to_dict(piece.content.split("\n", 2)[1])
    return {}
