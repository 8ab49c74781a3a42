"""Build a reference of known phases: their energies by any potential, and their hull.

Each energy is appended to `OUT.jsonl` beside the reference at once, so an interrupt loses none, and a later call with
more crystals computes only the new ones.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator
from pymatgen.core.structure import Structure

from matgen.errors import UserError
from matgen.first_principles.records import with_nulls
from matgen.hull.corrections import correction
from matgen.hull.hull import CORRECTIONS, MARGIN, ON_HULL, near_hull
from matgen.hull.reference import Reference, elements_of
from matgen.relaxation.calculators import chgnet_calculator, kept_calculator, potential_name
from matgen.relaxation.outcome import RELAXATION_ERRORS
from matgen.relaxation.pool import TOGETHER, relaxed_together
from matgen.relaxation.static import static_energy
from matgen.runtime.json_lines import append_json_lines
from matgen.runtime.output import make_folder, replace_file, writing
from matgen.runtime.processes import in_chunks, in_pool
from matgen.runtime.progress import Report, Silence
from matgen.structures.files import Entry, Found, digest, read


class ReferenceBuildError(UserError, ValueError):
    """Crystals that do not make a reference."""


@dataclass(frozen=True)
class PhaseEnergy:
    """Energy of one crystal by the potential; a line of the file of energies.

    Attributes:
        name: unique among the crystals.
        formula: of the crystal.
        energy: eV/atom; NaN (null in the file) if it failed.
        relaxed: whether the energy is at a minimum of the potential.
        error: why there is no energy, or no minimum; empty otherwise.
        digest: of the content of the crystal, which distinguishes crystals of the same name.
        correction: to be added to the energy, eV/atom.
    """

    name: str
    formula: str
    energy: float
    relaxed: bool
    error: str
    digest: str = ""
    correction: float = 0.0

    @property
    def stands(self) -> bool:
        """Whether the energy may enter a hull; that of a failed relaxation may not."""
        return math.isfinite(self.energy) and not self.error

    @property
    def failure(self) -> str:
        """The reason why it may not, without numbers, so that equal reasons can be counted."""
        return f"not relaxed to a minimum: {self.error.partition(':')[0]}" if math.isfinite(self.energy) else self.error


@dataclass(frozen=True)
class Built:
    """Result of building a reference.

    Attributes:
        path: file of the reference.
        reference: its content.
        energies: number of crystals with an energy, at a minimum if they were relaxed.
        failures: number of crystals without one, by reason.
        lacking: elements without an elemental crystal; crystals with these elements are left out.
    """

    path: Path
    reference: Reference
    energies: int
    failures: Counter[str]
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class ReferenceFacts:
    """Summary of a reference.

    Attributes:
        potential: name and version.
        phases: number of rows.
        on_hull: number of rows on the hull.
        formulas: number of different formulas.
        relaxed: number of rows at a minimum of the potential.
        elements: number of elements with an elemental phase.
        systems: number of chemical systems with a phase.
        header: other fields of the header.
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
    facts: Mapping[str, str] | None = None,
    jobs: int = 1,
    report: Report | None = None,
) -> Built:
    """Compute energies of known crystals and keep those near their hull.

    Args:
        crystals: read, or found in files and read when needed; broken ones are counted and left out.
        out: Parquet file to write; energies go to a file of the same name that ends in .jsonl.
        make_calculator: makes an ASE calculator; one per process.
        relaxing: relax each crystal; otherwise its energy is taken at the given geometry.
        margin: eV/atom above the hull up to which phases are kept.
        facts: fields of the header: `source` of the crystals, in words; `corrections`, the name of those that are added
            to every energy.
        jobs: number of processes.
        report: receives the progress.

    Raises:
        ReferenceBuildError: nothing is left for a hull, or the file of energies is of another potential.
        OutputError: the folder of `out` cannot be written.
    """
    if out.suffix != ".parquet":
        raise ReferenceBuildError(f"expected a file name that ends in .parquet, got {out}")
    make_folder(out.parent, "--out")
    potential = potential_name(make_calculator())
    header = {name: value for name, value in (facts or {}).items() if value}
    lines = phase_energies(
        crystals,
        out.with_suffix(".jsonl"),
        make_calculator,
        potential,
        relaxing=relaxing,
        corrections=header.get(CORRECTIONS, ""),
        jobs=jobs,
        report=report,
    )
    found = [line for line in lines if line.stands]
    failures = Counter(line.failure for line in lines if not line.stands)
    made = {"made": datetime.now(UTC).date().isoformat(), "crystals": len(found)}
    everything = reference_of(found, potential, {"source": "", **header, **made})
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
    corrections: str = "",
    jobs: int = 1,
    report: Report | None = None,
) -> list[PhaseEnergy]:
    """Return the energy of every crystal; those of an earlier call are read from the file, not computed again.

    A crystal is identified by its name and a digest of its content, so a changed file is computed again.

    Args:
        crystals: found or read.
        path: of the file of energies, one JSON object per line; the first one identifies potential and method.
        make_calculator: makes an ASE calculator; one per process.
        potential: its name and version.
        relaxing: relax each crystal; otherwise its energy is taken at the given geometry.
        corrections: name of those that are added to every energy; empty for none.
        jobs: number of processes.
        report: receives the progress.

    Raises:
        ReferenceBuildError: the file is damaged, or of another potential or method.
        OutputError: it cannot be written.
    """
    report = report or Silence()
    identity: dict[str, Any] = {"potential": potential, "relaxing": relaxing}
    identity |= {CORRECTIONS: corrections} if corrections else {}
    done = _earlier(path, identity)
    keys = [(crystal.name, digest(crystal)) for crystal in crystals]
    waiting = [crystal for crystal, key in zip(crystals, keys, strict=True) if key not in done]
    ready = len(crystals) - len(waiting)
    report("energies", ready, len(crystals))
    work = partial(phases_together, make_calculator=make_calculator, relaxing=relaxing, corrections=corrections)
    size = TOGETHER if relaxing and make_calculator is chgnet_calculator else 1
    for lines in in_pool(work, in_chunks(waiting, min(size, -(-len(waiting) // jobs) or 1)), _given_up, jobs, ahead=2):
        append_json_lines(path, [with_nulls(asdict(line), ["energy"]) for line in lines])
        done |= {(line.name, line.digest): line for line in lines}
        ready += len(lines)
        report("energies", ready, len(crystals))
    return [done[key] for key in keys]


def phases_together(
    crystals: Sequence[Found | Entry],
    make_calculator: Callable[[], Calculator],
    *,
    relaxing: bool,
    corrections: str = "",
) -> list[PhaseEnergy]:
    """Return the energy of each crystal of a chunk, with its correction, or the error why there is none."""
    lines: list[PhaseEnergy] = []
    sound: dict[int, Structure] = {}
    for index, crystal in enumerate(crystals):
        entry = read(crystal) if isinstance(crystal, Found) else crystal
        structure, error, formula = entry.crystal, entry.error, ""
        if structure is not None:
            formula = structure.composition.element_composition.reduced_formula
            if structure.is_ordered:
                sound[index] = structure
            else:
                error = "sites are shared or partly occupied"
        lines.append(PhaseEnergy(entry.name, formula, math.nan, relaxed=False, error=error, digest=digest(crystal)))
    if relaxing:
        initial_geometries = [(index, structure, math.inf) for index, structure in sound.items()]
        for found in relaxed_together(initial_geometries, make_calculator):
            final = found.report
            error = "" if final.converged else final.reason
            lines[found.index] = replace(
                lines[found.index],
                energy=final.energy,
                relaxed=final.converged,
                error=error,
                correction=correction(found.structure, corrections),
            )
        return lines
    for index, structure in sound.items():
        try:
            energy = static_energy(structure, kept_calculator(make_calculator))
        except RELAXATION_ERRORS as reason:
            lines[index] = replace(lines[index], error=f"{type(reason).__name__}: {reason}")
        else:
            lines[index] = replace(lines[index], energy=energy, correction=correction(structure, corrections))
    return lines


def _given_up(crystal: Found | Entry, reason: str) -> PhaseEnergy:
    return PhaseEnergy(crystal.name, "", math.nan, relaxed=False, error=reason, digest=digest(crystal))


def reference_of(found: Iterable[PhaseEnergy], potential: str, facts: Mapping[str, Any]) -> Reference:
    """Return energies as a reference whose hull is not known yet."""
    found = list(found)
    return Reference(
        potential,
        tuple(line.name for line in found),
        tuple(line.formula for line in found),
        np.array([line.energy + line.correction for line in found], dtype=np.float64),
        np.full(len(found), math.inf),
        np.array([line.relaxed for line in found], dtype=bool),
        facts,
    )


def lacking_elements(reference: Reference) -> tuple[str, ...]:
    """Return the elements that occur, but have no elemental phase."""
    systems = {elements_of(formula) for formula in reference.formulas}
    alone = {system[0] for system in systems if len(system) == 1}
    return tuple(sorted({element for system in systems for element in system} - alone))


def reference_facts(path: Path | None = None) -> ReferenceFacts:
    """Summarise a reference; the shipped one if no path is given.

    Raises:
        ReferenceFileError: the file is missing, or no reference.
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


def _earlier(path: Path, identity: Mapping[str, Any]) -> dict[tuple[str, str], PhaseEnergy]:
    """Return the energies of an earlier call by name and digest; an incomplete last line is removed from the file.

    Raises:
        ReferenceBuildError: the file is damaged, or of another potential or method.
        OutputError: it cannot be written.
    """
    advice = "choose another name with --out, or remove that file"
    try:
        whole, newline, rest = path.read_text(encoding="utf-8").rpartition("\n") if path.exists() else ("", "", "")
        first, *lines = [json.loads(line) for line in whole.splitlines()] or [identity]
        found = [PhaseEnergy(**{**line, "energy": _number(line["energy"])}) for line in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise ReferenceBuildError(f"expected {path} to hold energies, found it damaged ({error}); {advice}") from error
    if first != identity:
        raise ReferenceBuildError(f"expected {path} to hold energies of {identity}, found {first}; {advice}")
    with writing(path):
        if rest or not newline:
            replace_file(path, whole + newline if newline else json.dumps(identity) + "\n")
    return {(line.name, line.digest): line for line in found}


def _number(energy: float | None) -> float:
    return math.nan if energy is None else float(energy)
