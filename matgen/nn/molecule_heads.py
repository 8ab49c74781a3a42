"""Distributions of the properties of a molecule from features of its atoms.

Energies, polarizability and heat capacity are sums over atoms; orbital energies are read by attention, since orbitals
are localised on some atoms; the dipole moment is the length of the vector Σ_i (q_i (r_i - r̄) + d_i).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matgen.batch.state import State
from matgen.nn.pooling import averaged, softmax_within, summed
from matgen.nn.property_heads import head, positive
from matgen.targets.calibration import Calibration, calibrated
from matgen.targets.distributions import Distribution, Logistic
from matgen.targets.properties import MOLECULE_PROPERTIES

SUMS = {"polarizability": 1.0, "atomization_energy": 0.3, "heat_capacity": 0.5}
"""Properties that are sums over atoms, and the typical deviation of a molecule from the sum over its elements."""

ATTENTION = 4
E_ANGSTROM = 4.803
"""One elementary charge times 1 Å, D."""


@dataclass(frozen=True)
class Layout:
    """Parts of the input vector of the heads: pooled and mean features, sums, dipole, references."""

    channels: int

    @property
    def width(self) -> int:
        """Length of the vector."""
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Sizes of features, sums, the dipole (D), and the sums over elements."""
        return 2 * self.channels, self.channels, 1, len(SUMS)


class MoleculeReadout(nn.Module):
    """Input vector of the heads from the atoms of a molecule.

    Attributes:
        references: contribution of each element to each sum, fitted before training (3, 95).
    """

    references: Tensor

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        self.atom = nn.Sequential(
            nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, 2 * channels + ATTENTION + 1)
        )
        self.register_buffer("references", torch.zeros(len(SUMS), 95))

    def forward(self, scalars: Tensor, elements: Tensor, system: Tensor, n_systems: int) -> tuple[Tensor, Tensor]:
        """Return features and sums, and a charge for each atom (n_atoms,).

        Args:
            scalars: (n_atoms, channels).
            elements: atomic numbers (n_atoms,).
            system: of each atom (n_atoms,).
            n_systems: number of systems.

        Returns:
            [pooled, mean | sums | references] (n_systems, 3 channels + 3), and the charges, whose sum is zero.
        """
        values, added, logits, charge = self.atom(scalars).split([self.channels, self.channels, ATTENTION, 1], dim=1)
        weights = softmax_within(logits, system, n_systems).repeat_interleave(self.channels // ATTENTION, dim=1)
        pooled = summed(values * weights, system, n_systems)
        mean = averaged(scalars, system, n_systems)
        sums = summed(added, system, n_systems)
        elementary = summed(self.references.T[elements].to(scalars), system, n_systems)
        charge = charge - averaged(charge, system, n_systems)[system]
        return torch.cat([pooled, mean, sums, elementary], dim=1), charge.squeeze(1)


class SpatialReadout(nn.Module):
    """The same from equivariant features, with the dipole as a vector."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.of_scalars = MoleculeReadout(channels, hidden)
        self.polar = nn.Sequential(nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, channels))

    def forward(self, h: Tensor, state: State) -> Tensor:
        """Return vectors (n_systems, width of `Layout`) from features of atoms (n_atoms, 9 or 18, channels)."""
        scalars, system = h[:, 0], state.system_idx
        found, charge = self.of_scalars(scalars, state.atomic_numbers, system, state.n_systems)
        centre = averaged(state.positions, system, state.n_systems)
        own = torch.einsum("nmc,nc->nm", h[:, 1:4], self.polar(scalars)) / h.shape[2] ** 0.5
        moment = summed(charge[:, None] * (state.positions - centre[system]) + own, system, state.n_systems)
        dipole = E_ANGSTROM * ((moment**2).sum(1, keepdim=True) + 1e-6).sqrt()
        return with_dipole(found, dipole)


def with_dipole(found: Tensor, dipole: Tensor) -> Tensor:
    """Return the whole vector from the result of `MoleculeReadout` and a dipole moment (n_systems, 1), D."""
    return torch.cat([found[:, : -len(SUMS)], dipole, found[:, -len(SUMS) :]], dim=1)


class MoleculeHeads(nn.Module):
    """Distributions by property from the input vector of a molecule."""

    calibration: Tensor

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layout = Layout(channels)
        self.orbitals = head(2 * channels, hidden, dropout, 6)
        self.spreads = head(2 * channels, hidden, dropout, 1 + len(SUMS))
        self.sums = nn.Linear(channels, len(SUMS), bias=False)
        self.register_buffer("calibration", torch.tensor([[1.0, 1.0, 0.0]] * len(MOLECULE_PROPERTIES)))

    def forward(self, x: Tensor) -> dict[str, Distribution]:
        """Return uncalibrated distributions of each property from x (n_systems, width)."""
        features, sums, dipole, elementary = x.split(list(self.layout.sizes), dim=1)
        homo, lumo, shift, *raws = self.orbitals(features).unbind(-1)
        homo, lumo = 0.6 * homo - 6.5, 1.3 * lumo + 0.3
        scale = [0.3 * positive(raw) for raw in raws]
        raw_dipole, *raw_sums = self.spreads(features).unbind(-1)
        found: dict[str, Distribution] = {
            "gap": Logistic(lumo - homo + 0.1 * shift, scale[0]),
            "homo": Logistic(homo, scale[1]),
            "lumo": Logistic(lumo, scale[2]),
            "dipole": Logistic(dipole.squeeze(1), 0.3 * positive(raw_dipole)),
        }
        added = self.sums(sums).unbind(-1)
        for (name, size), more, base, raw in zip(SUMS.items(), added, elementary.unbind(-1), raw_sums, strict=True):
            found[name] = Logistic(base + size * more, size * positive(raw))
        return {name: found[name] for name in MOLECULE_PROPERTIES}

    def calibrated(self, x: Tensor) -> dict[str, Distribution]:
        """Return calibrated distributions of the properties."""
        raw, numbers = self(x), self.calibration.tolist()
        rows = zip(MOLECULE_PROPERTIES, numbers, strict=True)
        return {name: calibrated(raw[name], Calibration(*row)) for name, row in rows}
