"""Crystals by first principles: GPAW in processes of its own, each with a limit of time.

GPAW is seldom installed beside torch, so that it is asked through whatever interpreter has it (`gpaw_worker.py`).
"""

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np
from pymatgen.core.structure import Structure

from matgen.errors import UserError
from matgen.first_principles.gpaw_worker import hubbard_u
from matgen.relaxation.symmetric import primitive
from matgen.runtime.config import ConfigError, check_least, check_positive

RECIPE = 1
"""Of the worker; another one where it would give other figures for the same settings."""

WORKER = Path(__file__).with_name("gpaw_worker.py")
VARIABLE = "MATGEN_GPAW_PYTHON"
PROBE_SECONDS = 60.0

INSTALL = (
    "install it with `apt install gpaw gpaw-data` (Debian, Ubuntu) or with `pip install gpaw` and `gpaw install-data "
    f"FOLDER`, and name that interpreter with --python or {VARIABLE} if it is not found by itself"
)
OUT_OF_TIME = "not finished within"

NUMBERS = ("gap", "direct_gap", "energy", "magnetic_moment")


class MissingGpawError(UserError, LookupError):
    """No interpreter can import GPAW, or it lacks its datasets."""


@dataclass(frozen=True)
class FirstPrinciplesConfig:
    """What is calculated: PBE in plane waves, on a mesh that contains Γ, in the primitive cell.

    Attributes:
        cutoff: of the plane waves, eV.
        soft_cutoff: the same for crystals of nothing but soft elements (`gpaw_worker.SOFT`), eV; 0 for no difference.
        kpoint_density: points per Å⁻¹ along each reciprocal axis (2π included).
        gap_kpoint_density: of a second, denser mesh that gives the gap at fixed density; 0 for none.
        smearing: width of the Fermi–Dirac occupations, eV.
        max_iterations: steps to self-consistency at most.
        symprec: tolerance at which the primitive cell is found, Å.
        gap_tolerance: self-consistency ends when the last gaps lie within it, eV; 0 for GPAW's own criteria, which ask
            for much more, and its own solver.
        hubbard: with the U of the Materials Project in oxides and fluorides of some metals, as the gaps that models
            learn are.
    """

    cutoff: float = 400.0
    soft_cutoff: float = 340.0
    kpoint_density: float = 4.0
    gap_kpoint_density: float = 0.0
    smearing: float = 0.05
    max_iterations: int = 200
    symprec: float = 0.01
    gap_tolerance: float = 0.02
    hubbard: bool = True

    def __post_init__(self) -> None:
        """Check every number at the border.

        Raises:
            ConfigError: one is out of its range.
        """
        check_positive(self, "cutoff", "kpoint_density", "smearing", "symprec")
        check_least(self, 1, "max_iterations")
        check_least(self, 0, "gap_tolerance", "soft_cutoff")
        if self.gap_kpoint_density and not self.gap_kpoint_density >= self.kpoint_density:
            raise ConfigError(
                f"expected gap_kpoint_density of 0, or at least that of the first mesh ({self.kpoint_density:g}), got "
                f"{self.gap_kpoint_density:g}"
            )


def thorough(config: FirstPrinciplesConfig) -> FirstPrinciplesConfig:
    """The same with GPAW's own criteria, solver and mixer, and one cutoff for all elements."""
    return replace(config, gap_tolerance=0.0, soft_cutoff=0.0)


@dataclass(frozen=True)
class FirstPrinciples:
    """What GPAW says of a crystal; NaN where it says nothing.

    Attributes:
        gap: smallest difference between empty and filled states of the mesh, eV; 0 of a metal.
        direct_gap: the same at one k point, eV.
        energy: eV/atom, extrapolated to no smearing; its zero is GPAW's own atoms, so that it compares with nothing
            but other energies of the same settings.
        magnetic_moment: μB per primitive cell; 0 where it was calculated without spin.
        settings: what the figures depend on: `FirstPrinciplesConfig`, meshes, spin, versions.
        converged: whether there is a result.
        reason: why not; empty if there is.
        seconds: wall time.
    """

    gap: float
    direct_gap: float
    energy: float
    magnetic_moment: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    converged: bool = True
    reason: str = ""
    seconds: float = 0.0

    @property
    def out_of_time(self) -> bool:
        """Whether more time might help."""
        return self.reason.startswith(OUT_OF_TIME)


