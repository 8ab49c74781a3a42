"""What the measurements share: options, the rows measured, parts that survive an interrupt, and a record of it all.

A measurement is cut into tasks. Each task's result is a line of `parts/NAME-FINGERPRINT.jsonl` beside the record as
soon as it is there; the fingerprint covers options, weights, table and the package's source, so that a rerun takes up
what still holds and nothing else.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from torch import Tensor

import matgen
from matgen.datasets.crystals import CrystalTable
from matgen.novelty.crystals import KnownIndex
from matgen.structures.conversion import structures
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.weights.models import Models, load_models
from matgen.weights.shipped import shipped_hashes

MP20_MATCHER = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
"""The tolerances at which crystal structure prediction is scored on MP-20."""

DOORS = {"cli", "terminal.py"}
"""Source that no measurement passes through."""

PACKAGES = ("torch", "numpy", "pymatgen", "moyopy", "spglib", "smact", "chgnet")


def parser(description: str | None, name: str, n: int, processes: int = 2) -> argparse.ArgumentParser:
    """The options that every measurement has; the record goes to results/NAME.json by default."""
    found = argparse.ArgumentParser(description=description)
    folder = os.environ.get("MATGEN_DATA")
    found.add_argument("--data", type=Path, default=folder and Path(folder), help="training tables; or MATGEN_DATA")
    found.add_argument("--table", type=Path, default=Path("cache/crystals.npz"), help="by `matgen data prepare`")
    found.add_argument("--out", type=Path, default=Path("results") / f"{name}.json", help="record to write")
    found.add_argument("--document", type=Path, help="page whose marked places are to be filled: docs/results.md")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--n", type=int, default=n, help=f"how many; {n} for the published figure")
    found.add_argument("--processes", type=int, default=processes, help="of one thread each")
    return found


@dataclass(frozen=True)
class Task:
    """A part of a measurement.

    Attributes:
        key: names it among the others.
        table: of crystals.
        seed: of its random numbers.
        rows: of the table.
        how: whatever else the work needs.
    """

    key: str
    table: Path
    seed: int
    rows: tuple[int, ...] = ()
    how: Mapping[str, Any] = field(default_factory=dict)

    def generator(self) -> torch.Generator:
        """Random numbers that depend on nothing but seed and key."""
        digest = hashlib.sha256(f"{self.seed} {self.key}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Measurement:
    """Runs tasks, remembers their results, and writes the record.

    Args:
        options: as `parser` gives them.
        settings: whatever else the results depend on, as JSON types.
        material: whose weights.
    """

    def __init__(self, options: argparse.Namespace, settings: Mapping[str, Any], material: str = "crystal") -> None:
        self.options, self.started = options, time.perf_counter()
        self.identity = {
            "n": options.n,
            "seed": options.seed,
            "settings": dict(settings),
            "version": matgen.__version__,
            "source": source_hash(),
            "table": hashlib.sha256(options.table.read_bytes()).hexdigest(),
            "weights": shipped_hashes(material),
        }
        self.fingerprint = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]
        self.parts = options.out.parent / "parts" / f"{options.out.stem}-{self.fingerprint}.jsonl"
        self.core_seconds = 0.0

    def run(self, work: Callable[[Task], Any], tasks: Sequence[Task]) -> dict[str, Any]:
        """Results by key, in the order of the tasks; what an earlier call finished is read, not done again."""
        self.parts.parent.mkdir(parents=True, exist_ok=True)
        done = {line["key"]: line for line in read_lines(self.parts)}
        waiting = [task for task in tasks if task.key not in done]
        with self.parts.open("a", encoding="utf-8") as stream:
            for line in _worked(work, waiting, self.options.processes):
                stream.write(json.dumps(line) + "\n")
                stream.flush()
                done[line["key"]] = line
                print(f"{sum(t.key in done for t in tasks)}/{len(tasks)} {line['key']} {line['seconds']} s", flush=True)
        self.core_seconds += sum(done[task.key]["seconds"] for task in tasks)
        return {task.key: done[task.key]["value"] for task in tasks}

    def finish(self, figures: Mapping[str, Any], places: Mapping[str, str]) -> None:
        """Print what was found, write the record, and fill the page.

        Args:
            figures: as JSON types, denominators among them.
            places: Markdown by the name of its place in the page.
        """
        record = {
            "figures": dict(figures),
            **self.identity,
            "packages": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "processes": self.options.processes,
            "core_seconds": round(self.core_seconds, 1),
            "wall_seconds_of_last_call": round(time.perf_counter() - self.started, 1),
        }
        self.options.out.parent.mkdir(parents=True, exist_ok=True)
        self.options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print("\n\n".join(places.values()))
        if page := self.options.document:
            page.write_text(filled(page.read_text(encoding="utf-8"), places), encoding="utf-8")


def source_hash() -> str:
    """SHA-256 of the package's source."""
    root = Path(matgen.__file__).parent
    files = sorted(path for path in root.rglob("*.py") if not DOORS.intersection(path.relative_to(root).parts))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def read_lines(path: Path) -> list[Any]:
    """The JSON objects of a file; a last line that an interrupt cut short is dropped from it too."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_text(encoding="utf-8").rpartition("\n")
    path.write_text(whole + newline, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def filled(page: str, places: Mapping[str, str]) -> str:
    """The page with new text at its places, which are marked `<!-- name -->...<!-- /name -->`.

    Raises:
        ValueError: a place that the page lacks.
    """
    for name, text in places.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        edge = "\n" if "\n" in text else ""
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"expected a place {start}...{end} in the page, found none; add it")
        page = pattern.sub(lambda _, inner=f"{start}{edge}{text}{edge}{end}": inner, page)
    return page


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def percent(part: float, whole: float) -> str:
    """`87.4 %`; a dash without a denominator."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def mean(values: Sequence[float], digits: int = 3) -> str:
    """The mean, rounded; a dash of nothing."""
    return f"{sum(values) / len(values):.{digits}f}" if values else "–"


