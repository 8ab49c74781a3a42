"""The work of a pressure as an energy: p V, which makes an energy an enthalpy."""

from ase.units import GPa
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy


class PressureVolume(Energy):
    """Work p V / (N kT), with the volume V of the cell and its N atoms; zero for molecules.

    Attributes:
        pressure: GPa.
        kT: eV/atom.
    """

    name = "pressure"

    def __init__(self, pressure: float, kT: float = 0.1) -> None:
        super().__init__()
        if not kT > 0:
            raise ValueError(f"expected kT above 0 eV/atom, got {kT}; 0.1 eV/atom is a usual value")
        self.pressure, self.kT = pressure, kT

    def forward(self, state: State, sigma: Tensor) -> Tensor:  # noqa: ARG002 (the noise level changes nothing)
        """Energy (n_systems,), the same at every noise level."""
        work = self.pressure * GPa * state.volume / state.n_atoms / self.kT
        return work * state.pbc.all(1)
