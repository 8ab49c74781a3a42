"""Time and final energy of relaxations: batches in free parameters against ASE, one structure after another.

`python scripts/benchmarks/evaluate_relaxation.py`: crystals of MP-20 test with randomly displaced free parameters, and
proposals of the template prior with their initial geometries. All methods use CHGNet. FIRE runs until forces and scaled
stress are below 0.05 eV/Å, for at most 500 steps; the others until forces and stress are below the thresholds of
`RelaxConfig`. Times are for one core and one process, one method after another on the same structures. The last method
gives up structures that cannot end within 0.1 eV/atom of the hull any more; wrong decisions are counted.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from statistics import fmean, median
from typing import Any

import torch
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from pymatgen.core import Structure

from matgen.generation.generate import generate
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.request import Request
from matgen.generation.sampler_settings import Stages
from matgen.hull.hull import ReferenceHull
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.symmetric import relax
from matgen.runtime.config import to_mapping
from matgen.runtime.progress import Silence
from matgen.structures.candidate import Relaxation
from matgen.structures.conversion import structures
from matgen.templates.batch import Geometry
from matgen.templates.expand import expand, unit_directions
from shared.crystals import chunks, crystals, sample_rows, shipped
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

CHUNK = 16
STRAIN, MOVE = 0.03, 0.1
"""Standard deviations of the displacements of lattice parameters, and of each free coordinate in Å."""

MAX_EHULL = 0.1
"""eV/atom above the hull."""

EQUAL = 0.005
"""eV/atom within which two final energies count as equal."""

FIRE_STEPS = 500
FREE = "free parameters, in batches"
WAYS = {
    "fire": "ASE: FIRE, cell and atoms, symmetry fixed",
    "bfgs": "ASE: BFGS that knows cells, symmetry fixed",
    "free": FREE,
    "p1": f"{FREE}, without symmetry",
    "ceiling": f"{FREE}, the hopeless given up",
}

surface = cache(CHGNetSurface)
calculator = cache(chgnet_calculator)
hull = cache(ReferenceHull.load)

End = dict[str, Any]


def relaxed(task: Task) -> dict[str, list[End]]:
    """Return the final states of a chunk of structures, by method."""
    initial_geometries = _shaken(task) if task.how["kind"] == "known" else _proposed(task)
    surface().model, calculator()  # loading is not part of the time
    list(relax_batch([(0, initial_geometries[0], math.inf)], surface()))
    return {way: RUNS[way](initial_geometries) for way in WAYS}


def _shaken(task: Task) -> list[Structure]:
    whole, rows = crystals(task.table), torch.tensor(task.rows)
    batch, geometry = whole.templates.select(rows), whole.geometry.select(whole.templates, rows)
    _, length = unit_directions(batch, geometry)
    generator = task.generator()
    lattice = geometry.lattice + STRAIN * batch.free_lattice * torch.randn(geometry.lattice.shape, generator=generator)
    moves = torch.randn(geometry.coords.shape, generator=generator) / length
    return structures(expand(batch, Geometry(lattice, geometry.coords + MOVE * batch.free_coords * moves)))


def _proposed(task: Task) -> list[Structure]:
    plain = Request.of(n=CHUNK // 4, over_generation=15, stages=Stages(diffusion=False, mala=False, moves=False))
    return [
        found.structure for found in generate(plain, Crystals(plain, shipped()), task.generator(), Silence())[:CHUNK]
    ]


def _timed(initial_geometries: Sequence[Structure], one: Callable[[Structure], End]) -> list[End]:
    found = []
    for start in initial_geometries:
        began = time.process_time()
        end = one(start)
        found.append(end | {"seconds": time.process_time() - began})
    return found


def _fire(start: Structure) -> End:
    """Relax with FIRE, as a short script with ASE does."""
    atoms = Atoms(start.atomic_numbers, start.cart_coords, cell=start.lattice.matrix, pbc=True, calculator=calculator())
    atoms.set_constraint(FixSymmetry(atoms, symprec=0.01))
    config = RelaxConfig()
    try:
        optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)  # type: ignore[arg-type]
        converged = bool(optimizer.run(fmax=config.fmax, steps=FIRE_STEPS))
    except (RuntimeError, ValueError, ArithmeticError):
        return _end("failed", 0, math.nan, converged=False)
    energy = float(atoms.get_potential_energy()) / len(atoms)
    return _end("", optimizer.nsteps, energy, converged=converged)


def _bfgs(start: Structure) -> End:
    return _reported(relax(start, calculator())[1])


def _free(initial_geometries: Sequence[Structure], *, keep_symmetry: bool = True, limited: bool = False) -> list[End]:
    config = replace(RelaxConfig(), keep_symmetry=keep_symmetry)
    began = time.process_time()
    ceilings = [hull().ceiling(s.composition, MAX_EHULL) if limited else math.inf for s in initial_geometries]
    rows = [(i, *pair) for i, pair in enumerate(zip(initial_geometries, ceilings, strict=True))]
    ends = {index: _reported(report) for index, _, report in relax_batch(rows, surface(), config)}
    share = (time.process_time() - began) / len(initial_geometries)
    missing = _end("left out", 0, math.nan, converged=False)
    heights = [hull().ceiling(start.composition, 0.0) for start in initial_geometries]
    return [ends.get(i, missing) | {"seconds": share, "hull": heights[i]} for i in range(len(initial_geometries))]


def _reported(report: Relaxation) -> End:
    return _end(report.reason, report.steps, report.energy, converged=report.converged)


def _end(reason: str, steps: int, energy: float, *, converged: bool) -> End:
    found = energy if math.isfinite(energy) else None
    return {"converged": converged, "reason": reason, "steps": steps, "energy": found}


RUNS: dict[str, Callable[[Sequence[Structure]], list[End]]] = {
    "fire": lambda initial_geometries: _timed(initial_geometries, _fire),
    "bfgs": lambda initial_geometries: _timed(initial_geometries, _bfgs),
    "free": _free,
    "p1": lambda initial_geometries: _free(initial_geometries, keep_symmetry=False),
    "ceiling": lambda initial_geometries: _free(initial_geometries, limited=True),
}


def summary(ends: Sequence[End], usual: Sequence[End]) -> dict[str, Any]:
    """Return counts over the structures of one method, compared with FIRE."""
    pairs = [
        (end["energy"] - other["energy"])
        for end, other in zip(ends, usual, strict=True)
        if end["converged"] and other["converged"]
    ]
    return {
        "structures": len(ends),
        "converged": sum(end["converged"] for end in ends),
        "steps": fmean(end["steps"] for end in ends),
        "seconds": fmean(end["seconds"] for end in ends),
        "median_seconds": median(end["seconds"] for end in ends),
        "both": len(pairs),
        "equal": sum(abs(difference) <= EQUAL for difference in pairs),
        "lower": sum(difference < -EQUAL for difference in pairs),
        "higher": sum(difference > EQUAL for difference in pairs),
    }


def given_up(limited: Sequence[End], whole: Sequence[End]) -> dict[str, int]:
    """Return how many structures were given up, and how many of these end below the limit if continued."""
    pairs = [(a, b) for a, b in zip(limited, whole, strict=True) if a["reason"].startswith("hopeless")]
    wrong = [b for _, b in pairs if b["converged"] and b["energy"] - b["hull"] <= MAX_EHULL]
    high = [b for b in whole if b["energy"] is None or b["energy"] - b["hull"] > MAX_EHULL]
    return {"structures": len(whole), "given_up": len(pairs), "wrongly": len(wrong), "above": len(high)}


def markdown(figures: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return a table with one line per kind of initial geometry and method."""
    rows = [
        (
            kind,
            WAYS[way],
            f"{f['converged']} of {f['structures']}",
            f"{f['steps']:.1f}",
            f"{f['seconds']:.2f}",
            f"{ways['fire']['seconds'] / f['seconds']:.1f}",
            f"{percent(f['equal'], f['both'])} of {f['both']}",
            f"{f['lower']} / {f['higher']}",
        )
        for kind, ways in figures.items()
        for way, f in ways.items()
    ]
    header = (
        "initial geometries",
        "method",
        "converged",
        "steps",
        "core s",
        "× FIRE",
        "equal to FIRE",
        "lower / higher",
    )
    return table(header, rows)


