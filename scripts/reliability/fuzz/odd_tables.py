"""Damaged tables for `train property` and `learn`: every row is learned from, or left out with a reason."""

import base64
import contextlib
import csv
import io
import json
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz.calls import called
from fuzz.mutations import mutated
from fuzz.odd_commands import LONG, Record, prepare, record
from fuzz.odd_structures import SMILES, cif, extxyz
from matgen.errors import UserError
from matgen.learning.columns import Column, read_column

STOPS = (*(one for one in LONG if "property" not in one), "matgen.workflows.property.embeddings")
ROWS = 30
FORMULAS = ("C", "CC", "CCC", "CCO", "CO", "CCN", "c1ccccc1", "CC#N")


def molecules(rng: random.Random) -> bytes:
    """A table of SMILES and values."""
    some = [(rng.choice((*FORMULAS, *SMILES)), f"{rng.gauss(1, 2):.3f}") for _ in range(ROWS)]
    return "\n".join(
        ["id,smiles,value,band_gap", *(f"{i},{s},{v},{abs(float(v))}" for i, (s, v) in enumerate(some))]
    ).encode()


def crystals(rng: random.Random) -> bytes:
    """A table of CIFs and values."""
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["id", "cif", "value", "band_gap"])
    table.writerows([i, cif(rng).decode(), round(rng.gauss(1, 2), 3), rng.choice((0, 1.5, 9))] for i in range(ROWS))
    return stream.getvalue().encode()


def files(rng: random.Random) -> bytes:
    """A table of names of files that lie elsewhere, or nowhere."""
    names = rng.choices(["salt.cif", "nothing.cif", "../x", "/etc/passwd", "salt", "empty"], k=ROWS)
    return "\n".join(["file,value,band_gap", *(f"{name},1.{i},1.{i}" for i, name in enumerate(names))]).encode()


def parquet(rng: random.Random) -> bytes:
    """The table of SMILES as Parquet."""
    rows = list(csv.DictReader(io.StringIO(molecules(rng).decode())))
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**row, "value": float(row["value"])} for row in rows]), stream)
    return stream.getvalue()


def lines(rng: random.Random) -> bytes:
    """Lines of JSON."""
    return "\n".join(json.dumps({"smiles": rng.choice(SMILES), "value": rng.gauss(1, 2)}) for _ in range(ROWS)).encode()


def frames(rng: random.Random) -> bytes:
    """Frames with a value in the comment."""
    text = "".join(extxyz(rng).decode() for _ in range(6))
    return (
        text.replace('Properties="', 'value=1.5 band_gap=1.5 Properties="')
        .replace("Properties=s", "value=1.5 band_gap=1.5 Properties=s")
        .encode()
    )


MAKERS: tuple[tuple[str, Callable[[random.Random], bytes]], ...] = (
    ("csv", molecules),
    ("csv", molecules),
    ("csv", crystals),
    ("csv", files),
    ("parquet", parquet),
    ("jsonl", lines),
    ("extxyz", frames),
)


def tables(rngs: Sequence[random.Random], scratch: Path) -> Iterator[Record]:
    """Read damaged tables for learning."""
    prepare(scratch)
    with contextlib.chdir(scratch):
        for rng in rngs:
            suffix, make = rng.choice(MAKERS)
            data, how = mutated(rng, make(rng))
            file = Path(f"odd.{suffix}")
            file.write_bytes(data)
            words = rng.choice(
                (
                    ["train", "property", "--table", str(file), "--column", "value"],
                    ["learn", str(file), "--column", "band_gap", "--out", "new"],
                )
            )
            one = record(called(words, stopped_at=STOPS), f"{words[0]} {suffix} {make.__name__}: {' '.join(how)}")
            if words[0] == "train" and one["outcome"] == "accepted" and suffix == "csv":
                lost = _lost(file, data)
                one |= {"outcome": "fault", "fault": lost} if lost else {}
            if one["fault"]:
                one["data"] = base64.b64encode(zlib.compress(data)).decode()[:40_000]
            yield one


def _lost(file: Path, data: bytes) -> str:
    """Return whether rows of a table got lost, or values changed; empty if neither."""
    text = data.decode("utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig", errors="replace")
    if "\0" in text or ";" in text.splitlines()[0] or "\t" in text.splitlines()[0]:
        return ""
    csv.field_size_limit(10**9)
    rows: list[Any] = [row for row in csv.reader(io.StringIO(text, newline="")) if any(row)][1:]
    try:
        found = read_column(Column(file, "value"))
    except UserError as error:
        return f"the command accepts it, the reader does not: {error}"
    read = len(found.samples) + sum(found.skipped.values())
    return "" if read == len(rows) else f"lost: {read} rows of {len(rows)}"
