"""Preparation of shards from a Parquet table of any size, row by row, such that an interrupted one goes on."""

import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matgen import __version__
from matgen.datasets.crystals import SPLITS, joined_tables
from matgen.datasets.described_rows import DescribedRow, TableError, described_rows, open_table
from matgen.datasets.labels import LABELS
from matgen.datasets.prepare import Labels, file_digest, table_of_rows
from matgen.datasets.shards import (
    MANIFEST,
    ROWS_OF_A_SHARD,
    ShardedCrystals,
    read_columns,
    shard_name,
    write_manifest,
    write_shard,
)
from matgen.runtime.output import replace_file
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.symmetry import Described

SOURCE = "source.json"
"""File in the folder of shards that tells what they are made from."""

COLUMNS = ("band_gap_src", "e_form_src", "ehull", "split", "mp20_split", "volume_ratio", *LABELS)
"""Columns that a table may have."""

VAL, TEST = 0.05, 0.1
"""Formulas that hash below these are for validation and for tests, where a table has no splits."""


@dataclass(frozen=True)
class Shards:
    """Prepared shards.

    Attributes:
        folder: of the shards.
        rows: number of rows in them.
        failures: rows without a template, by cause.
    """

    folder: Path
    rows: int
    failures: Counter[str]


def prepare_shards(
    path: Path,
    labels: Labels,
    folder: Path,
    *,
    jobs: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
    rows_of_a_shard: int = ROWS_OF_A_SHARD,
) -> Shards:
    """Describe every row of a Parquet table, and write shards; those that are there already are kept.

    Args:
        path: of the table.
        labels: from other tables.
        folder: receives the shards.
        jobs: number of processes.
        progress: wraps the iteration over rows to show progress.
        rows_of_a_shard: rows of the table for each shard.

    Raises:
        TableError: the table cannot be read or lacks columns, or the folder holds shards of another table.
    """
    with open_table(path) as file:
        n, names = file.metadata.num_rows, set(file.schema_arrow.names)
    facts = {"table": file_digest(path), "labels": labels.digest, "rows_of_a_shard": rows_of_a_shard}
    _check_source(folder, facts | {"version": __version__})
    failures: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    number = 0
    while (folder / shard_name(number)).exists():
        columns, metadata = read_columns(folder / shard_name(number))
        sizes[shard_name(number)] = len(columns["space_group"])
        failures += Counter(json.loads(metadata["failures"]))
        number += 1
    waiting: list[DescribedRow] = []
    start = number * rows_of_a_shard
    if start < n:
        for place, row in enumerate(progress(described_rows(path, COLUMNS, jobs, start)), start + 1):
            waiting.append(row)
            if place % rows_of_a_shard == 0 or place == n:
                lost = Counter(one.found for one in waiting if isinstance(one.found, str))
                found = [(one, one.found) for one in waiting if isinstance(one.found, Described)]
                kept = [_completed(one, described, names) for one, described in found]
                table = table_of_rows(kept, labels)
                write_shard(table, folder / shard_name(number), {"failures": json.dumps(lost)})
                sizes[shard_name(number)] = len(table)
                failures += lost
                waiting, number = [], number + 1
    write_manifest(folder, sizes, {"failures": dict(failures)})
    return Shards(folder, sum(sizes.values()), failures)


def into_file(shards: Shards, path: Path) -> None:
    """Write the rows of shards as one file, and remove the shards."""
    table = ShardedCrystals.load(shards.folder)
    joined_tables([table.whole()]).save(path)
    for number in range(len(table.shards)):
        (shards.folder / shard_name(number)).unlink()
    for name in (MANIFEST, SOURCE):  # the note last: shards without one could be taken for those of another table
        (shards.folder / name).unlink()
    shards.folder.rmdir()


def _check_source(folder: Path, facts: dict[str, Any]) -> None:
    """Note what the shards of a folder are made from; refuse a folder of something else."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / SOURCE
    if not note.exists():
        replace_file(note, json.dumps(facts, indent=1) + "\n")
        return
    known = json.loads(note.read_text(encoding="utf-8"))
    if known != facts:
        other = ", ".join(f"{name} {known.get(name)}" for name, value in facts.items() if known.get(name) != value)
        raise TableError(
            f"{folder} holds shards of other data or another version ({other}); delete it, or choose another"
        )


def _completed(row: DescribedRow, found: Described, columns: set[str]) -> DescribedRow:
    """Return a row with what its table need not have: splits by formula, the ratio of volumes."""
    labels = dict(row.labels)
    if labels.get("split") is None:
        labels["split"] = split_of(found.template)
    if "mp20_split" not in columns:
        labels["mp20_split"] = labels["split"]
    for name in ("split", "mp20_split"):
        if (labels[name] or "") not in SPLITS:
            expected = ", ".join(filter(None, SPLITS))
            raise TableError(f"expected {name} as one of {expected}, or null, got {labels[name]!r}; rename it")
    if labels.get("volume_ratio") is None:
        labels["volume_ratio"] = math.exp(math.sqrt(3) * float(found.lattice[5]))
    if "ehull" not in columns:
        labels["ehull"] = labels.pop("energy_above_hull", None)
    return DescribedRow(labels, found, row.neutral)


def split_of(template: CrystalTemplate) -> str:
    """Return the split of a template by a hash of its reduced formula: 90 % train, 5 % val, 5 % test."""
    counts = template.composition
    divisor = math.gcd(*counts.values())
    formula = " ".join(f"{z}:{counts[z] // divisor}" for z in sorted(counts))
    share = zlib.crc32(formula.encode()) / 2**32
    return "val" if share < VAL else "test" if share < TEST else "train"
