"""The geometries that a relaxation of one crystal or molecule passes through."""

import math
from collections.abc import Callable

from ase.calculators.calculator import Calculator
from pymatgen.core.structure import Molecule, Structure

from matgen.relaxation.calculators import chgnet_calculator, kept_calculator
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.optimizer import Minimisation
from matgen.relaxation.pool import surface_on
from matgen.relaxation.symmetric import relax
from matgen.relaxation.xtb import relax_molecule
from matgen.structures.candidate import Material, as_crystal
from matgen.structures.conversion import structures
from matgen.templates.expand import expand

Step = tuple[Material, float]
"""A geometry and its energy, eV/atom; at a pressure, its enthalpy."""


def relaxation_path(
    material: Material,
    make_calculator: Callable[[], Calculator] = chgnet_calculator,
    config: RelaxConfig | None = None,
    device: str = "cpu",
) -> list[Step]:
    """Relax a material alone, and return every geometry that lowered its energy, the initial one first.

    It takes the steps that `relax_many` and `relax_molecules` take: a crystal by CHGNet in its free parameters, where
    these can describe it, and otherwise by ASE, a molecule by GFN2-xTB. In a batch with others, they are the same up to
    rounding.

    Args:
        material: to relax.
        make_calculator: function of a module that makes the ASE calculator of crystals; each process calls it once.
        config: thresholds of crystals; the defaults if None.
        device: of CHGNet in free parameters.
    """
    lowered = Lowered()
    if isinstance(material, Molecule):
        relax_molecule(material, watch=lowered)
        return lowered.path
    if make_calculator is chgnet_calculator and (path := _in_free_parameters(material, surface_on(device), config)):
        return path
    relax(material, kept_calculator(make_calculator), config, watch=lowered)
    return lowered.path


class Lowered:
    """Keeps the geometries that lowered the energy.

    Attributes:
        path: they, and their energies.
    """

    def __init__(self) -> None:
        self.path: list[Step] = []

    def __call__(self, material: Material, energy: float) -> None:
        """Take a geometry and its energy, eV/atom."""
        if not self.path or energy < self.path[-1][1]:
            self.path.append((material, energy))


def _in_free_parameters(structure: Structure, surface: CHGNetSurface, config: RelaxConfig | None) -> list[Step]:
    """Return the path of a crystal; empty for one that free parameters cannot describe."""
    lowered = Lowered()

    def watch(running: Minimisation) -> None:
        problems, best = running.problems, running.best
        (material,) = structures(expand(problems.templates, problems.geometry(best.x)))
        lowered(as_crystal(material), float(best.energy[0] / problems.n_atoms[0]))

    for _ in relax_batch([(0, structure, math.inf)], surface, config, watch=watch):
        pass
    return lowered.path
