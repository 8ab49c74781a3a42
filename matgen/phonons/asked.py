"""Checks on the lattice that a run may be asked for, and whether they can be had."""

from collections.abc import Collection
from importlib.util import find_spec

from matgen.errors import UserError

PHONONS, ELASTICITY = "phonons", "elasticity"
"""Names of the checks, and of their verdicts."""

UNITS = {PHONONS: "THz", ELASTICITY: "GPa"}
"""Unit of the value of each verdict."""

SECONDS = {PHONONS: (10, 60), ELASTICITY: (3, 20)}
"""Usual time for a crystal of up to ten atoms on one core, s."""


class LatticeError(UserError, ValueError):
    """Checks on the lattice that cannot be made."""


class PhonopyMissingError(UserError, ImportError):
    """Phonopy is not installed."""


def check_asked(asked: Collection[str], pressure: float = 0.0) -> None:
    """Check that what is asked for can be had.

    Args:
        asked: names of checks.
        pressure: of the relaxation, GPa.

    Raises:
        PhonopyMissingError: phonons need phonopy.
        LatticeError: an elastic tensor at a pressure.
    """
    if PHONONS in asked and find_spec("phonopy") is None:
        raise PhonopyMissingError(
            'phonons need the package phonopy, which is not installed; run: pip install "phonopy>=4.10"'
        )
    if ELASTICITY in asked and pressure:
        raise LatticeError(
            f"expected no elasticity beside a pressure of {pressure:g} GPa: Born's criterion is that of no pressure; "
            "leave one of them out"
        )


def time_text(asked: Collection[str], calculator: str) -> str:
    """Say how long the checks that are asked for take; empty if none is."""
    parts = [f"{name} {low} to {high} s" for name, (low, high) in SECONDS.items() if name in asked]
    if not parts:
        return ""
    return f"{' and '.join(parts)} by {calculator} for each crystal that is stable otherwise, on one core"
