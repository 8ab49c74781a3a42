"""How a design scales: with processes, with the number of candidates, and with the workers of a simulated cluster.

    python scripts/benchmarks/scale_design.py processes              # one and two processes, the same units
    python scripts/benchmarks/scale_design.py growth --n 10 100      # whole runs
    python scripts/benchmarks/scale_design.py cluster --units FOLDER --n 1000 --workers 1 4 16 64 256
    python scripts/benchmarks/scale_design.py cluster --units FOLDER --n 100 1000 10000 --workers 64

`cluster` repeats the finished units of a run (`growth --keep FOLDER` leaves them), with elements exchanged so that no
repetition equals another. The process that decides is the real one, writes its files, and is charged its CPU time; the
workers are simulated: each unit takes the CPU time that it took when it was made, on a clock of its own. So the
figures do not depend on what else the machine does. Times in seconds.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from pymatgen.core import Element

import matgen.search.ordered_units
from matgen.chemistry.elements import known_elements
from matgen.generation.presets import preset_of
from matgen.generation.request import Request
from matgen.runtime.progress import Silence
from matgen.search.unit_format import Unit, read_unit
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import RunInfo
from matgen.workflows.design_steps import steps, to_the_end
from shared.page import fill_page, table

COMMAND = [sys.executable, "-m", "matgen.cli", "design"]
FAST = ["--relax", "none", "--fast", "--variety", "0"]


def measured(folder: Path, arguments: Sequence[str]) -> dict[str, float]:
    """Run a design and return its wall time, CPU time, peak memory of one process (MB) and number of candidates."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*COMMAND, *arguments, "--budget", "600", "--out", str(folder)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, **quiet) as process:  # noqa: S603 (our own program)
        _, _, used = os.wait4(process.pid, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = (folder / "candidates.jsonl").read_text(encoding="utf-8").count("\n")
    return {
        "wall": time.perf_counter() - started,
        "CPU": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak": max(used.ru_maxrss, after.ru_maxrss) / 1024,
        "candidates": found,
        "units": len(list((folder / "units").glob("*.jsonl"))),
    }


def processes(options: argparse.Namespace) -> str:
    """Measure the same units with one process and with two: as many as one round has, of which too few are kept."""
    rows, contents = [], []
    with TemporaryDirectory() as place:
        config = Path(place) / "run.toml"
        config.write_text("rounds = 1\n", encoding="utf-8")
        for jobs in (1, 2):
            folder = Path(place) / str(jobs)
            arguments = ["--config", str(config), "--bandgap", "1.5", "-n", str(5 * options.units)]
            found = measured(folder, [*arguments, "--seed", str(options.seed), "--processes", str(jobs)])
            contents.append(names_in(folder))
            rows.append((jobs, int(found["units"]), found["wall"], found["CPU"], found["peak"]))
    assert contents[0] == contents[1], "the candidates depend on the number of processes"
    heads = ("processes", "units", "wall", "CPU", "MB of the largest process", "speed-up")
    lines = [
        (str(jobs), str(n), f"{wall:.0f}", f"{cpu:.0f}", f"{peak:.0f}", f"{rows[0][2] / wall:.2f}")
        for jobs, n, wall, cpu, peak in rows
    ]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{table(heads, lines)}\n\nLoad of the machine: {load}, of {os.cpu_count()} cores."


def names_in(folder: Path) -> list[str]:
    """Return the names of the candidates of a run, in order."""
    lines = (folder / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["name"] for line in lines]


def growth(options: argparse.Namespace) -> str:
    """Measure whole runs of one process, without relaxation."""
    lines = []
    with TemporaryDirectory() as place:
        for n in options.n:
            folder = (options.keep or Path(place)) / str(n)
            found = measured(folder, [*FAST, "-n", str(n), "--seed", str(options.seed), "--processes", "1"])
            each = found["CPU"] / max(found["candidates"], 1)
            shown = (str(n), f"{found['candidates']:.0f}", f"{found['units']:.0f}")
            lines.append((*shown, f"{found['CPU']:.0f}", f"{each:.2f}", f"{found['peak']:.0f}"))
    return table(("asked", "found", "units", "CPU", "CPU per candidate", "peak MB"), lines)


class Cluster:
    """Simulated workers, and the clock that they share with the process that decides.

    Args:
        texts: of the units.
        seconds: that each took.
        jobs: number of workers.
    """

    def __init__(self, texts: Callable[[int], str], seconds: Callable[[int], float], jobs: int) -> None:
        self.jobs = jobs
        self.now = self.decided = 0.0
        self.finished: list[int] = []
        self._texts, self._seconds = texts, seconds
        self._at_work: list[tuple[float, int, Future]] = []
        self._since = time.thread_time()

    def submit(self, number: int) -> Future:
        """Begin a unit now."""
        future: Future = Future()
        heappush(self._at_work, (self._charged() + self._seconds(number), number, future))
        return future

    def wait(self, *_: Any) -> None:
        """Go on to the end of the unit that is finished next."""
        self._charged()
        if self._at_work:
            end, number, future = heappop(self._at_work)
            self.now = max(self.now, end)
            self.finished.append(number)
            future.set_result(self._texts(number))
        self._since = time.thread_time()  # what the text took is no decision

    def close(self) -> None:
        """Stop the workers."""
        self._charged()

    def _charged(self) -> float:
        """Add the CPU time since the last look to the clock, and return it."""
        spent = time.thread_time() - self._since
        self.now, self.decided, self._since = self.now + spent, self.decided + spent, time.thread_time()
        return self.now


class Repeated:
    """The units of a run, again and again, each time with other elements.

    Args:
        folder: of the units.
    """

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*.jsonl"), key=lambda path: int(path.stem))
        self._units = [read_unit(path) for path in paths]
        self._symbols = [Element.from_Z(z).symbol for z in sorted(known_elements())]

    def seconds(self, number: int) -> float:
        """Return what a unit took."""
        return self._units[number % len(self._units)].cpu

    def text(self, number: int) -> str:
        """Return a unit as text."""
        unit, turn = self._units[number % len(self._units)], number // len(self._units)
        others = Random(turn).sample(self._symbols, len(self._symbols)) if turn else self._symbols
        other = dict(zip(self._symbols, others, strict=True))
        changed = [self._changed(one, number, other) for one in unit.proposals]
        return Unit(number, {"made": unit.cpu}, changed, unit.cpu).text

    @staticmethod
    def _changed(record: dict[str, Any], number: int, other: dict[str, str]) -> dict[str, Any]:
        changed = {
            name: record[name] | {"species": [other[symbol] for symbol in record[name]["species"]]}
            for name in ("structure", "unrelaxed")
        }
        rank, formula = f"{record['seed']:03d}", record["formula"]
        return record | changed | {"name": f"{number}{rank}-{formula}"}


def cluster(options: argparse.Namespace) -> str:
    """Simulate a cluster for every number of candidates and of workers."""
    units = Repeated(options.units)
    lines = [simulated(units, n, jobs) for n in options.n for jobs in options.workers]
    heads = ("candidates", "workers", "units", "time", "speed-up", "CPU of decisions per candidate, ms", "peak MB")
    return table(heads, lines)


def simulated(units: Repeated, n: int, jobs: int) -> tuple[str, ...]:
    """Simulate a run in a process of its own, so that its memory can be told."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writing, "w") as answer:
            answer.write(json.dumps(simulation(units, n, jobs)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = json.loads(answer.read())
    os.waitpid(child, 0)
    each = 1000 * found["decided"] / found["candidates"]
    # One worker does the units that are needed, one after the other, between decisions.
    alone = found["needed"] + found["decided"]
    shown = (str(found["candidates"]), str(jobs), str(found["units"]), f"{found['time']:.0f}")
    return (*shown, f"{alone / found['time']:.1f}", f"{each:.1f}", f"{found['peak']:.0f}")


def simulation(units: Repeated, n: int, jobs: int) -> dict[str, float]:
    """Run the decisions on simulated workers."""
    workers = Cluster(units.text, units.seconds, jobs)
    matgen.search.ordered_units.wait = workers.wait  # type: ignore[assignment]
    request = Request.of(**preset_of("crystal", fast=True)).updated(n=n, relax="none", variety=0.0, rounds=10**6)
    request = request.updated(budget=10**6)
    with TemporaryDirectory() as place, CandidateWriter(place, RunInfo("0", 0, {})) as writer:
        taken = steps(request, writer, workers, None, Silence(), lambda _: None, time.perf_counter())
        outcome = to_the_end(taken)
        report = json.loads((writer.folder / "run.json").read_text(encoding="utf-8"))
    needed = sum(stage["seconds"] for stage in report["stages"] if stage["name"] != "search")
    return {
        "candidates": len(outcome.candidates),
        "units": len(workers.finished),
        "time": workers.now,
        "needed": needed,
        "decided": workers.decided,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def parsed(arguments: Iterable[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("processes", "growth", "cluster"))
    parser.add_argument("--n", type=int, nargs="+", default=[10, 100], help="candidates")
    parser.add_argument("--units", help="cluster: folder of finished units; processes: how many", default="8")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--keep", type=Path, help="folder to keep the runs of `growth` in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--document", type=Path, help="page whose place `scale_WHAT` is filled")
    options = parser.parse_args(arguments)
    options.units = Path(options.units) if options.what == "cluster" else int(options.units)
    return options


def main() -> None:
    """Measure and print."""
    options = parsed()
    shown = {"processes": processes, "growth": growth, "cluster": cluster}[options.what](options)
    print(shown)
    if options.document:
        fill_page(options.document, {f"scale_{options.what}": shown})


if __name__ == "__main__":
    main()