@cache
def crystals(path: Path) -> CrystalTable:
    """The prepared table, loaded once per process."""
    return CrystalTable.load(path)


@cache
def shipped() -> Models:
    """The models that guide, loaded once per process."""
    return load_models()


def sample_rows(table_of_crystals: CrystalTable, n: int) -> Tensor:
    """The fixed sample of MP-20 test (500,), or its first n in the order in which they were drawn, ascending."""
    rows = (table_of_crystals.mp20_split == 2).nonzero().ravel()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[: min(n, 500)].sort().values]


def chunks(rows: Tensor, size: int) -> list[tuple[int, ...]]:
    """Rows in parts of at most this size."""
    return [tuple(part.tolist()) for part in rows.split(size)]


def true_structures(table_of_crystals: CrystalTable, rows: Sequence[int]) -> list[Structure]:
    """The structures of these rows, in double precision."""
    some = table_of_crystals.select(torch.tensor(rows))
    return as_structures(some.templates, some.geometry)


def as_structures(templates: TemplateBatch, geometry: Geometry) -> list[Structure]:
    """Structures of a batch, expanded in double precision."""
    return structures(expand(templates, Geometry(geometry.lattice.double(), geometry.coords.double())))


def match(truth: Structure, found: Structure) -> float | None:
    """Root mean square distance over (volume per atom)^(1/3) at the tolerances of MP-20; None without a match."""
    distance = MP20_MATCHER.get_rms_dist(truth, found)
    return None if distance is None else round(float(distance[0]), 5)


def single_thread() -> None:
    """What each process does first: one thread, and none of the packages' warnings about their inputs."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def _worked(work: Callable[[Task], Any], tasks: Sequence[Task], processes: int) -> Iterable[dict[str, Any]]:
    """Results as they come."""
    if processes == 1 or len(tasks) <= 1:
        single_thread()
        yield from (_timed(work, task) for task in tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=single_thread) as pool:
        for future in as_completed([pool.submit(_timed, work, task) for task in tasks]):
            yield future.result()


def _timed(work: Callable[[Task], Any], task: Task) -> dict[str, Any]:
    started = time.perf_counter()
    value = work(task)
    return {"key": task.key, "seconds": round(time.perf_counter() - started, 3), "value": value}


class TableStructures(Mapping[str, Structure]):
    """The crystals of the training tables by name, built when asked for.

    Args:
        data: folder of the training tables.
    """

    def __init__(self, data: Path) -> None:
        columns = ["material_id", "cell", "Z", "frac"]
        self._rows = {
            row["material_id"]: row
            for name in ("mp24_le20.parquet", "mp24_gt20_on_hull.parquet")
            for row in pq.read_table(data / "crystals" / name, columns=columns).to_pylist()
        }

    def __getitem__(self, name: str) -> Structure:
        row = self._rows[name]
        return Structure(Lattice.from_parameters(*row["cell"]), row["Z"], np.array(row["frac"]).reshape(-1, 3))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


@cache
def known_crystals(data: Path) -> KnownIndex:
    """The index that ships with the structures behind it, so that `StructureMatcher` decides what is in doubt."""
    return replace(KnownIndex.load(), structures=TableStructures(data))
