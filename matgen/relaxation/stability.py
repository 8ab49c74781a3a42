"""Whether a relaxed crystal is a minimum: after a random displacement, it should relax back.

A minimum among structures of one space group may be a saddle point among all. A small random displacement of every
atom and strain of the cell, relaxed without symmetry, finds a lower minimum if one is near in this primitive cell;
instabilities that double the cell are not seen. It is a cheap substitute for phonons.
"""

import math
from dataclasses import replace

import numpy as np
from pymatgen.core.structure import Structure

from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.pool import RelaxingPotential
from matgen.structures.candidate import Candidate, Verdict

IS_MINIMUM = "is_minimum"

AMPLITUDE = 0.05
"""Standard deviation of the displacement of each coordinate, Å."""

STRAIN = 0.01
"""Standard deviation of each component of the strain."""

SAME_ENERGY = 0.003
"""eV/atom within which an energy counts as that of the symmetric crystal."""


def is_minimum(
    candidate: Candidate, potential: RelaxingPotential, config: RelaxConfig | None = None, seed: int = 0
) -> Verdict:
    """Relax a relaxed crystal again from displaced atoms, without symmetry, and compare energies.

    Args:
        candidate: relaxed by the potential.
        potential: relaxes again.
        config: thresholds of the relaxation.
        seed: of the displacement.

    Returns:
        Passed if the energy falls by at most `SAME_ENERGY`; the value is the fall, eV/atom.
    """
    displaced = _displaced(candidate.crystal, np.random.default_rng(seed))
    free = replace(config or RelaxConfig(), keep_symmetry=False)
    found = potential.relax(displaced, free)
    if candidate.relaxation is None or candidate.relaxation.potential != potential.name or found is None:
        reason = f"not known: not relaxed by {potential.name}, or outside its domain"
        return Verdict(IS_MINIMUM, passed=False, value=math.nan, unit="eV/atom", reason=reason)
    _, report = found
    lower = candidate.relaxation.enthalpy - report.enthalpy
    if not math.isfinite(lower):
        reason = f"not known: no energies to compare; without symmetry the relaxation ended {report.reason}"
        return Verdict(IS_MINIMUM, passed=False, value=math.nan, unit="eV/atom", reason=reason)
    if not report.converged and lower <= SAME_ENERGY:
        reason = f"not known: without symmetry the relaxation ended {report.reason}"
        return Verdict(IS_MINIMUM, passed=False, value=lower, unit="eV/atom", reason=reason)
    passed = lower <= SAME_ENERGY
    result = "relaxes back" if passed else f"finds a minimum {lower:.3f} eV/atom lower, with less symmetry"
    reason = f"displaced by {AMPLITUDE:g} Å, strained by {STRAIN:.0%} and relaxed without symmetry, it {result}"
    return Verdict(IS_MINIMUM, passed, lower, "eV/atom", reason)


def _displaced(crystal: Structure, random: np.random.Generator) -> Structure:
    strain = random.normal(0.0, STRAIN, (3, 3))
    cell = crystal.lattice.matrix @ (np.eye(3) + (strain + strain.T) / 2)
    moved = Structure(cell, [site.specie for site in crystal], crystal.frac_coords)
    for index, move in enumerate(random.normal(0.0, AMPLITUDE, (len(crystal), 3))):
        moved.translate_sites([index], move, frac_coords=False)
    return moved
