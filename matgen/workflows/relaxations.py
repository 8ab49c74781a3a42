"""Relaxations of many structures that stream to disk and are taken up again."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator
from pymatgen.core.structure import Structure

from matgen.calculator import chgnet_calculator, potential_name
from matgen.candidate import Candidate, Relaxation
from matgen.config import to_mapping
from matgen.export import writing
from matgen.progress import Report
from matgen.validation.pool import relax_many
from matgen.validation.relax import RelaxConfig
from matgen.validation.symmetry import space_group
from matgen.workflows.candidate_files import CandidateFile


@dataclass(frozen=True)
class Outcome:
    """Where a relaxation ended, and how it went."""

    structure: Structure
    report: Relaxation


def relaxations(
    structures: dict[str, Structure],
    report: Report,
    folder: Path | None = None,
    jobs: int = 1,
    config: RelaxConfig | None = None,
    make_calculator: Callable[[], Calculator] = chgnet_calculator,
) -> dict[str, Outcome]:
    """Relax structures; each outcome is a line on disk as soon as it is there, and is not computed twice.

    Args:
        structures: starts by name.
        report: hears how many are done.
        folder: of the file; its name depends on potential and thresholds, so that others never mix in.
        jobs: processes.
        config: thresholds.
        make_calculator: builds the potential.

    Returns:
        Outcomes by name.

    Raises:
        OutputError: the folder cannot be written.
        ResumeError: the file in it is damaged.
    """
    config = config or RelaxConfig()
    file = None if folder is None else _file(folder, potential_name(make_calculator()), config)
    done = _earlier(file, structures)
    waiting = [name for name in structures if name not in done]
    report("relax", len(done), len(structures), converged=_converged(done))
    for result in relax_many([structures[name] for name in waiting], make_calculator, config, jobs):
        name = waiting[result.index]
        done[name] = Outcome(result.structure, result.report)
        if file is not None and not result.report.reason.startswith("failed: its worker"):  # which may be tried again
            file.append(_as_candidate(name, structures[name], done[name]))
        report("relax", len(done), len(structures), converged=_converged(done))
    return done


def _file(folder: Path, potential: str, config: RelaxConfig) -> CandidateFile:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    told = json.dumps([potential, to_mapping(config)], sort_keys=True)
    return CandidateFile(folder / f"relaxed_{hashlib.sha256(told.encode()).hexdigest()[:8]}.jsonl")


def _earlier(file: CandidateFile | None, structures: dict[str, Structure]) -> dict[str, Outcome]:
    """Outcomes on disk of starts that are the same to the last digit."""
    found = {}
    for candidate in [] if file is None else file.read():
        start = structures.get(candidate.name)
        if start is not None and candidate.relaxation is not None and _identical(start, candidate.unrelaxed):
            found[candidate.name] = Outcome(candidate.structure, candidate.relaxation)
    return found


def _identical(one: Structure, other: Structure) -> bool:
    return (
        one.atomic_numbers == other.atomic_numbers
        and np.array_equal(one.lattice.matrix, other.lattice.matrix)
        and np.array_equal(one.frac_coords, other.frac_coords)
    )


def _as_candidate(name: str, start: Structure, outcome: Outcome) -> Candidate:
    end = outcome.structure
    return Candidate(name, end, start, space_group(end), relaxation=outcome.report)


def _converged(done: dict[str, Outcome]) -> int:
    return sum(outcome.report.converged for outcome in done.values())
