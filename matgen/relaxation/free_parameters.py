"""Relaxation in the free parameters of templates, many crystals side by side.

A crystal of high symmetry has a handful of free parameters; a quasi-Newton minimisation in them, from a guess of the
stiffness of lattice and atoms, needs some ten evaluations, and cannot leave the space group. Each crystal is relaxed
independently; they share only the calls of the network.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from pymatgen.core.structure import Structure

from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.optimizer import Optimizer, Point
from matgen.relaxation.outcome import CONVERGED
from matgen.relaxation.problem import RelaxationProblem
from matgen.relaxation.quotient_graph import SymmetryMismatchError
from matgen.structures.candidate import Relaxation, as_crystal
from matgen.structures.conversion import described, structures, without_symmetry
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.templates.symmetry import NoTemplateError


def relax_batch(
    tasks: Iterable[tuple[int, Structure, float]],
    surface: CHGNetSurface,
    config: RelaxConfig | None = None,
    slots: int = 16,
) -> Iterator[tuple[int, Structure, Relaxation]]:
    """Relax structures, up to `slots` at a time, and yield each result once it is ready.

    A structure is left out if it cannot be described by free parameters: an element is unknown, no symmetry is found,
    the atoms do not have the symmetry that is found, or an atom has no neighbours.

    Args:
        tasks: index, structure, and the energy in eV/atom above which its relaxation is not worth finishing.
        surface: the potential.
        config: thresholds.
        slots: crystals that are relaxed at once.
    """
    config = config or RelaxConfig()
    problems = filter(None, (_problem(*task, surface, config) for task in tasks))
    running: list[Optimizer] = []
    while True:
        fresh = list(islice(problems, slots - len(running)))
        if not fresh and not running:
            return
        queries = [(problem, problem.x0) for problem in fresh] + [(one.problem, one.proposed()) for one in running]
        points = _points(queries, surface)
        for optimizer, point in zip(running, points[len(fresh) :], strict=True):
            optimizer.update(point)
        running += [Optimizer(problem, point, config) for problem, point in zip(fresh, points, strict=False)]
        ends = [(optimizer, optimizer.end()) for optimizer in running]
        yield from (_result(optimizer, reason, surface.name) for optimizer, reason in ends if reason)
        running = [optimizer for optimizer, reason in ends if not reason]


def _problem(
    index: int, structure: Structure, ceiling: float, surface: CHGNetSurface, config: RelaxConfig
) -> RelaxationProblem | None:
    """The problem that a structure poses; None where free parameters cannot describe it."""
    if not (np.isfinite(structure.frac_coords).all() and np.isfinite(structure.lattice.matrix).all()):
        return None
    try:
        template, found = described(structure, config.symprec) if config.keep_symmetry else without_symmetry(structure)
        batch, geometry = TemplateBatch.of([template]), Geometry(found.lattice.double(), found.coords.double())
        (symmetry,) = surface.symmetry(batch, geometry)
    except (NoTemplateError, SymmetryMismatchError):
        return None
    if surface.isolated(batch, geometry).any():
        return None
    return RelaxationProblem(index, batch, geometry, symmetry, ceiling)


def _points(queries: list[tuple[RelaxationProblem, np.ndarray]], surface: CHGNetSurface) -> list[Point]:
    """Energy and derivatives at free parameters of each problem, in one call of the network."""
    geometries = [problem.geometry(x) for problem, x in queries]
    pairs = zip(queries, geometries, strict=True)
    batch, geometry = concatenated([(problem.batch, geometry) for (problem, _), geometry in pairs])
    slope = surface.slope(batch, geometry, [problem.symmetry for problem, _ in queries])
    by_coords = slope.coords.split([len(problem.batch.site_position) for problem, _ in queries])
    return [
        Point(
            x=x,
            energy=float(slope.energy[k]),
            slope=torch.cat([slope.lattice[k], by_coords[k].ravel()]).numpy()[problem.free],
            max_force=problem.max_force(geometries[k], by_coords[k].numpy()),
            max_stress=float(slope.stress[k].abs().max()),
            volume=float(slope.volume[k]),
        )
        for k, (problem, x) in enumerate(queries)
    ]


def _result(optimizer: Optimizer, reason: str, potential: str) -> tuple[int, Structure, Relaxation]:
    problem, best = optimizer.problem, optimizer.best
    report = Relaxation(
        converged=reason == CONVERGED,
        reason=reason,
        steps=optimizer.steps,
        energy=best.energy / problem.n_atoms,
        energy_before=optimizer.first.energy / problem.n_atoms,
        max_force=best.max_force,
        max_stress=best.max_stress,
        seconds=time.perf_counter() - problem.started,
        potential=potential,
    )
    crystal = as_crystal(structures(expand(problem.batch, problem.geometry(best.x)))[0])
    return problem.index, crystal, report
