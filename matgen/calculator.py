"""Potentials as ASE calculators, and what they are called."""

import contextlib
import io
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from ase.calculators.calculator import Calculator


def chgnet_calculator(on_isolated_atoms: Literal["error", "ignore"] = "error") -> Calculator:
    """CHGNet as an ASE calculator on the CPU: pretrained weights from its wheel, no network needed.

    Args:
        on_isolated_atoms: what atoms without neighbours do: end a relaxation, or score as they are, for a sampler that
            passes through them.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it announces itself
        from chgnet.model.dynamics import CHGNetCalculator

        return CHGNetCalculator(use_device="cpu", on_isolated_atoms=on_isolated_atoms)


def potential_name(calculator: Calculator) -> str:
    """Name and version of a calculator, such as "CHGNet 0.3.0"."""
    kind = type(calculator)
    own = getattr(calculator, "version", None)
    name = kind.__name__.removesuffix("Calculator")
    if isinstance(own, str):
        return f"{name} {own}"
    package = kind.__module__.partition(".")[0]
    try:
        return f"{name} ({package} {version(package)})"
    except PackageNotFoundError:
        return name
