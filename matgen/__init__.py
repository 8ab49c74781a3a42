"""Inverse design of crystals by composable energies: p(x) ∝ exp(−E(x)).

Importing this package loads nothing heavy, so that `matgen --help` answers at once.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "design"]


def __getattr__(name: str) -> Any:
    """Load `design` when it is first asked for."""
    if name == "design":
        from matgen.workflows.design import design

        return design
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
