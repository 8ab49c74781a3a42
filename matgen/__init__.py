"""Inverse design of crystals and molecules by composable energies: p(x) ∝ exp(−E(x)).

Importing this package loads no heavy dependency, so that `matgen --help` is fast.
"""

from typing import Any

__version__ = "0.4.0"
__all__ = ["__version__", "design", "design_stream", "screen"]


def __getattr__(name: str) -> Any:
    """Load `design`, `design_stream` and `screen` on first use."""
    if name in {"design", "design_stream"}:
        from matgen.workflows import design

        return getattr(design, name)
    if name == "screen":
        from matgen.workflows.screen import screen

        return screen
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
