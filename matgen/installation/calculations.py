"""One small calculation by each method that gives an energy, compared with its value on the machine of the tests."""

import math
import time
from collections.abc import Callable

import torch
from ase.build import molecule
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from tblite.ase import TBLite

from matgen.energies.graph import GraphNetworkEnergy
from matgen.installation.finding import Finding, install
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.xtb import METHOD
from matgen.structures.conversion import state_of
from matgen.weights.models import load

CHGNET_OF_SALT = -3.66643
"""Energy of rock salt at 5.64 Å by CHGNet 0.3.0, eV/atom (chgnet 0.4.2, torch 2.13)."""

GRAPH_OF_SALT = -3.7483
"""Graph energy of its primitive cell at σ = 0.05 Å, dimensionless (weights of version 0.3)."""

XTB_OF_WATER = -137.96778
"""Energy of water at ASE's geometry by GFN2-xTB, eV (tblite 0.8.0)."""

TOLERANCE = 2e-3
"""Largest difference, eV/atom, eV or dimensionless: thirty times that of another processor's float32 sums."""


def rock_salt() -> Structure:
    """Return the primitive cell of NaCl, a = 5.64 Å."""
    sites = ["Na", "Cl"], [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), *sites).get_primitive_structure()


def chgnet_finding() -> Finding:
    """Calculate rock salt by CHGNet."""
    return compared("CHGNet", "NaCl", _chgnet_of_salt, CHGNET_OF_SALT, "eV/atom", "chgnet")


def graph_energy_finding() -> Finding:
    """Calculate rock salt by the learned graph energy."""
    return compared("graph energy", "NaCl", _graph_of_salt, GRAPH_OF_SALT, "(dimensionless)", "torch")


def xtb_finding() -> Finding:
    """Calculate water by GFN2-xTB."""
    return compared(METHOD, "H2O", _xtb_of_water, XTB_OF_WATER, "eV", "tblite")


def compared(
    subject: str, of: str, calculated: Callable[[], float], expected: float, unit: str, package: str
) -> Finding:
    """Return whether a calculation has the expected value.

    Args:
        subject: of the finding.
        of: formula of what is calculated.
        calculated: the calculation.
        expected: its value.
        unit: of both.
        package: to install again if the value is another one.
    """
    started = time.perf_counter()
    found = calculated()
    text = f"{of}: {found:.4f} {unit} in {time.perf_counter() - started:.1f} s"
    if math.isclose(found, expected, abs_tol=TOLERANCE, rel_tol=0.0):
        return Finding(subject, "ok", text)
    advice = install(package, options="--force-reinstall --no-deps")
    return Finding(subject, "broken", f"{text}, expected {expected:.4f}", advice)


def _chgnet_of_salt() -> float:
    atoms = AseAtomsAdaptor.get_atoms(rock_salt())
    atoms.calc = chgnet_calculator()
    return float(atoms.get_potential_energy()) / len(atoms)


@torch.no_grad()
def _graph_of_salt() -> float:
    return float(GraphNetworkEnergy(load("graph_energy"))(state_of([rock_salt()]), torch.tensor([0.05])))


def _xtb_of_water() -> float:
    water = molecule("H2O")
    water.calc = TBLite(method=METHOD, verbosity=0)
    return float(water.get_potential_energy())
