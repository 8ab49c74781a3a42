"""Relaxations of many structures, streamed to disk and resumed."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, cast

from ase.calculators.calculator import Calculator
from pymatgen.core.structure import Molecule, Structure

from matgen.relaxation.calculators import chgnet_calculator, potential_name
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.pool import M, Relaxed, relax_many
from matgen.relaxation.xtb import POTENTIAL, XtbConfig, relax_molecules
from matgen.runtime.config import to_mapping
from matgen.runtime.output import writing
from matgen.runtime.processes import DIED
from matgen.runtime.progress import Report
from matgen.structures.candidate import Candidate, Material, Relaxation
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.record import material_record
from matgen.structures.symmetry import space_group


@dataclass(frozen=True)
class Outcome(Generic[M]):
    """The final structure of a relaxation, and its report."""

    structure: M
    report: Relaxation

    @property
    def fields(self) -> dict[str, Any]:
        """Columns of a row on how the relaxation ended; the energy in eV/atom."""
        report = self.report
        return {"relaxation": report.reason, "converged": report.converged, "energy": report.energy}


@dataclass(frozen=True)
class Relaxer(Generic[M]):
    """A method to relax many crystals or many molecules.

    Attributes:
        potential: name and version.
        thresholds: of convergence.
        relax_many: structures and a number of processes → results in any order.
    """

    potential: str
    thresholds: RelaxConfig | XtbConfig
    relax_many: Callable[[list[M], int], Iterator[Relaxed[M]]]


def crystal_relaxer(
    config: RelaxConfig | None = None,
    make_calculator: Callable[[], Calculator] = chgnet_calculator,
    device: str = "cpu",
) -> Relaxer[Structure]:
    """Make a relaxer of atoms and cell by an ASE calculator, CHGNet by default, which may run on another device."""
    config = config or RelaxConfig()

    def relax(structures: list[Structure], jobs: int) -> Iterator[Relaxed[Structure]]:
        return relax_many(structures, make_calculator, config, jobs, device=device)

    return Relaxer(potential_name(make_calculator()), config, relax)


def molecule_relaxer(config: XtbConfig | None = None) -> Relaxer[Molecule]:
    """Make a relaxer of molecules by GFN2-xTB."""
    config = config or XtbConfig()

    def relax(molecules: list[Molecule], jobs: int) -> Iterator[Relaxed[Molecule]]:
        return relax_molecules(molecules, config, jobs)

    return Relaxer(POTENTIAL, config, relax)


def relaxations(
    structures: Mapping[str, M],
    relaxer: Relaxer[M],
    report: Report,
    folder: Path | None = None,
    jobs: int = 1,
    templates: Mapping[str, str] | None = None,
) -> dict[str, Outcome[M]]:
    """Relax structures; each outcome is written at once, and is not computed twice.

    Args:
        structures: initial geometries by name.
        relaxer: method.
        report: hears the progress.
        folder: of the file, whose name depends on potential and thresholds, so that results never mix; None for none.
        jobs: processes.
        templates: SMILES of molecules, by name.

    Returns:
        Outcomes by name.

    Raises:
        OutputError: the folder cannot be written.
        ResumeError: the file is damaged.
    """
    file = None if folder is None else _file(folder, relaxer)
    done = _earlier(file, structures)
    waiting = [name for name in structures if name not in done]
    converged = sum(outcome.report.converged for outcome in done.values())
    report("relax", len(done), len(structures), converged=converged)
    for result in relaxer.relax_many([structures[name] for name in waiting], jobs):
        name = waiting[result.index]
        done[name] = Outcome(result.structure, result.report)
        if file is not None and DIED not in result.report.reason:  # which may be tried again
            file.append(_as_candidate(name, structures[name], done[name], (templates or {}).get(name, "")))
        converged += result.report.converged
        report("relax", len(done), len(structures), converged=converged)
    return done


def _file(folder: Path, relaxer: Relaxer[M]) -> CandidateFile:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    identity = json.dumps([relaxer.potential, to_mapping(relaxer.thresholds)], sort_keys=True)
    return CandidateFile(folder / f"relaxed_{hashlib.sha256(identity.encode()).hexdigest()[:8]}.jsonl")


def _earlier(file: CandidateFile | None, structures: Mapping[str, M]) -> dict[str, Outcome[M]]:
    """Read outcomes of initial geometries that are identical to the last digit."""
    found: dict[str, Outcome[M]] = {}
    for candidate in [] if file is None else file.read():
        initial = structures.get(candidate.name)
        if initial is not None and candidate.relaxation is not None and identical(initial, candidate.unrelaxed):
            found[candidate.name] = Outcome(cast("M", candidate.structure), candidate.relaxation)
    return found


def identical(one: Material, other: Material) -> bool:
    """Return whether two materials are of one kind and identical to the last digit."""
    return material_record(one) == material_record(other)


def _as_candidate(name: str, initial: M, outcome: Outcome[M], template: str) -> Candidate:
    final = outcome.structure
    group = space_group(final) if isinstance(final, Structure) else None
    return Candidate(name, final, initial, group, template, relaxation=outcome.report)
