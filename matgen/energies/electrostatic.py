r"""The electrostatic energy of formal charges in a crystal, by Ewald summation.

    E = ½ Σ_ij Σ'_n q_i q_j erf(r / √2 a) / r · 14.3996 eV Å

Charges are Gaussians rather than points, which keeps the energy finite where atoms meet: this is the energy of
Gaussians of standard deviation a / √2, a = `WIDTH`. At the bonds of crystals it makes no difference: at 1.5 Å the pair
energies agree to 1e-6.

The summation is that of torch-pme (Loche et al., J. Chem. Phys. 162, 142501, 2025).
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor
from torchpme import CoulombPotential, EwaldCalculator
from torchpme.prefactors import eV_A

from matgen.batch.neighbors import neighbors
from matgen.batch.state import State
from matgen.chemistry.elements import reduced
from matgen.chemistry.formal_charges import formal_charges
from matgen.energies.base import Energy

Formula = tuple[tuple[int, int], ...]
"""Atomic numbers and counts of a reduced formula, ascending."""

WIDTH = 0.3
"""Width a of two charges together, Å: each has a standard deviation of a / √2."""

SMEARING = 0.3
"""Width by which the sum is split into its two parts, in cube roots of the volume; the energy does not depend on it."""

REACH = 6.0
"""Cutoff of the sum over pairs, in smearings: erfc(6 / √2) is 2e-9."""

WAVELENGTH = 0.45
"""Shortest wavelength of the other sum, in smearings; the Gaussian has fallen to 2.6e-11 there (torch-pme takes wave
vectors up to half of 2π over it)."""


class Electrostatic(Energy):
    """E / (N kT) of the formal charges of each system's composition.

    It is zero for molecules, and for compositions whose oxidation states do not balance, such as alloys: see
    `matgen.chemistry.formal_charges`. Energies of different compositions cannot be compared.

    Attributes:
        kT: eV/atom.
    """

    name = "electrostatic"

    def __init__(
        self, kT: float = 0.1, charges: Callable[[Formula], Mapping[int, float] | None] = formal_charges
    ) -> None:
        """Take kT, and the function that gives charges in e by atomic number, or None, for a reduced formula."""
        super().__init__()
        if not kT > 0:
            raise ValueError(f"expected kT above 0 eV/atom, got {kT}; 0.1 eV/atom is a usual value")
        self.kT, self.charges = kT, charges

    def forward(self, state: State, sigma: Tensor) -> Tensor:  # noqa: ARG002 (the noise level changes nothing)
        """Energy (n_systems,), the same at every noise level."""
        per_atom = ewald(state, self._charges(state)) / state.n_atoms
        return (per_atom / self.kT).to(state.positions.dtype)

    def _charges(self, state: State) -> Tensor:
        """Charge of each atom (n_atoms,), e; zero in systems without charges, or that are not periodic."""
        rows = []
        for numbers, periodic in zip(
            state.atomic_numbers.cpu().split(state.n_atoms.tolist()), state.pbc.all(1).tolist(), strict=True
        ):
            elements = numbers.tolist()
            found = self.charges(reduced(Counter(elements))) if periodic else None
            rows += [0.0] * len(elements) if found is None else [found[z] for z in elements]
        return torch.tensor(rows, dtype=torch.float64, device=state.positions.device)


def ewald(state: State, charges: Tensor) -> Tensor:
    """Return the electrostatic energies of a batch (n_systems,), eV per cell, in float64.

    Args:
        state: crystals.
        charges: of the atoms (n_atoms,), e; a system whose charges are all zero costs nothing. A system with a net
            charge gets a uniform background of the opposite charge.
    """
    positions, cells = state.positions.double(), state.cell.double()
    energies = []
    counts = state.n_atoms.tolist()
    for system, (x, q) in enumerate(zip(positions.split(counts), charges.split(counts), strict=True)):
        energies.append(_of_one(x, cells[system], q) if bool(q.any()) else cells[system].sum() * 0.0)
    return torch.stack(energies) if energies else charges.new_zeros(0)


def _of_one(positions: Tensor, cell: Tensor, charges: Tensor) -> Tensor:
    """Energy of one crystal, eV."""
    smearing = SMEARING * float(torch.linalg.det(cell.detach()).abs()) ** (1 / 3)
    alone = State.of(
        positions,
        torch.ones_like(charges, dtype=torch.long),
        cell[None],
        torch.ones(1, 3, dtype=torch.bool, device=cell.device),
        torch.zeros_like(charges, dtype=torch.long),
    )
    edges = neighbors(alone, max(REACH * smearing, REACH * WIDTH))
    distances = edges.vectors(alone).square().sum(1).clamp(min=1e-12).sqrt()
    pairs = torch.stack([edges.centre, edges.neighbor], dim=1)
    potential = _calculator(smearing)(charges[:, None], cell, positions, pairs, distances)
    points = (charges[:, None] * potential).sum()
    missing = charges[edges.centre] * charges[edges.neighbor] * torch.erfc(distances / (math.sqrt(2) * WIDTH))
    return eV_A * (points - 0.5 * (missing / distances).sum())


@lru_cache(maxsize=8)
def _calculator(smearing: float) -> EwaldCalculator:
    return EwaldCalculator(
        CoulombPotential(smearing=smearing), lr_wavelength=WAVELENGTH * smearing, full_neighbor_list=True
    ).double()
