"""What identifies a run, and its report `run.json`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matgen.errors import UserError
from matgen.runtime.command_line import command_line
from matgen.runtime.output import replace_file, writing
from matgen.structures.run_folder import REPORT

ADVICE = "name another folder with --out, or overwrite it"


class ResumeError(UserError, ValueError):
    """The output folder does not hold the beginning of this run."""


@dataclass(frozen=True)
class RunInfo:
    """What identifies a run: two runs that agree in all of it give the same candidates.

    Attributes:
        version: of the program.
        seed: of the run.
        configuration: all settings, as JSON types.
        weights: hash of each file of weights or references by name.
    """

    version: str
    seed: int
    configuration: Mapping[str, Any]
    weights: Mapping[str, str] = field(default_factory=dict)


def new_report(run: RunInfo) -> dict[str, Any]:
    """Return the report of a run that starts now; the command line, if there is one, identifies nothing."""
    told = {"command_line": command_line()} if command_line() else {}
    return {"status": "running", "started": datetime.now(UTC).isoformat(timespec="seconds"), **told, **identity(run)}


def end_report(folder: Path, report: dict[str, Any], error: type[BaseException] | None) -> None:
    """Write `run.json` with how the run ended; an error of None is a run that finished."""
    if error is None:
        report["status"] = "finished"
    else:
        interrupted = issubclass(error, KeyboardInterrupt | GeneratorExit)
        report["status"] = "interrupted" if interrupted else f"failed: {error.__name__}"
    with writing(folder):
        write_report(folder, report)


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `run.json`."""
    replace_file(folder / REPORT, json.dumps(report, indent=2) + "\n")


def earlier_report(folder: Path, run: RunInfo) -> dict[str, Any]:
    """Return the `run.json` of an earlier call of the same run, empty if there is none.

    Raises:
        ResumeError: it belongs to another run, or is not a report.
    """
    path = folder / REPORT
    if not path.exists():
        return {}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        found = {name: report[name] for name in identity(run)}
    except (KeyError, TypeError, ValueError) as error:
        raise ResumeError(f"{path} is not a report of a run; {ADVICE}") from error
    if found["version"] != run.version:
        raise ResumeError(f"{folder} was written by version {found['version']}, and this is {run.version}; {ADVICE}")
    different = [name for name, value in identity(run).items() if found[name] != value]
    if different:
        raise ResumeError(f"{folder} holds another run: {_differences(found, run, different)}; {ADVICE}")
    return report


def identity(run: RunInfo) -> dict[str, Any]:
    """Return what two runs must share to be the same, as it is read back from JSON."""
    whole = {
        "version": run.version,
        "seed": run.seed,
        "weights": dict(run.weights),
        "configuration": dict(run.configuration),
    }
    return json.loads(json.dumps(whole))


def _differences(found: Mapping[str, Any], run: RunInfo, names: list[str]) -> str:
    """Describe how an earlier run differs from this one."""
    wanted = identity(run)
    changes = []
    for name in names:
        if isinstance(wanted[name], dict) and isinstance(found[name], dict):
            earlier, now = dict(dotted_settings(found[name])), dict(dotted_settings(wanted[name]))
            pairs = [(key, earlier.get(key), now.get(key)) for key in sorted({*earlier, *now})]
        else:
            pairs = [(name, found[name], wanted[name])]
        changes += [f"{key} was {old!r} and is now {new!r}" for key, old, new in pairs if old != new]
    return ", ".join(changes)


def dotted_settings(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of nested tables with its dotted name."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from dotted_settings(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
