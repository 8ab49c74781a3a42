"""Calculations that can be resumed: each result is a line on disk, identified by a hash of its input.

Crystals are calculated by GPAW, molecules by GFN2-xTB, as a `Plan` defines.
"""

from collections.abc import Generator, Iterable, Mapping
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
from matgen.runtime.failures import of_the_machine, reason_of
from matgen.runtime.json_lines import append_json_lines, read_json_lines
from matgen.structures.candidate import Material, as_crystal, as_molecule
from matgen.structures.record import material_record
from matgen.structures.run_report import ResumeError
from matgen.templates.molecule import MoleculeTemplate

Result = FirstPrinciples | XtbMinimum
"""Result of a calculation."""

Subject = tuple[str, Material] | tuple[str, Material, str]
"""A name and a material; for a molecule, with atoms in the order of its graph, also its SMILES."""


class Calculations(Protocol):
    """Calculations of materials of one kind."""

    @property
    def method(self) -> str:
        """Name and version of the method."""
        ...

    def key(self, structure: Material, smiles: str = "") -> str:
        """Return a hash that identifies a calculation."""
        ...

    def stands(self, found: Result) -> bool:
        """Return whether an earlier result is kept, not calculated again."""
        ...

    def results(self, waiting: Iterable[Subject], logs: Path | None) -> Generator[tuple[str, Result]]:
        """Yield names and results as they arrive; leaving the loop early ends all processes."""
        ...

    def failed(self, reason: str) -> Result:
        """Return the result of a calculation that failed."""
        ...


@dataclass(frozen=True)
class Plan:
    """Calculations of crystals by GPAW.

    Attributes:
        interpreter: that has GPAW.
        config: settings of the calculation.
        minutes: time limit of each crystal.
        jobs: parallel processes.
        retry: repeat failed calculations; those that reached a lower time limit are always repeated.
    """

    interpreter: Interpreter
    config: FirstPrinciplesConfig
    minutes: float = 10.0
    jobs: int = 1
    retry: bool = False

    @property
    def method(self) -> str:
        """GPAW with its version."""
        return f"GPAW {self.interpreter.gpaw}"

    def key(self, structure: Material, smiles: str = "") -> str:  # noqa: ARG002 (of molecules)
        """Return a hash that identifies the calculation of a crystal."""
        return gpaw.key(as_crystal(structure), self.config, self.interpreter)

    def stands(self, found: Result) -> bool:
        """Return whether an earlier result is kept, not calculated again."""
        if found.converged or isinstance(found, XtbMinimum):
            return True
        return not self.retry and not (found.out_of_time and 60 * self.minutes > found.seconds + 60)

    def results(self, waiting: Iterable[Subject], logs: Path | None) -> Generator[tuple[str, Result]]:
        """Calculate each crystal in a process of its own."""
        crystals = ((name, as_crystal(structure)) for name, structure, *_ in waiting)
        many = calculate_many(
            crystals, self.interpreter, self.config, minutes=self.minutes, n_jobs=self.jobs, logs=logs
        )
        with closing(many):
            yield from many

    def failed(self, reason: str) -> FirstPrinciples:
        """Return the result of a calculation that failed."""
        return gpaw.failed(reason)


@dataclass(frozen=True)
class MoleculePlan:
    """Calculations of molecules: relaxation by GFN2-xTB, and electronic properties at the minimum.

    Attributes:
        config: convergence of the relaxation.
        jobs: parallel processes.
        retry: repeat failed calculations.
    """

    config: XtbConfig = field(default_factory=XtbConfig)
    jobs: int = 1
    retry: bool = False

    @property
    def method(self) -> str:
        """GFN2-xTB."""
        return METHOD

    def key(self, structure: Material, smiles: str = "") -> str:
        """Return a hash that identifies the calculation of a molecule."""
        return xtb_minimum.key(as_molecule(structure), MoleculeTemplate(smiles), self.config)

    def stands(self, found: Result) -> bool:
        """Return whether an earlier result is kept, not calculated again."""
        return found.converged or not self.retry

    def results(self, waiting: Iterable[Subject], logs: Path | None) -> Generator[tuple[str, Result]]:  # noqa: ARG002
        """Calculate in a pool of processes, without logs."""
        initial_geometries = (
            (name, as_molecule(molecule), MoleculeTemplate("".join(rest))) for name, molecule, *rest in waiting
        )
        yield from minima(initial_geometries, self.config, self.jobs)

    def failed(self, reason: str) -> XtbMinimum:
        """Return the result of a calculation that failed."""
        return xtb_minimum.failed(reason)


def result_record(found: Result) -> dict[str, Any]:
    """Return a result as JSON types."""
    return xtb_minimum.to_record(found) if isinstance(found, XtbMinimum) else gpaw.to_record(found)


def result_of(record: Mapping[str, Any]) -> Result:
    """Return the result that `result_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: the record is damaged.
    """
    return xtb_minimum.from_record(record) if "rmsd" in record else gpaw.from_record(record)


class CalculationFile:
    """A file with one JSON object per line: name, key, result and material.

    Args:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Result]:
        """Return the last result of each key; a last line that an interrupt cut short is removed from the file.

        Raises:
            ResumeError: the file is damaged.
        """
        advice = "move it away, or name another --out"
        return dict(read_json_lines(self.path, _keyed_result, error=ResumeError, advice=advice, repair=True))

    def append(self, name: str, found_key: str, found: Result, structure: Material) -> None:
        """Append one line and wait until it is on disk.

        Raises:
            OutputError: the disk is full, or the folder does not exist.
        """
        own = {"structure": material_record(structure)} if found.converged else {}
        append_json_lines(self.path, [{"name": name, "key": found_key} | result_record(found) | own])


def _keyed_result(record: Mapping[str, Any]) -> tuple[str, Result]:
    return record["key"], result_of(record)


def calculated(
    structures: Iterable[Subject], file: CalculationFile, plan: Calculations, logs: Path | None = None
) -> Generator[tuple[str, Result], None, None]:
    """Yield results of materials: those in the file first, then new ones, each after it was written to the file.

    Args:
        structures: unique names, and crystals, or molecules with their SMILES.
        file: in an existing folder.
        plan: of the calculations.
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
        fault = ""
        try:
            keys[name], materials[name] = plan.key(structure, *smiles), structure
        except Exception as error:
            if of_the_machine(error):
                raise
            fault = reason_of(error)
        if fault:
            yield name, plan.failed(fault)
            continue
        earlier = done.get(keys[name])
        if earlier is not None and plan.stands(earlier):
            yield name, earlier
        else:
            waiting.append(one)
    with closing(plan.results(waiting, logs)) as many:
        for name, found in many:
            file.append(name, keys[name], found, materials[name])
            yield name, found
