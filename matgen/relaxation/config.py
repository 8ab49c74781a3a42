"""Thresholds of the relaxation of a crystal."""

from dataclasses import dataclass

from matgen.runtime.config import ConfigError, check_least, check_positive

MAX_PRESSURE = 500.0
"""Highest pressure, GPa; that of the centre of the Earth is 360 GPa."""


@dataclass(frozen=True)
class RelaxConfig:
    """When a relaxation is converged, and when it is given up.

    Attributes:
        fmax: largest force on an atom at convergence, eV/Å.
        smax: largest component of the stress at convergence, eV/Å³ (0.002 is 0.32 GPa).
        max_steps: most steps of the optimizer.
        keep_symmetry: fix the space group of the initial structure.
        symprec: tolerance of finding it, Å.
        patience: steps without progress after which a relaxation is given up as stalled.
        progress: least decrease in energy that counts as progress, eV/atom.
        max_volume_change: factor in volume beyond which a relaxation is given up as exploded.
        pressure: GPa; above 0 the enthalpy is minimised, and energies in these thresholds are enthalpies.
    """

    fmax: float = 0.05
    smax: float = 0.002
    max_steps: int = 120
    keep_symmetry: bool = True
    symprec: float = 0.01
    patience: int = 25
    progress: float = 1e-4
    max_volume_change: float = 3.0
    pressure: float = 0.0

    def __post_init__(self) -> None:
        """Raise ConfigError if a number is out of range."""
        check_positive(self, "fmax", "smax", "symprec")
        check_least(self, 1, "max_steps", "patience")
        check_least(self, 0, "progress")
        if not self.max_volume_change > 1:
            raise ConfigError(f"expected max_volume_change above 1, got {self.max_volume_change}; it is a factor")
        if not 0 <= self.pressure <= MAX_PRESSURE:
            raise ConfigError(f"expected pressure from 0 to {MAX_PRESSURE:g} GPa, got {self.pressure:g}")
