"""Calculations that survive an interrupt: each result is a line on disk, found again by what was calculated.

Crystals go to GPAW, molecules to GFN2-xTB; a `Plan` says how, and what follows is the same for both.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from matgen.first_principles import gpaw, xtb_minimum
from matgen.first_principles.gpaw import FirstPrinciples, FirstPrinciplesConfig
from matgen.first_principles.gpaw_interpreter import Interpreter
from matgen.first_principles.gpaw_processes import calculate_many
from matgen.first_principles.xtb_minimum import XtbMinimum, minima
from matgen.relaxation.xtb import METHOD, XtbConfig
from matgen.runtime.json_lines import append_json_lines, read_json_lines
from matgen.structures.candidate import Material, as_crystal, as_molecule
from matgen.structures.record import material_record
from matgen.structures.run_report import ResumeError
from matgen.templates.molecule import MoleculeTemplate

Result = FirstPrinciples | XtbMinimum
"""What comes of a calculation."""

Subject = tuple[str, Material] | tuple[str, Material, str]
"""A name and a material; of a molecule, whose atoms stand in the order of its graph, the SMILES too."""


class Calculations(Protocol):
    """How materials of one kind are to be calculated."""

    @property
    def method(self) -> str:
        """Name and version of what calculates."""
        ...

    def key(self, structure: Material, smiles: str = "") -> str:
        """What makes this calculation the same as another one."""
        ...

    def stands(self, found: Result) -> bool:
        """Whether an earlier result need not be sought again."""
        ...

    def results(self, waiting: Iterable[Subject], logs: Path | None) -> Generator[tuple[str, Result]]:
        """Names and results as they come; leaving the loop early ends all processes."""
        ...

    def failed(self, reason: str) -> Result:
        """The result where there is none."""
        ...


@dataclass(frozen=True)
class Plan:
    """How crystals are to be calculated: by GPAW.

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

    @property
    def method(self) -> str:
        """GPAW and its version."""
        return f"GPAW {self.interpreter.gpaw}"

    def key(self, structure: Material, smiles: str = "") -> str:  # noqa: ARG002 (of molecules)
        """What makes this crystal's calculation the same as another one."""
        return gpaw.key(as_crystal(structure), self.config, self.interpreter)

    def stands(self, found: Result) -> bool:
        """Whether an earlier result need not be sought again."""
        if found.converged or isinstance(found, XtbMinimum):
            return True
        return not self.retry and not (found.out_of_time and 60 * self.minutes > found.seconds + 60)

    def results(self, waiting: Iterable[Subject], logs: Path | None) -> Generator[tuple[str, Result]]:
        """Each crystal in a process of its own."""
        crystals = ((name, as_crystal(structure)) for name, structure, *_ in waiting)
        many = calculate_many(
            crystals, self.interpreter, self.config, minutes=self.minutes, n_jobs=self.jobs, logs=logs
        )
        with closing(many):
            yield from many

    def failed(self, reason: str) -> FirstPrinciples:
        """The result where there is none."""
        return gpaw.failed(reason)


@dataclass(frozen=True)
class MoleculePlan:
    """How molecules are to be calculated: relaxed by GFN2-xTB, and their electrons at that minimum.

    Attributes:
        config: when a relaxation is done.
        jobs: processes side by side.
        retry: do anew what failed before.
    """

    config: XtbConfig = field(default_factory=XtbConfig)
    jobs: int = 1
    retry: bool = False

    @property
    def method(self) -> str:
        """GFN2-xTB."""
        return METHOD

    def key(self, structure: Material, smiles: str = "") -> str:
        """What makes this molecule's calculation the same as another one."""
        return xtb_minimum.key(as_molecule(structure), MoleculeTemplate(smiles), self.config)

    def stands(self, found: Result) -> bool:
        """Whether an earlier result need not be sought again."""
        return found.converged or not self.retry

    def results(self, waiting: Iterable[Subject], logs: Path | None) -> Generator[tuple[str, Result]]:  # noqa: ARG002
        """In a pool of processes; there are no logs."""
        initial_geometries = (
            (name, as_molecule(molecule), MoleculeTemplate("".join(rest))) for name, molecule, *rest in waiting
        )
        yield from minima(initial_geometries, self.config, self.jobs)

    def failed(self, reason: str) -> XtbMinimum:
        """The result where there is none."""
        return xtb_minimum.failed(reason)


def result_record(found: Result) -> dict[str, Any]:
    """A result as JSON types."""
    return xtb_minimum.to_record(found) if isinstance(found, XtbMinimum) else gpaw.to_record(found)


def result_of(record: dict[str, Any]) -> Result:
    """The result that `result_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: the record is none of its.
    """
    return xtb_minimum.from_record(record) if "rmsd" in record else gpaw.from_record(record)


class CalculationFile:
    """One JSON object per line: name, key, result, and the material that it belongs to.

    Args:
        path: need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Result]:
        """The last result of each key; a last line that an interrupt cut short is dropped from the file too.

        Raises:
            ResumeError: the file is damaged.
        """
        advice = "move it away, or name another --out"
        return dict(read_json_lines(self.path, _keyed_result, error=ResumeError, advice=advice, repair=True))

    def append(self, name: str, found_key: str, found: Result, structure: Material) -> None:
        """Add one line and wait until it is on the disk.

        Raises:
            OutputError: the disk is full, or the folder has gone.
        """
        own = {"structure": material_record(structure)} if found.converged else {}
        append_json_lines(self.path, [{"name": name, "key": found_key} | result_record(found) | own])


def _keyed_result(record: Mapping[str, Any]) -> tuple[str, Result]:
    return record["key"], result_of(record)


def calculated(
    structures: Iterable[Subject], file: CalculationFile, plan: Calculations, logs: Path | None = None
) -> Iterator[tuple[str, Result]]:
    """Results of materials: those in the file first, then the others, each put into the file as soon as it is there.

    Args:
        structures: names, which must differ, and crystals, or molecules with their SMILES.
        file: in a folder that exists.
        plan: how.
        logs: folder for GPAW's own logs; none are kept if left out.

    Raises:
        ResumeError: the file is damaged.
        OutputError: the file cannot be written.
    """
    done = file.read()
    keys: dict[str, str] = {}
    materials: dict[str, Material] = {}
    waiting: list[Subject] = []
    for one in structures:
        name, structure, *smiles = one
        keys[name], materials[name] = plan.key(structure, *smiles), structure
        earlier = done.get(keys[name])
        if earlier is not None and plan.stands(earlier):
            yield name, earlier
        else:
            waiting.append(one)
    with closing(plan.results(waiting, logs)) as many:
        for name, found in many:
            file.append(name, keys[name], found, materials[name])
            yield name, found
