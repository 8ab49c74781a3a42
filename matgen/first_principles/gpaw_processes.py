"""GPAW in processes of its own, each with a time limit."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pymatgen.core.structure import Structure

from matgen.first_principles.gpaw import OUT_OF_TIME, FirstPrinciples, FirstPrinciplesConfig, failed, from_record
from matgen.first_principles.gpaw_interpreter import WORKER, Interpreter, environment, last_line
from matgen.relaxation.symmetric import primitive
from matgen.runtime.file_names import file_name


def calculate_many(
    structures: Iterable[tuple[str, Structure]],
    interpreter: Interpreter,
    config: FirstPrinciplesConfig | None = None,
    *,
    minutes: float = 10.0,
    n_jobs: int = 1,
    logs: Path | None = None,
) -> Generator[tuple[str, FirstPrinciples]]:
    """Calculate crystals in parallel, each in its own process, and yield each result as soon as it is there.

    Crystals are taken from the iterable as processes become free. Leaving the loop early, or an interrupt, kills the
    running processes; they exit by themselves if this process is killed.

    Args:
        structures: unique names, and crystals in any cell.
        interpreter: that has GPAW.
        config: settings; the defaults if left out.
        minutes: time limit of each crystal.
        n_jobs: processes, of one thread each.
        logs: folder for GPAW's own logs; none are kept if left out.

    Yields:
        Names and results, in the order in which they finish: one for every crystal, also where the calculation failed.
    """
    source = iter(structures)
    settings = config or FirstPrinciplesConfig()
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(n_jobs) as threads, closing(Processes()) as processes:
        at_work: dict[Future[FirstPrinciples], str] = {}

        def submit(number: int) -> None:
            for name, structure in islice(source, number):
                log = None if logs is None else logs / f"{file_name(name)}.txt"
                call = (processes, structure, interpreter, settings, 60 * minutes, log)
                at_work[threads.submit(calculated_by, *call)] = name

        submit(n_jobs)
        while at_work:
            for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                submit(1)  # before the yield, so that no process waits for the reader
                yield at_work.pop(future), future.result()


class Processes:
    """Child processes, all of which are killed by `close`."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Kill all running processes; none can be started afterwards."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _kill(process)

    def run(self, command: list[str], seconds: float, out: Path, errors: Path) -> int | None:
        """Run a program with an open standard input.

        Args:
            command: program and arguments.
            seconds: time limit, after which it and its own children are killed.
            out: file for its standard output.
            errors: file for its standard error.

        Returns:
            Its exit code, negative for a signal; None if the time was up.
        """
        with out.open("wb") as output, errors.open("wb") as complaints:
            with self._lock:
                if self._closed:
                    return -signal.SIGKILL
                process = subprocess.Popen(  # noqa: S603 (the user names the interpreter)
                    command,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=complaints,
                    env=environment(),
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                _kill(process)
                process.wait()
                return None
            finally:
                with self._lock:
                    self._running.discard(process)
                if process.stdin is not None:
                    process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and its own children: it leads a session of its own."""
    with suppress(ProcessLookupError):  # it may end meanwhile
        os.killpg(process.pid, signal.SIGKILL)


def calculated_by(
    processes: Processes,
    structure: Structure,
    interpreter: Interpreter,
    config: FirstPrinciplesConfig,
    seconds: float,
    log: Path | None,
) -> FirstPrinciples:
    """Calculate one crystal in a child process; return its result, or the reason why there is none.

    Args:
        processes: that the child belongs to.
        structure: in any cell.
        interpreter: that has GPAW.
        config: settings.
        seconds: time limit.
        log: file for GPAW's own log; None for none.
    """
    if reason := _unfit(structure):
        return failed(reason)
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        job, out, errors = (Path(folder) / name for name in ("job.json", "out", "errors"))
        job.write_text(json.dumps(_job(primitive(structure, config.symprec), config, log)), encoding="utf-8")
        code = processes.run([interpreter.command, str(WORKER), str(job), "--watch"], seconds, out, errors)
        took = time.perf_counter() - started
        settings = asdict(config) | {"xc": "PBE", "gpaw": interpreter.gpaw, "ase": interpreter.ase}
        said, complained = (path.read_text(encoding="utf-8", errors="replace") for path in (out, errors))
    if code is None:
        found = failed(f"{OUT_OF_TIME} {seconds / 60:g} minutes")
    elif code < 0:
        found = failed(f"killed by {signal.Signals(-code).name}; perhaps for want of memory")
    elif code > 0:
        found = failed(f"GPAW failed: {last_line(complained) or f'exit code {code}'}")
    else:
        found = _result(said)
    return replace(found, settings=settings | dict(found.settings), seconds=round(took, 2))


def _job(cell: Structure, config: FirstPrinciplesConfig, log: Path | None) -> dict[str, Any]:
    return {
        "cell": cell.lattice.matrix.tolist(),
        "frac_coords": cell.frac_coords.tolist(),
        "symbols": [site.specie.symbol for site in cell],
        "log": None if log is None else str(log.resolve()),
        **asdict(config),
    }


def _result(said: str) -> FirstPrinciples:
    """Return the result that the worker printed."""
    try:
        return from_record(json.loads(said))
    except (ValueError, KeyError, TypeError, AttributeError):
        return failed(f"expected a result as JSON from the interpreter, got {said[:80]!r}")


def _unfit(structure: Structure) -> str:
    """Return why a structure cannot be calculated; empty if it can."""
    if not (np.isfinite(structure.frac_coords).all() and np.isfinite(structure.lattice.matrix).all()):
        return "coordinates are not finite"
    if not structure.is_ordered:
        return "disordered: sites are partly occupied"
    return ""