KINDS = {"known": "MP-20 test, displaced", "proposed": "proposals of the prior"}


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "relaxation", 64, processes=1).parse_args()
    measurement = Measurement(options, {"relaxation": to_mapping(RelaxConfig()), "strain": STRAIN, "move": MOVE})
    half = options.n // 2
    rows = sample_rows(crystals(options.table), half)
    tasks = [
        Task(f"known {i}", options.table, options.seed, tuple(part), {"kind": "known"})
        for i, part in enumerate(chunks(rows, CHUNK))
    ]
    tasks += [
        Task(f"proposed {i}", options.table, options.seed, (), {"kind": "proposed"}) for i in range(half // CHUNK)
    ]
    results = measurement.run(relaxed, tasks)
    figures: dict[str, dict[str, Any]] = {}
    hopeless = []
    for kind, name in KINDS.items():
        parts = [results[task.key] for task in tasks if task.how["kind"] == kind]
        ends = {way: [end for part in parts for end in part[way]] for way in WAYS}
        figures[name] = {way: summary(ends[way], ends["fire"]) for way in WAYS}
        lost = given_up(ends["ceiling"], ends["free"])
        hopeless.append(
            f"Of {lost['structures']} ({name}), {lost['above']} end above 0.1 eV/atom; {lost['given_up']} were given "
            f"up on the way, {lost['wrongly']} of them wrongly."
        )
    total = {way: [figures[name][way] for name in figures] for way in WAYS}
    ratio = fmean(f["seconds"] for f in total["fire"]) / fmean(f["seconds"] for f in total["free"])
    equal, both = (sum(f[key] for f in total["free"]) for key in ("equal", "both"))
    bar = f"{ratio:.1f} × the throughput of FIRE; {percent(equal, both)} of {both} within 5 meV/atom of its energy"
    text = markdown(figures) + "\n\n" + " ".join(hopeless)
    measurement.finish({"kinds": figures, "hopeless": hopeless}, {"relaxation": text, "bar relaxation": bar})


if __name__ == "__main__":
    main()
