"""The two requests of a run that interpolates, as its settings record them: names and targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from matgen.report.folders import RunFolder
from matgen.report.targets import asked, read_targets, target_record, unread_targets
from matgen.targets.target import Target


@dataclass(frozen=True)
class AskedEnd:
    """One of the two requests.

    Attributes:
        name: of its file.
        targets: that are understood.
        notes: on those that are not.
        without_examples: whether it is recorded to name none.
    """

    name: str
    targets: tuple[Target, ...]
    notes: tuple[str, ...] = ()
    without_examples: bool = False

    def record(self) -> dict[str, Any]:
        """Return name and targets as plain data."""
        return {"name": self.name, "targets": [target_record(target) for target in self.targets]}


def two_requests(run: RunFolder, kind: str, units: Mapping[str, str]) -> tuple[AskedEnd, ...]:
    """Return both requests of an interpolation; none of another run, or of settings of another version.

    Args:
        run: the folder.
        kind: of the materials.
        units: of properties of property files.
    """
    table = run.table("between")
    requests, ends = table.get("requests"), table.get("ends")
    if not (isinstance(requests, list) and len(requests) == 2):
        return ()
    told = ends if isinstance(ends, list) and len(ends) == 2 else [{}, {}]
    return tuple(_asked(name, one, kind, units) for name, one in zip(_names(requests), told, strict=True))


def between(what: str, ends: Sequence[AskedEnd]) -> str:
    """Return what was asked for, such as `crystals between two requests: A, with a band gap of 1 eV, and B`."""
    phrases = [asked(f"{end.name},", end.targets) if end.targets else end.name for end in ends]
    return f"{what} between two requests: {phrases[0]}{', and' if ends[0].targets else ' and'} {phrases[1]}"


def _asked(name: str, told: Any, kind: str, units: Mapping[str, str]) -> AskedEnd:
    table = told if isinstance(told, Mapping) else {}
    texts = table.get("targets")
    texts = texts if isinstance(texts, Mapping) else {}
    targets = read_targets(texts, kind, units)
    notes = tuple(f"Of {name}: {note}" for note in unread_targets(texts, kind, targets))
    return AskedEnd(name, tuple(targets), notes, table.get("like") == [])


def _names(requests: Sequence[Any]) -> list[str]:
    """Return names of the two files that differ."""
    names = [PurePath(str(path)).stem for path in requests]
    return names if names[0] != names[1] else [f"{name} ({letter})" for name, letter in zip(names, "AB", strict=True)]
