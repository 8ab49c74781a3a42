"""Interatomic potentials as energies: any ASE calculator, over kT."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch import Tensor
from torch.autograd.function import once_differentiable

from matgen.batch.state import State
from matgen.energies.base import Energy


class Potential(Energy):
    """E / kT of an ASE calculator, or E / (N kT), with slopes from its forces and stress.

    Systems are evaluated one by one, on the CPU unless the calculator does otherwise, in float64. The slope in the cell
    needs the stress, which not every calculator provides.

    Attributes:
        kT: eV; with `per_atom`, eV/atom.
        per_atom: divide by the number of atoms, to compare cells of different sizes.
    """

    def __init__(
        self,
        calculator: Calculator | Callable[[], Calculator],
        kT: float = 0.1,
        *,
        per_atom: bool = False,
        name: str = "potential",
    ) -> None:
        """Take a calculator, or a function that makes one at its first use."""
        super().__init__()
        if not kT > 0:
            raise ValueError(f"expected kT above 0 eV, got {kT}; 0.1 eV is a usual value")
        self._given = calculator
        self._made: Calculator | None = None
        self.kT, self.per_atom, self.name = kT, per_atom, name

    @property
    def calculator(self) -> Calculator:
        """The ASE calculator."""
        if self._made is None:
            self._made = self._given if isinstance(self._given, Calculator) else self._given()
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_made": None}  # another process makes its own

    def forward(self, state: State, sigma: Tensor) -> Tensor:  # noqa: ARG002 (the noise level changes nothing)
        """E / kT (n_systems,), the same at every noise level."""
        energy = _Energies.apply(state.positions, state.cell, state, self.calculator)
        return energy / (self.kT * state.n_atoms.to(energy) if self.per_atom else self.kT)


class _Energies(torch.autograd.Function):
    """Energies (n_systems,) in eV of positions (n_atoms, 3) and cells (n_systems, 3, 3), in Å.

    Positions X and cell C (rows) are independent inputs. With g = ∂E/∂X = -forces and the symmetric strain
    derivative V σ of X → X (1 + ε), C → C (1 + ε), the chain rule reads V σ = Xᵀ g + Cᵀ G, hence
    G = ∂E/∂C = C⁻ᵀ (V σ - Xᵀ g).
    """

    @staticmethod
    def forward(ctx: Any, positions: Tensor, cell: Tensor, state: State, calculator: Calculator) -> Tensor:
        slopes, cell_slopes, energies = [], [], []
        with torch.enable_grad(), _quiet():  # for calculators that are torch models
            for atoms in _each(state):
                atoms.calc = calculator
                energies.append(float(atoms.get_potential_energy()))
                if any(ctx.needs_input_grad[:2]):
                    slopes.append(-atoms.get_forces())
                if ctx.needs_input_grad[1]:
                    cell_slopes.append(_cell_slope(atoms, slopes[-1]))
        ctx.save_for_backward(
            torch.tensor(np.concatenate(slopes)).to(positions) if slopes else torch.zeros_like(positions),
            torch.tensor(np.array(cell_slopes)).to(cell) if cell_slopes else torch.zeros_like(cell),
            state.system_idx,
        )
        return torch.tensor(energies, dtype=torch.float64).to(positions)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor, None, None]:
        slope, cell_slope, system_idx = ctx.saved_tensors
        return weight[system_idx, None] * slope, weight[:, None, None] * cell_slope, None, None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence CHGNet's warning about its own cell volumes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True")
        yield


def _each(state: State) -> list[Atoms]:
    """The systems of a batch as ASE Atoms."""
    positions = state.positions.detach().double().cpu().numpy()
    cells, pbc = state.cell.detach().double().cpu().numpy(), state.pbc.cpu().numpy()
    numbers, ends = state.atomic_numbers.cpu().numpy(), np.cumsum(state.n_atoms.tolist())[:-1]
    parts = zip(np.split(numbers, ends), np.split(positions, ends), cells, pbc, strict=True)
    return [Atoms(numbers=z, positions=x, cell=c, pbc=p) for z, x, c, p in parts]


def _cell_slope(atoms: Atoms, slope: np.ndarray) -> np.ndarray:
    """∂E/∂C (3, 3) in eV/Å at fixed positions; zero if the system is not periodic."""
    if not atoms.pbc.any():
        return np.zeros((3, 3))
    stress = atoms.get_stress(voigt=False)
    return np.linalg.solve(atoms.cell.array.T, atoms.get_volume() * stress - atoms.positions.T @ slope)
