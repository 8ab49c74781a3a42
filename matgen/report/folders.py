"""The folder of a run: which command wrote it, and what it holds, finished or not, of this version or an older one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from matgen.errors import UserError
from matgen.first_principles.subjects import RESULTS as VERIFIED
from matgen.screening.files import ROWS
from matgen.structures.candidate import KindName
from matgen.structures.run_folder import CANDIDATES, REPORT

Command = Literal["design", "screen", "evaluate", "verify"]

EVALUATION, STRUCTURES, RELAXED = "evaluation.json", "structures.csv", "relaxed_*.jsonl"
"""What `matgen evaluate` writes: figures and rows at the end, relaxations as they are done."""

FILES: Mapping[Command, tuple[str, ...]] = {
    "screen": (ROWS,),
    "design": (CANDIDATES, REPORT),
    "evaluate": (EVALUATION, RELAXED),
    "verify": (f"{VERIFIED}.jsonl", f"{VERIFIED}.csv"),
}
"""Files by which the folder of a command is known, or patterns of them; the first command that fits wrote it."""

EXPECTED = (
    f"a folder of `matgen design` or `matgen screen` (it holds {REPORT}), of `matgen evaluate` ({EVALUATION}) or of "
    f"`matgen verify` ({VERIFIED}.jsonl)"
)


class NoRunError(UserError, ValueError):
    """A path that is no folder of a run."""


@dataclass(frozen=True)
class RunFolder:
    """A folder that a command wrote.

    Attributes:
        path: of the folder.
        command: that wrote it.
        report: content of `run.json`, or of `evaluation.json`; empty if there is none, or if it cannot be read.
        notes: what is to be known of the folder, in plain sentences.
    """

    path: Path
    command: Command
    report: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """How the run ended, or `running`, or `unfinished` where nothing tells."""
        if self.command == "verify":
            return "finished" if (self.path / f"{VERIFIED}.csv").is_file() else "unfinished"
        if self.command == "evaluate":
            return "finished" if self.report else "unfinished"
        return str(self.report.get("status", "unfinished"))

    @property
    def configuration(self) -> dict[str, Any]:
        """All settings of a design or a screening; empty where none are known."""
        return _mapping(self.report.get("configuration"))

    def table(self, name: str) -> dict[str, Any]:
        """A table of the settings; empty where there is none."""
        return _mapping(self.configuration.get(name))

    def kind(self, otherwise: KindName) -> KindName:
        """Return the kind of the materials that the settings name, or another where they name none."""
        named = self.configuration.get("kind", self.report.get("kind"))
        return next((kind for kind in get_args(KindName) if kind == named), otherwise)


def run_folder(path: Path) -> RunFolder:
    """Recognise the folder of a run.

    Raises:
        NoRunError: the path is none.
    """
    if not path.is_dir():
        what = "is a file" if path.is_file() else "does not exist"
        raise NoRunError(f"expected {EXPECTED}, got {path}, which {what}")
    command = _command(path)
    if command is None:
        raise NoRunError(f"expected {EXPECTED}, got {path}, which holds none of these files")
    if command == "verify":
        return RunFolder(path, command, {})
    report, notes = _read(path / (EVALUATION if command == "evaluate" else REPORT))
    if command == "design" and "screen" in _mapping(report.get("configuration")):
        command = "screen"  # which has no row yet
    return RunFolder(path, command, report, notes)


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a run."""
    return _command(path) is not None


def _command(path: Path) -> Command | None:
    """Return the command that wrote a folder, by its files alone."""
    found = {name: any(one.is_file() for file in files for one in path.glob(file)) for name, files in FILES.items()}
    return next((name for name, there in found.items() if there), None)


def _read(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a JSON object and notes on it; an empty one if there is none."""
    if not path.is_file():
        return {}, ()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {}, (f"{path.name} cannot be read ({error}): settings and state of the run are unknown.",)
    if not isinstance(found, dict):
        return {}, (f"{path.name} holds no JSON object: settings and state of the run are unknown.",)
    return found, ()


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
