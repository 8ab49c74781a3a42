"""How a relaxation ends: converged, given up, or failed."""

import math

from matgen.relaxation.config import RelaxConfig
from matgen.structures.candidate import Relaxation

RELAXATION_ERRORS = (RuntimeError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError, AssertionError)
"""Exceptions that a structure may cause without a fault of the program.

CHGNet raises ValueError on isolated atoms and RuntimeError on unknown elements, ASE subclasses of RuntimeError, tables
of parameters LookupError, numpy LinAlgError (a ValueError).
"""

CONVERGED = "converged"
OUT_OF_STEPS = "out of steps"


def failed(reason: str, potential: str, seconds: float = 0.0) -> Relaxation:
    """Report of a relaxation without a result."""
    nan = math.nan
    return Relaxation(False, f"failed: {reason}", 0, nan, nan, nan, nan, seconds, potential)


def exploded(volume_ratio: float, energy: float) -> str:
    """Reason for a volume that changed too much, or an energy (eV/atom) that is not finite."""
    return f"exploded: {volume_ratio:.2f} of its first volume, {energy:.3g} eV/atom"


def stalled(config: RelaxConfig) -> str:
    """Reason for too many steps without progress."""
    return f"stalled: no {config.progress:g} eV/atom gained in {config.patience} steps"


class Progress:
    """Watches energy and volume of a relaxation, to give it up early."""

    def __init__(self, config: RelaxConfig) -> None:
        self._config = config
        self._lowest, self._lowest_step = math.inf, 0

    def failure(self, step: int, energy: float, volume_ratio: float) -> str:
        """Why the relaxation is given up after a step; empty if it continues.

        Args:
            step: steps so far.
            energy: eV/atom.
            volume_ratio: volume over the initial volume.
        """
        config = self._config
        if not math.isfinite(energy) or not 1 / config.max_volume_change < volume_ratio < config.max_volume_change:
            return exploded(volume_ratio, energy)
        if energy < self._lowest - config.progress:
            self._lowest, self._lowest_step = energy, step
        elif step - self._lowest_step >= config.patience:
            return stalled(config)
        return ""
