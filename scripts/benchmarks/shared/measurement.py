"""Tasks in parallel, results that survive an interrupt, and a record with everything that they depend on.

A measurement consists of tasks. The result of each task is appended to `parts/NAME-FINGERPRINT.jsonl` beside the record
as soon as it is complete. The fingerprint covers options, weights, table and the source of the package, so that a rerun
reuses results that are still valid, and no others.
"""

import argparse
import hashlib
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import matgen
from matgen.weights.shipped import shipped_hashes
from shared.page import fill_page

UNUSED = frozenset({"cli"})
"""Packages of matgen that no measurement runs."""

PACKAGES = ("torch", "numpy", "pymatgen", "moyopy", "spglib", "smact", "chgnet")
"""Packages whose versions are recorded."""


@dataclass(frozen=True)
class Task:
    """A part of a measurement.

    Attributes:
        key: unique name.
        table: prepared table.
        seed: seed of its random numbers.
        rows: rows of the table.
        how: further arguments of the work function.
    """

    key: str
    table: Path
    seed: int
    rows: tuple[int, ...] = ()
    how: Mapping[str, Any] = field(default_factory=dict)

    def generator(self) -> torch.Generator:
        """Return random numbers that depend only on seed and key."""
        digest = hashlib.sha256(f"{self.seed} {self.key}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Measurement:
    """Runs tasks, keeps their results, and writes the record.

    Args:
        options: parsed options of `shared.options.parser`.
        settings: everything else that the results depend on, as JSON types.
        material: kind of material whose weights are used.
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
        """Return results by key, in the order of the tasks; results of an earlier call are read, not repeated."""
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
        """Print the Markdown, write the record, and fill the page.

        Args:
            figures: results as JSON types, with their denominators.
            places: Markdown by name of its place on the page.
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
            fill_page(page, places)


def source_hash() -> str:
    """Return the SHA-256 of the source of the package."""
    root = Path(matgen.__file__).parent
    files = sorted(path for path in root.rglob("*.py") if not UNUSED.intersection(path.relative_to(root).parts))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def read_lines(path: Path) -> list[Any]:
    """Return the JSON objects of a file, and remove an incomplete last line from it."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_text(encoding="utf-8").rpartition("\n")
    path.write_text(whole + newline, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def single_thread() -> None:
    """Use one thread, and silence warnings of other packages about their inputs."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def _worked(work: Callable[[Task], Any], tasks: Sequence[Task], processes: int) -> Iterable[dict[str, Any]]:
    """Yield results in the order in which they complete."""
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