@dataclass(frozen=True)
class Interpreter:
    """A Python that has GPAW.

    Attributes:
        command: path of the interpreter.
        gpaw: version of GPAW.
        ase: version of its ASE.
        datasets: symbols of the elements that it has a PBE dataset of.
    """

    command: str
    gpaw: str
    ase: str
    datasets: frozenset[str] = frozenset()


def to_record(found: FirstPrinciples) -> dict[str, Any]:
    """A result as JSON types; NaN becomes null."""
    record = asdict(found)
    return record | {name: record[name] if math.isfinite(record[name]) else None for name in NUMBERS}


def from_record(record: Mapping[str, Any]) -> FirstPrinciples:
    """The result that `to_record` wrote, or the worker.

    Raises:
        KeyError, TypeError, ValueError: the record is none of theirs.
    """
    gap, direct_gap, energy, moment = (_number(record[name]) for name in NUMBERS)
    settings, reason = dict(record["settings"]), str(record["reason"])
    seconds = float(record.get("seconds", 0.0))
    found = FirstPrinciples(gap, direct_gap, energy, moment, settings, bool(record["converged"]), reason, seconds)
    if found.converged and not all(map(math.isfinite, (gap, direct_gap, energy, moment))):
        raise ValueError("expected finite numbers of a converged result")
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def failed(reason: str, seconds: float = 0.0) -> FirstPrinciples:
    """The result where there is none."""
    nan = math.nan
    return FirstPrinciples(nan, nan, nan, nan, converged=False, reason=reason, seconds=seconds)


def find_interpreter(named: str | None = None) -> Interpreter:
    """The interpreter that is named, by argument or by MATGEN_GPAW_PYTHON, or else the first that has GPAW.

    Args:
        named: path or command.

    Raises:
        MissingGpawError: it has no GPAW, or none that was found has; says what to install.
    """
    if named := named or os.environ.get(VARIABLE):
        return _asked(named)
    complaints = []
    for command in _candidates():
        try:
            return _asked(command)
        except MissingGpawError as error:
            complaints.append(error)
    if lacking := [error for error in complaints if "dataset" in str(error)]:
        raise lacking[0]
    raise MissingGpawError(f"expected an interpreter that can import gpaw, found none; {INSTALL}")


