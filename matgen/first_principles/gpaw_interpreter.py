"""The Python interpreter that has GPAW, which is seldom the one that has torch."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matgen.errors import UserError

WORKER = Path(__file__).with_name("gpaw_worker.py")
VARIABLE = "MATGEN_GPAW_PYTHON"
PROBE_SECONDS = 60.0

INSTALL = (
    "install it with `apt install gpaw gpaw-data` (Debian, Ubuntu) or with `pip install gpaw` and `gpaw install-data "
    f"FOLDER`, and name that interpreter with --python or {VARIABLE} if it is not found by itself"
)


class MissingGpawError(UserError, LookupError):
    """No interpreter can import GPAW, or GPAW lacks its datasets."""


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter that has GPAW.

    Attributes:
        command: path of the interpreter.
        gpaw: version of GPAW.
        ase: version of its ASE.
        datasets: symbols of the elements with a PBE dataset.
    """

    command: str
    gpaw: str
    ase: str
    datasets: frozenset[str] = frozenset()


def find_interpreter(named: str | None = None) -> Interpreter:
    """Return the interpreter named by argument or by MATGEN_GPAW_PYTHON, or else the first one found that has GPAW.

    Args:
        named: path or command.

    Raises:
        MissingGpawError: it has no GPAW, or none that was found has; the message says what to install.
    """
    if named := named or os.environ.get(VARIABLE):
        return _probed(named)
    complaints = []
    for command in _commands():
        try:
            return _probed(command)
        except MissingGpawError as error:
            complaints.append(error)
    if lacking := [error for error in complaints if "dataset" in str(error)]:
        raise lacking[0]
    raise MissingGpawError(f"expected an interpreter that can import gpaw, found none; {INSTALL}")


def _commands() -> Iterator[str]:
    """Yield interpreters in search order: this one, those on the path, that of a `gpaw` command, the system's."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    gpaw = shutil.which("gpaw")
    beside = [Path(gpaw).parent] if gpaw else []
    paths = [Path(sys.executable), *(folder / "python3" for folder in (*folders, *beside, Path("/usr/bin")))]
    yield from dict.fromkeys(
        str(path) for path in paths if path.is_file()
    )  # unresolved: a link makes a venv what it is


def _probed(command: str) -> Interpreter:
    """Run an interpreter and return what it has."""
    try:
        answer = subprocess.run(  # noqa: S603 (the user names the interpreter)
            [command, str(WORKER), "--probe"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            env=environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingGpawError(
            f"expected a Python interpreter with GPAW, got {command} ({error}); {INSTALL}"
        ) from error
    try:
        found = json.loads(answer.stdout)
        interpreter = Interpreter(command, found["gpaw"], found["ase"], frozenset(found["datasets"]))
    except (ValueError, KeyError, TypeError) as error:
        said = last_line(answer.stderr) or f"exit code {answer.returncode}"
        raise MissingGpawError(
            f"expected an interpreter that can import gpaw, but {command} says: {said}; {INSTALL}"
        ) from error
    if not interpreter.datasets:
        raise MissingGpawError(
            f"GPAW {interpreter.gpaw} of {command} has no PBE datasets; install them with `apt install gpaw-data` or "
            "`gpaw install-data FOLDER`, or set GPAW_SETUP_PATH"
        )
    return interpreter


def last_line(text: str) -> str:
    """Return the last line of an error output, at most 300 characters."""
    lines = text.strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""


def environment() -> dict[str, str]:
    """Return the environment of this process, with one thread for each child."""
    return dict(os.environ) | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
