"""Potentials as ASE calculators, and their names."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from ase.calculators.calculator import BaseCalculator, Calculator

from matgen.errors import UserError


class CalculatorError(UserError, ValueError):
    """A name that is not one of a calculator."""


def chgnet_calculator(on_isolated_atoms: Literal["error", "ignore"] = "error") -> Calculator:
    """CHGNet as an ASE calculator on the CPU: pretrained weights from its wheel, no network needed.

    Args:
        on_isolated_atoms: whether an atom without neighbours is an error, as in a relaxation, or accepted, as a sampler
            that passes through such geometries needs.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a greeting
        from chgnet.model.dynamics import CHGNetCalculator

        return CHGNetCalculator(use_device="cpu", on_isolated_atoms=on_isolated_atoms)


@lru_cache(maxsize=1)
def kept_calculator(make: Callable[[], Calculator]) -> Calculator:
    """Return the calculator that `make` makes, once per process: loading takes seconds, and a calculator has state."""
    return make()


def potential_name(calculator: Calculator) -> str:
    """Return name and version of a calculator, such as "CHGNet 0.3.0"."""
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


def calculator_maker(name: str) -> Callable[[], Calculator]:
    """Return a function that makes the named calculator, and can be sent to other processes.

    Args:
        name: "chgnet", or "module:function", a function without arguments that returns an ASE calculator; the module
            may be in the current folder.

    Raises:
        CalculatorError: the name is not that of a function.
    """
    made = _function(name)
    return made if made is chgnet_calculator else partial(_make, name)


def _function(name: str) -> Callable[[], Calculator]:
    if name == "chgnet":
        return chgnet_calculator
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise CalculatorError(f'expected "chgnet" or "module:function" as the calculator, got {name!r}')
    here = os.getcwd()  # noqa: PTH109 (sys.path holds strings)
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(import_module(module), function, None)
    except ImportError as error:
        raise CalculatorError(f"cannot import {module} for the calculator {name!r}: {error}; install it") from error
    if not callable(found):
        raise CalculatorError(f"expected a function {function} in {module}, found none; check the calculator {name!r}")
    return found


def _make(name: str) -> Calculator:
    """Make a calculator and check its type.

    Raises:
        CalculatorError: the function returns something else.
    """
    made = _function(name)()
    if not isinstance(made, BaseCalculator):
        raise CalculatorError(f"expected an ASE calculator from {name!r}, got {type(made).__name__}")
    return made
