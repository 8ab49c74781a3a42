"""The geometries that a relaxation of one crystal passes through."""

import math

from pymatgen.core.structure import Structure

from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.optimizer import Minimisation
from matgen.structures.candidate import as_crystal
from matgen.structures.conversion import structures
from matgen.templates.expand import expand

Step = tuple[Structure, float]
"""A geometry and its energy, eV/atom; at a pressure, its enthalpy."""


def relaxation_path(structure: Structure, surface: CHGNetSurface, config: RelaxConfig | None = None) -> list[Step]:
    """Relax a crystal alone, and return every geometry that lowered its energy, the initial one first.

    In a batch with others, the same relaxation takes the same steps up to rounding.

    Args:
        structure: to relax.
        surface: the potential.
        config: thresholds.

    Returns:
        The path; empty for a crystal that free parameters cannot describe.
    """
    found: list[Step] = []

    def watch(running: Minimisation) -> None:
        problems, best = running.problems, running.best
        energy = float(best.energy[0] / problems.n_atoms[0])
        if not found or energy != found[-1][1]:
            (material,) = structures(expand(problems.templates, problems.geometry(best.x)))
            found.append((as_crystal(material), energy))

    for _ in relax_batch([(0, structure, math.inf)], surface, config, watch=watch):
        pass
    return found
