"""A reference of one's own: energies of known crystals by any potential, and the hull they make.

Energies are lines of `OUT.jsonl` beside the reference as soon as they are there, so that an interrupt loses none, and
a later call with more crystals computes those alone.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from joblib import Parallel, delayed, parallel_config
from pymatgen.core.structure import Structure

from matgen.calculator import potential_name
from matgen.errors import UserError
from matgen.progress import Report, Silence
from matgen.structure_files import Entry, Found, read
from matgen.training.run import make_folder
from matgen.validation.hull import MARGIN, ON_HULL, near_hull, quiet
from matgen.validation.reference import Reference, elements_of
from matgen.validation.relax import RELAXATION_ERRORS, RelaxConfig, relax


class ReferenceBuildError(UserError, ValueError):
    """Crystals of which no reference can be made."""


@dataclass(frozen=True)
class PhaseEnergy:
    """What the potential says of one crystal; a line of the file of energies.

    Attributes:
        name: unique among the crystals.
        formula: of the crystal.
        energy: eV/atom; NaN (null in the file) if there is none.
        relaxed: whether the energy is at a minimum of the potential.
        error: why there is no energy, or no minimum; empty if all is well.
    """

    name: str
    formula: str
    energy: float
    relaxed: bool
    error: str


@dataclass(frozen=True)
class Built:
    """What building gave.

    Attributes:
        path: file of the reference.
        reference: what is in it.
        energies: crystals with an energy.
        failures: crystals without one, by reason.
        lacking: elements that have no crystal of their own; whatever holds them was left out.
    """

    path: Path
    reference: Reference
    energies: int
    failures: Counter[str]
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class ReferenceFacts:
    """A reference in numbers.

    Attributes:
        potential: name and version.
        phases: rows.
        on_hull: rows on the hull.
        formulas: how many differ.
        relaxed: rows at the potential's own minimum.
        elements: how many have a phase.
        systems: chemical systems that have a phase of their own.
        header: what else the file says of itself.
    """

    potential: str
    phases: int
    on_hull: int
    formulas: int
    relaxed: int
    elements: int
    systems: int
    header: dict[str, Any]


def build_reference(
    crystals: Sequence[Found | Entry],
    out: Path,
    make_calculator: Callable[[], Calculator],
    *,
    relaxing: bool = True,
    margin: float = MARGIN,
    source: str = "",
    jobs: int = 1,
    report: Report | None = None,
) -> Built:
    """Compute energies of known crystals, and keep those near their hull.

    Args:
        crystals: found in files, and read when their turn comes, or read already; a broken one is counted and passed
            over.
        out: Parquet file to write; energies go to a file of the same name that ends in .jsonl.
        make_calculator: makes an ASE calculator; one per process.
        relaxing: relax each crystal; otherwise its energy is taken as it is.
        margin: eV/atom above the hull up to which phases are kept.
        source: where the crystals come from, in words, for the header.
        jobs: processes.
        report: hears how far it is.

    Raises:
        ReferenceBuildError: nothing is left to make a hull of, or the file of energies is of another potential.
        DataError: the folder of `out` cannot be written.
    """
    if out.suffix != ".parquet":
        raise ReferenceBuildError(f"expected a file name that ends in .parquet, got {out}")
    make_folder(out.parent, "--out")
    potential = potential_name(make_calculator())
    lines = phase_energies(
        crystals, out.with_suffix(".jsonl"), make_calculator, potential, relaxing=relaxing, jobs=jobs, report=report
    )
    found = [line for line in lines if math.isfinite(line.energy)]
    failures = Counter(line.error for line in lines if not math.isfinite(line.energy))
    facts = {"source": source, "made": datetime.now(UTC).date().isoformat(), "crystals": len(found)}
    everything = reference_of(found, potential, facts)
    lacking = lacking_elements(everything)
    kept = near_hull(everything, margin)
    if not len(kept):
        reasons = "; ".join(f"{n} × {reason}" for reason, n in failures.most_common(3))
        raise ReferenceBuildError(
            f"expected crystals that make a hull, got {len(found)} with an energy"
            + (f" ({reasons})" if reasons else "")
            + (f", and no crystal of pure {', '.join(lacking)}; add one of each" if lacking else "; name other files")
        )
    kept.save(out)
    return Built(out, kept, len(found), failures, lacking)


def phase_energies(
    crystals: Sequence[Found | Entry],
    path: Path,
    make_calculator: Callable[[], Calculator],
    potential: str,
    *,
    relaxing: bool,
    jobs: int = 1,
    report: Report | None = None,
) -> list[PhaseEnergy]:
    """The energy of every crystal; those of an earlier call are read from the file, not computed again.

    Args:
        crystals: found or read.
        path: of the file of energies, one JSON object a line; the first says what they are of.
        make_calculator: makes an ASE calculator; one per process.
        potential: its name and version.
        relaxing: relax each crystal; otherwise its energy is taken as it is.
        jobs: processes.
        report: hears how far it is.

    Raises:
        ReferenceBuildError: the file is of another potential, or of the other way of taking energies.
    """
    report = report or Silence()
    identity = {"potential": potential, "relaxing": relaxing}
    done = _earlier(path, identity)
    waiting = [crystal for crystal in crystals if crystal.name not in done]
    report("energies", len(crystals) - len(waiting), len(crystals))
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=2 * jobs)
    with path.open("a", encoding="utf-8") as stream:
        results = parallel(delayed(phase_energy)(crystal, make_calculator, relaxing=relaxing) for crystal in waiting)
        for n, line in enumerate(results, start=1):
            stream.write(json.dumps(_nulled(asdict(line))) + "\n")
            stream.flush()
            done[line.name] = line
            report("energies", len(crystals) - len(waiting) + n, len(crystals))
    return [done[crystal.name] for crystal in crystals]


def phase_energy(crystal: Found | Entry, make_calculator: Callable[[], Calculator], *, relaxing: bool) -> PhaseEnergy:
    """The energy of one crystal; whatever stands in its way is said in the result."""
    entry = read(crystal) if isinstance(crystal, Found) else crystal
    structure = entry.structure
    if structure is None:
        return PhaseEnergy(entry.name, "", math.nan, relaxed=False, error=entry.error)
    with quiet():
        formula = structure.composition.element_composition.reduced_formula
    if not structure.is_ordered:
        return PhaseEnergy(entry.name, formula, math.nan, relaxed=False, error="sites are shared or partly occupied")
    calculator = _calculator(make_calculator)
    if relaxing:
        final = relax(structure, calculator, RelaxConfig())[1]
        return PhaseEnergy(entry.name, formula, final.energy, final.converged, "" if final.converged else final.reason)
    try:
        energy = static_energy(structure, calculator)
    except RELAXATION_ERRORS as error:
        return PhaseEnergy(entry.name, formula, math.nan, relaxed=False, error=f"{type(error).__name__}: {error}")
    return PhaseEnergy(entry.name, formula, energy, relaxed=False, error="")


def static_energy(structure: Structure, calculator: Calculator) -> float:
    """Energy of a structure as it is, eV/atom."""
    numbers = [site.specie.Z for site in structure]
    atoms = Atoms(numbers, structure.cart_coords, cell=structure.lattice.matrix, pbc=True, calculator=calculator)
    return float(atoms.get_potential_energy()) / len(atoms)


def reference_of(found: Iterable[PhaseEnergy], potential: str, facts: Mapping[str, Any]) -> Reference:
    """Energies as a table whose hull is not known yet."""
    found = list(found)
    return Reference(
        potential,
        tuple(line.name for line in found),
        tuple(line.formula for line in found),
        np.array([line.energy for line in found], dtype=np.float64),
        np.full(len(found), math.inf),
        np.array([line.relaxed for line in found], dtype=bool),
        facts,
    )


def lacking_elements(reference: Reference) -> tuple[str, ...]:
    """Elements that occur, but have no phase by themselves."""
    systems = {elements_of(formula) for formula in reference.formulas}
    alone = {system[0] for system in systems if len(system) == 1}
    return tuple(sorted({element for system in systems for element in system} - alone))


def reference_facts(path: Path | None = None) -> ReferenceFacts:
    """A reference in numbers; the one that ships if no path is given.

    Raises:
        ReferenceFileError: there is none, or it is no reference.
    """
    reference = Reference.load(path)
    systems = {elements_of(formula) for formula in reference.formulas}
    return ReferenceFacts(
        potential=reference.potential,
        phases=len(reference),
        on_hull=int((reference.above_hull <= ON_HULL).sum()),
        formulas=len(set(reference.formulas)),
        relaxed=int(reference.relaxed.sum()),
        elements=sum(len(system) == 1 for system in systems),
        systems=len(systems),
        header=dict(reference.facts),
    )


@lru_cache(maxsize=1)
def _calculator(make: Callable[[], Calculator]) -> Calculator:
    """One per process: loading costs seconds."""
    return make()


def _earlier(path: Path, identity: Mapping[str, Any]) -> dict[str, PhaseEnergy]:
    """What an earlier call wrote; a last line that an interrupt cut short is dropped from the file."""
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.exists() else ""
    lines = [json.loads(line) for line in whole.splitlines()]
    if lines and lines[0] != identity:
        raise ReferenceBuildError(
            f"expected {path} to hold energies of {identity}, found {lines[0]}; choose another name with --out, or "
            "remove that file"
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines or [identity]), encoding="utf-8")
    earlier = [PhaseEnergy(**{**line, "energy": _number(line["energy"])}) for line in lines[1:]]
    return {line.name: line for line in earlier}


def _nulled(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "energy": line["energy"] if math.isfinite(line["energy"]) else None}


def _number(energy: float | None) -> float:
    return math.nan if energy is None else energy
