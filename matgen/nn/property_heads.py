"""From a vector per crystal to distributions of its properties."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matgen.targets.calibration import Calibration, calibrated
from matgen.targets.distributions import Distribution, Hurdle, Logistic
from matgen.targets.properties import CRYSTAL_PROPERTIES, HULL_BEND, PROPERTIES

LEGACY, CHGNET = "formation_energy_megnet2018", "formation_energy_chgnet"
"""Auxiliary outputs: formation energy with the corrections of 2018, and that of CHGNet."""

SMALLEST_SCALE = 0.003


class PropertyHeads(nn.Module):
    """Three small networks: gap, energy above hull, and three kinds of formation energy.

    CHGNet's formation energy is known for all training rows; the other two are predicted as small corrections to it,
    so that all rows contribute.
    """

    calibration: Tensor

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.gap = head(width, hidden, dropout, 3)
        self.hull = head(width, hidden, dropout, 3)
        self.energy = head(width, hidden, dropout, 6)
        self.register_buffer("calibration", torch.tensor([[1.0, 1.0, 0.0]] * len(CRYSTAL_PROPERTIES)))

    def forward(self, x: Tensor) -> dict[str, Distribution]:
        """Return uncalibrated distributions, including the two auxiliary ones, from x (n_systems, width)."""
        gap = gap_of(self.gap(x))
        logit, loc, raw = self.hull(x).unbind(-1)
        bend = HULL_BEND
        hull = Hurdle(logit, bend * (loc + 1), bend * positive(raw), bend, PROPERTIES["energy_above_hull"].zero)
        chgnet, shift, legacy_shift, *raws = self.energy(x).unbind(-1)
        energy = chgnet - 1.0
        scale_chgnet, scale, scale_legacy = (0.2 * positive(raw) for raw in raws)
        return {
            "band_gap": gap,
            "formation_energy": Logistic(energy + 0.1 * shift, scale),
            "energy_above_hull": hull,
            LEGACY: Logistic(energy + 0.1 * (shift + legacy_shift), scale_legacy),
            CHGNET: Logistic(energy, scale_chgnet),
        }

    def calibrated(self, x: Tensor) -> dict[str, Distribution]:
        """Return calibrated distributions of the properties."""
        raw, numbers = self(x), self.calibration.tolist()
        return {
            name: calibrated(raw[name], Calibration(*row))
            for name, row in zip(CRYSTAL_PROPERTIES, numbers, strict=True)
        }


def gap_of(numbers: Tensor) -> Hurdle:
    """Return the distribution of the gap from the output of its head (..., 3)."""
    logit, loc, raw = numbers.unbind(-1)
    return Hurdle(logit, 2 * loc + 1.5, positive(raw), math.inf, PROPERTIES["band_gap"].zero)


def head(width: int, hidden: int, dropout: float, n: int) -> nn.Sequential:
    """Return a small network with n outputs."""
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Dropout(dropout), nn.Linear(hidden, n))


def positive(raw: Tensor) -> Tensor:
    """Return a scale of at least `SMALLEST_SCALE` from any number."""
    return F.softplus(raw) + SMALLEST_SCALE