def _candidates() -> Iterator[str]:
    """Interpreters in the order of the search: ours, those on the path, that of a `gpaw` command, the system's."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    gpaw = shutil.which("gpaw")
    beside = [Path(gpaw).parent] if gpaw else []
    paths = [Path(sys.executable), *(folder / "python3" for folder in (*folders, *beside, Path("/usr/bin")))]
    yield from dict.fromkeys(str(path) for path in paths if path.is_file())  # links stay: they make a venv what it is


def _asked(command: str) -> Interpreter:
    """What an interpreter says that it has."""
    try:
        answer = subprocess.run(  # noqa: S603 (whoever runs us names the interpreter)
            [command, str(WORKER), "--probe"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingGpawError(
            f"expected a Python interpreter with GPAW, got {command} ({error}); {INSTALL}"
        ) from error
    try:
        found = json.loads(answer.stdout)
        interpreter = Interpreter(command, found["gpaw"], found["ase"], frozenset(found["datasets"]))
    except (ValueError, KeyError, TypeError) as error:
        said = _last_line(answer.stderr) or f"exit code {answer.returncode}"
        raise MissingGpawError(
            f"expected an interpreter that can import gpaw, but {command} says: {said}; {INSTALL}"
        ) from error
    if not interpreter.datasets:
        raise MissingGpawError(
            f"GPAW {interpreter.gpaw} of {command} has no PBE datasets; install them with `apt install gpaw-data` or "
            "`gpaw install-data FOLDER`, or set GPAW_SETUP_PATH"
        )
    return interpreter


def key(structure: Structure, config: FirstPrinciplesConfig, interpreter: Interpreter) -> str:
    """What makes a calculation the same as another one: the crystal as given, the settings, the version of GPAW."""
    crystal = [structure.lattice.matrix.tolist(), [str(s) for s in structure.species_and_occu]]
    settings = asdict(config)
    for name in ("gap_tolerance", "soft_cutoff"):
        if not settings[name]:
            del settings[name]  # as results were keyed before there was one
    shifts = hubbard_u([element.symbol for element in structure.elements]) if settings.pop("hubbard") else {}
    content = json.dumps(
        [*crystal, structure.frac_coords.tolist(), settings, interpreter.gpaw, RECIPE, *filter(None, [shifts])]
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def calculate_many(
    structures: Iterable[tuple[str, Structure]],
    interpreter: Interpreter,
    config: FirstPrinciplesConfig | None = None,
    *,
    minutes: float = 10.0,
    n_jobs: int = 1,
    logs: Path | None = None,
) -> Generator[tuple[str, FirstPrinciples]]:
    """Calculate crystals side by side, each in a process of its own, and yield each result as soon as it is there.

    Crystals are taken from the iterable as processes get free. Leaving the loop early, or an interrupt, kills those
    that run; they leave by themselves should this process be killed.

    Args:
        structures: names, which must differ, and crystals in any cell.
        interpreter: that has GPAW.
        config: settings; the defaults if left out.
        minutes: after which a crystal is given up.
        n_jobs: processes, of one thread each.
        logs: folder for GPAW's own logs; none are kept if left out.

    Yields:
        Names and results, in the order in which they finish. Every crystal yields one, whatever becomes of it.
    """
    source = iter(structures)
    settings = config or FirstPrinciplesConfig()
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(n_jobs) as threads, Processes() as processes:
        at_work: dict[Future[FirstPrinciples], str] = {}

        def take(number: int) -> None:
            for name, structure in islice(source, number):
                log = None if logs is None else logs / f"{log_name(name)}.txt"
                call = (processes, structure, interpreter, settings, 60 * minutes, log)
                at_work[threads.submit(calculated_by, *call)] = name

        take(n_jobs)
        while at_work:
            for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                take(1)  # first, so that nothing waits for the reader
                yield at_work.pop(future), future.result()


def log_name(name: str) -> str:
    """A file name for the log of a crystal of any name; different names get different ones."""
    plain = "".join(letter if letter.isalnum() or letter in "._+-" else "_" for letter in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


class Processes:
    """Children that share a fate: all of them are killed when the block is left."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            for process in self._running:
                _kill(process)

    def run(self, command: list[str], seconds: float, out: Path, errors: Path) -> int | None:
        """Run a program with an open standard input.

        Args:
            command: program and arguments.
            seconds: after which it and its own children are killed.
            out: file for its standard output.
            errors: file for its standard error.

        Returns:
            Its exit code, negative for a signal; None where time was up.
        """
        with out.open("wb") as output, errors.open("wb") as complaints:
            with self._lock:
                if self._closed:
                    return -signal.SIGKILL
                process = subprocess.Popen(  # noqa: S603 (likewise)
                    command,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=complaints,
                    env=_environment(),
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
    """Kill a child and what it has started: it leads a session of its own."""
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
    """One crystal by one of these processes, whatever becomes of it: a result, or the reason why there is none.

    Args:
        processes: that share the fate of this one.
        structure: in any cell.
        interpreter: that has GPAW.
        config: settings.
        seconds: after which it is given up.
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
        found = failed(f"GPAW failed: {_last_line(complained) or f'exit code {code}'}")
    else:
        found = _read(said)
    return replace(found, settings=settings | dict(found.settings), seconds=round(took, 2))


def _job(cell: Structure, config: FirstPrinciplesConfig, log: Path | None) -> dict[str, Any]:
    return {
        "cell": cell.lattice.matrix.tolist(),
        "frac_coords": cell.frac_coords.tolist(),
        "symbols": [site.specie.symbol for site in cell],
        "log": None if log is None else str(log.resolve()),
        **asdict(config),
    }


def _read(said: str) -> FirstPrinciples:
    """What the worker answered."""
    try:
        return from_record(json.loads(said))
    except (ValueError, KeyError, TypeError, AttributeError):
        return failed(f"expected a result as JSON from the interpreter, got {said[:80]!r}")


def _unfit(structure: Structure) -> str:
    """Why a calculation need not start; empty if it may."""
    if not (np.isfinite(structure.frac_coords).all() and np.isfinite(structure.lattice.matrix).all()):
        return "coordinates are not finite"
    if not structure.is_ordered:
        return "disordered: sites are partly occupied"
    return ""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""


def _environment() -> dict[str, str]:
    """Ours, with one thread for each process."""
    return dict(os.environ) | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
