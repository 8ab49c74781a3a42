"""Relaxation in the free parameters of templates, many crystals side by side.

A crystal of high symmetry has a handful of free parameters; a quasi-Newton minimisation in them, from a guess of the
stiffness of lattice and atoms, needs some ten evaluations, and cannot leave the space group. Each crystal is relaxed
independently; they share the calls of the network and of the optimizer.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from ase.units import GPa
from pymatgen.core.structure import Structure
from torch import Tensor

from matgen.relaxation.chgnet_surface import CHGNetSurface, Slope
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.operations import operations
from matgen.relaxation.optimizer import Minimisation, Points, joined
from matgen.relaxation.outcome import CONVERGED
from matgen.relaxation.problem import RelaxationProblems
from matgen.structures.candidate import Relaxation, as_crystal
from matgen.structures.conversion import described, structures, without_symmetry
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.symmetry import NoTemplateError

Result = tuple[int, Structure, Relaxation]
"""Index of a structure, its final geometry, and the report."""


def relax_batch(
    tasks: Iterable[tuple[int, Structure, float]],
    surface: CHGNetSurface,
    config: RelaxConfig | None = None,
    slots: int = 16,
    *,
    fixed_cell: bool = False,
    watch: Callable[[Minimisation], None] = lambda _: None,
) -> Iterator[Result]:
    """Relax structures, up to `slots` at a time, and yield each result once it is ready.

    A structure is left out if it cannot be described by free parameters: an element is unknown, no symmetry is found,
    the atoms do not have the symmetry that is found, or an atom has no neighbours.

    Args:
        tasks: index, structure, and the energy in eV/atom above which its relaxation is not worth finishing.
        surface: the potential.
        config: thresholds.
        slots: crystals that are relaxed at once.
        fixed_cell: relax the atoms in the cell that is given, whatever its stress.
        watch: is called with the state of all relaxations after each step.
    """
    config = config or RelaxConfig()
    waiting = _described(tasks, config, surface.heaviest)
    running: Minimisation | None = None
    while True:
        fresh = list(islice(waiting, slots - (0 if running is None else len(running.steps))))
        begun = _begun(fresh, surface.device) if fresh else None
        running = joined(running, begun) if running is not None and begun is not None else running or begun
        if running is None:
            if not fresh:
                return
            continue
        point, isolated = _points(running, surface, config.pressure, fixed_cell=fixed_cell)
        running = running.updated(point, config)
        watch(running)
        left_out = (isolated & (running.steps == 0)).tolist()
        reasons = ["left out" if left else why for left, why in zip(left_out, running.ends(config), strict=True)]
        ended = [i for i, why in enumerate(reasons) if why and not left_out[i]]
        if ended:
            yield from _results(_selected(running, ended), [reasons[i] for i in ended], surface.name, config.pressure)
        kept = [i for i, why in enumerate(reasons) if not why]
        if len(kept) < len(reasons):
            running = _selected(running, kept) if kept else None


@dataclass(frozen=True)
class _Described:
    """A structure as template and free parameters, with what comes with its task."""

    index: int
    template: CrystalTemplate
    geometry: Geometry
    ceiling: float
    started: float


def _described(
    tasks: Iterable[tuple[int, Structure, float]], config: RelaxConfig, heaviest: int
) -> Iterator[_Described]:
    """Describe structures by free parameters, where these can."""
    for index, structure, ceiling in tasks:
        started = time.perf_counter()
        if not (np.isfinite(structure.frac_coords).all() and np.isfinite(structure.lattice.matrix).all()):
            continue
        try:
            found = described(structure, config.symprec) if config.keep_symmetry else without_symmetry(structure)
        except NoTemplateError:
            continue
        if max(structure.atomic_numbers) <= heaviest:
            yield _Described(index, *found, ceiling, started)


def _begun(fresh: Sequence[_Described], device: str) -> Minimisation | None:
    """Begin relaxations; without those whose atoms do not have the symmetry of their template."""
    templates = TemplateBatch.of([one.template for one in fresh]).to(device)
    lattice = torch.cat([one.geometry.lattice for one in fresh]).double()
    coords = torch.cat([one.geometry.coords for one in fresh]).double()
    geometry = Geometry(lattice, coords).to(device)
    symmetry, fits = operations(templates, expand(templates, geometry))
    problems = RelaxationProblems(
        templates,
        geometry,
        symmetry,
        torch.tensor([one.ceiling for one in fresh], dtype=torch.float64).to(device),
        tuple(one.index for one in fresh),
        tuple(one.started for one in fresh),
    )
    fitting = [i for i, fit in enumerate(fits.tolist()) if fit]
    if len(fitting) < len(fresh):
        problems = problems.select(_rows(fitting, fits))
    return Minimisation.of(problems) if fitting else None


def _points(
    running: Minimisation, surface: CHGNetSurface, pressure: float, *, fixed_cell: bool = False
) -> tuple[Points, Tensor]:
    """Return the points at the proposed parameters, and which systems have an isolated atom (n_systems,).

    At a pressure (GPa) their energies are enthalpies E + p V. The last lattice parameter k is √3 ln V / 3 and the
    others leave the volume as it is, so that ∂(p V)/∂k = √3 p V; the stress that vanishes is σ + p.
    Without a slope along the lattice parameters, and nothing in the guess of the stiffness that couples them to the
    coordinates, the optimizer leaves a fixed cell as it is.
    """
    problems, x = running.problems, running.proposed()
    geometry = problems.geometry(x)
    slope: Slope = surface.slope(problems.templates, geometry, problems.symmetry)
    if pressure:
        slope = at_pressure(slope, pressure)
    by_coords = torch.where(problems.templates.free_coords, slope.coords, 0.0)
    by_lattice, stress = slope.lattice, slope.stress.abs().amax((1, 2))
    if fixed_cell:
        by_lattice, stress = torch.zeros_like(by_lattice), torch.zeros_like(stress)
    point = Points(
        x=x,
        energy=slope.energy,
        slope=problems.parameters(Geometry(by_lattice, slope.coords)),
        max_force=problems.max_force(geometry, by_coords),
        max_stress=stress,
        volume=slope.volume,
    )
    return point, slope.isolated


def at_pressure(slope: Slope, pressure: float) -> Slope:
    """Return enthalpies and their derivatives from those of energies.

    Args:
        slope: of the energies.
        pressure: GPa.
    """
    work, unit = pressure * GPa * slope.volume, torch.eye(3).to(slope.stress)
    lattice = slope.lattice.clone()
    lattice[:, 5] += math.sqrt(3) * work
    return replace(slope, energy=slope.energy + work, lattice=lattice, stress=slope.stress + pressure * GPa * unit)


def _selected(running: Minimisation, rows: Sequence[int]) -> Minimisation:
    return running.select(_rows(rows, running.steps))


def _rows(rows: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=torch.long).to(like.device)


def _results(ended: Minimisation, reasons: Sequence[str], potential: str, pressure: float) -> Iterator[Result]:
    problems, best = ended.problems, ended.best
    final = structures(expand(problems.templates, problems.geometry(best.x)))
    work = pressure * GPa * torch.stack([best.volume, ended.first_volume], dim=1)
    per_atom = (torch.stack([best.energy, ended.first_energy], dim=1) - work) / problems.n_atoms[:, None]
    works = (work[:, 0] / problems.n_atoms).tolist()
    numbers = torch.cat([per_atom, torch.stack([best.max_force, best.max_stress], dim=1)], dim=1).tolist()
    now, steps = time.perf_counter(), ended.steps.tolist()
    for i, reason in enumerate(reasons):
        energy, before, force, stress = numbers[i]
        report = Relaxation(
            converged=reason == CONVERGED,
            reason=reason,
            steps=steps[i],
            energy=energy,
            energy_before=before,
            max_force=force,
            max_stress=stress,
            seconds=now - problems.started[i],
            potential=potential,
            pressure=pressure,
            work=works[i],
        )
        yield problems.index[i], as_crystal(final[i]), report
