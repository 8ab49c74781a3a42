"""Calculations that survive an interrupt: each result is a line on disk, found again by what was calculated."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pymatgen.core.structure import Structure

from matgen.export import ResumeError, writing
from matgen.validation.first_principles import (
    FirstPrinciples,
    FirstPrinciplesConfig,
    Interpreter,
    calculate_many,
    from_record,
    key,
    to_record,
)


@dataclass(frozen=True)
class Plan:
    """How crystals are to be calculated.

    Attributes:
        interpreter: that has GPAW.
        config: settings of the calculation.
        minutes: after which a crystal is given up.
        jobs: processes side by side.
        retry: do anew what failed before; what ran out of time is done anew in any case if there is more of it now.
    """

    interpreter: Interpreter
    config: FirstPrinciplesConfig
    minutes: float = 10.0
    jobs: int = 1
    retry: bool = False

    def key(self, structure: Structure) -> str:
        """What makes this crystal's calculation the same as another one."""
        return key(structure, self.config, self.interpreter)

    def stands(self, found: FirstPrinciples) -> bool:
        """Whether an earlier result need not be sought again."""
        if found.converged:
            return True
        return not self.retry and not (found.out_of_time and 60 * self.minutes > found.seconds + 60)


class CalculationFile:
    """One JSON object per line: name, key and result.

    Args:
        path: need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, FirstPrinciples]:
        """The last result of each key; a last line that an interrupt cut short is dropped from the file too.

        Raises:
            ResumeError: the file is damaged.
        """
        if not self.path.exists():
            return {}
        whole, newline, rest = self.path.read_text(encoding="utf-8").rpartition("\n")
        try:
            records = [json.loads(line) for line in whole.splitlines()]
            found = {record["key"]: from_record(record) for record in records}
        except (KeyError, TypeError, ValueError) as error:
            raise ResumeError(f"{self.path} is damaged ({error}); move it away, or name another --out") from error
        if rest:
            with writing(self.path):
                self.path.write_text(whole + newline, encoding="utf-8")
        return found

    def append(self, name: str, found_key: str, found: FirstPrinciples) -> None:
        """Add one line and wait until it is on the disk.

        Raises:
            OutputError: the disk is full, or the folder has gone.
        """
        line = json.dumps({"name": name, "key": found_key} | to_record(found), allow_nan=False)
        with writing(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())


def calculated(
    structures: Iterable[tuple[str, Structure]], file: CalculationFile, plan: Plan, logs: Path | None = None
) -> Iterator[tuple[str, FirstPrinciples]]:
    """Results of crystals: those in the file first, then the others, each put into the file as soon as it is there.

    Args:
        structures: names, which must differ, and crystals.
        file: in a folder that exists.
        plan: how.
        logs: folder for GPAW's own logs; none are kept if left out.

    Raises:
        ResumeError: the file is damaged.
        OutputError: the file cannot be written.
    """
    done = file.read()
    keys: dict[str, str] = {}
    waiting: list[tuple[str, Structure]] = []
    for name, structure in structures:
        keys[name] = plan.key(structure)
        earlier = done.get(keys[name])
        if earlier is not None and plan.stands(earlier):
            yield name, earlier
        else:
            waiting.append((name, structure))
    many = calculate_many(waiting, plan.interpreter, plan.config, minutes=plan.minutes, n_jobs=plan.jobs, logs=logs)
    with closing(many):
        for name, found in many:
            file.append(name, keys[name], found)
            yield name, found
