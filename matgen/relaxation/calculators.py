"""Potentials as ASE calculators, and their names."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from ase.calculators.calculator import BaseCalculator, Calculator

from matgen.errors import UserError
from matgen.relaxation.potentials import IN_THE_WHEEL, POTENTIALS, NamedPotential, chgnet

PACKAGE = Path(__file__).resolve().parents[1]

CHGNET = "chgnet"
"""The potential that is used where none is named."""


class CalculatorError(UserError, ValueError):
    """A name that is not one of a calculator."""


def chgnet_calculator(on_isolated_atoms: Literal["error", "ignore"] = "error") -> Calculator:
    """CHGNet as an ASE calculator on the CPU: pretrained weights from its wheel, no network needed.

    Args:
        on_isolated_atoms: whether an atom without neighbours is an error, as in a relaxation, or accepted, as a sampler
            that passes through such geometries needs.
    """
    return chgnet(on_isolated_atoms)


@lru_cache(maxsize=4)
def kept_calculator(make: Callable[[], Calculator]) -> Calculator:
    """Return the calculator that `make` makes, once per process: loading takes seconds, and a calculator has state."""
    return make()


def calculator_of(name: str) -> Calculator:
    """Return the named calculator, made once per process; called before any work, it finds what cannot be made.

    Raises:
        CalculatorError: the name is none of a calculator, or it cannot be made.
    """
    return kept_calculator(calculator_maker(name))


def potential_name(calculator: BaseCalculator) -> str:
    """Return name and version of a calculator, such as "CHGNet 0.3.0".

    It is the calculator's own `potential_name`, where it has one; else the name of its class with its `version`, or
    with that of its package. Set `calculator.potential_name` on one of yours whose weights these do not tell apart.
    """
    given = getattr(calculator, "potential_name", None)
    if isinstance(given, str) and given:
        return given
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
        name: one of `POTENTIALS`, such as "sevennet", or "module:function", a function without arguments that returns
            an ASE calculator; the module may be in the current folder. A hull behind `=` is for others to read.

    Raises:
        CalculatorError: the name is neither, its package is not installed, or there is no such function.
    """
    name, _ = with_own_hull(name)
    if name == CHGNET:
        return chgnet_calculator
    if name in POTENTIALS:
        _check_installed(POTENTIALS[name])
    else:
        _function(name)
    return NamedCalculator(name)


@dataclass(frozen=True)
class NamedCalculator:
    """Makes the calculator of a name; two of one name are equal, so that a process makes it once."""

    name: str

    def __call__(self) -> Calculator:
        """Make it.

        Raises:
            CalculatorError: it cannot be made.
        """
        return _make(self.name)


def check_calculator(name: str) -> None:
    """Check the name of a calculator, without importing its package.

    Raises:
        CalculatorError: it is no name of a calculator, its package is not installed, or its hull is no file.
    """
    name, hull = with_own_hull(name)
    if hull and not Path(hull).is_file():
        raise CalculatorError(
            f"expected a file of a hull behind {name}=, got {hull!r}, which is none; `matgen reference build` makes one"
        )
    if name in POTENTIALS:
        _check_installed(POTENTIALS[name])
    else:
        _parts(name)


def with_own_hull(text: str) -> tuple[str, str]:
    """Split `NAME=HULL.parquet` into the name of a calculator and the file of its hull, which is empty without one."""
    name, _, hull = text.partition("=")
    return name, hull


def corrections_of(name: str) -> str:
    """Return the corrections that energies of a named potential need before they are compared; empty for none."""
    return POTENTIALS[name].corrections if name in POTENTIALS else ""


def corrections_of_title(title: str) -> str:
    """Return likewise the corrections for name and version of a potential, such as "SevenNet-l3i5"."""
    return next((one.corrections for one in POTENTIALS.values() if one.title == title), "")


def same_potential(one: str, other: str) -> bool:
    """Return whether two texts name one potential, whatever the hulls behind `=`."""
    return with_own_hull(one)[0] == with_own_hull(other)[0]


def hull_file(text: str) -> Path | None:
    """Return the file of the hull of a named potential: the one behind `=`, or the one that ships; None without one."""
    name, own = with_own_hull(text)
    if own:
        return Path(own)
    potential = POTENTIALS.get(name)
    found = PACKAGE / potential.hull if potential is not None and potential.hull else None
    return found if found is not None and found.is_file() else None


def _check_installed(potential: NamedPotential) -> None:
    if not potential.installed:
        raise CalculatorError(
            f"{potential.name} needs the package {potential.package}, which is not installed; "
            f"run: pip install {potential.install}"
        )


def _parts(name: str) -> tuple[str, str]:
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise CalculatorError(
            f'expected a calculator as one of {", ".join(POTENTIALS)}, or as "module:function", got {name!r}; '
            "`matgen potentials` lists them"
        )
    return module, function


def _function(name: str) -> Callable[[], Calculator]:
    module, function = _parts(name)
    here = os.getcwd()  # noqa: PTH109 (sys.path holds strings)
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(import_module(module), function, None)
    except Exception as error:  # whatever somebody's module raises
        raise CalculatorError(
            f"cannot import {module} for the calculator {name!r}: {_told(error)}; install or correct it"
        ) from error
    if not callable(found):
        raise CalculatorError(f"expected a function {function} in {module}, found none; check the calculator {name!r}")
    return found


def _make(name: str) -> Calculator:
    """Make a calculator and check its type.

    Raises:
        CalculatorError: it fails, or returns something else.
    """
    known = POTENTIALS.get(name)
    make = known.make if known else _function(name)
    try:
        made = make()
    except Exception as error:  # whatever somebody's function raises, or a version of a package with another interface
        raise CalculatorError(f"cannot make {name}: {_told(error)}; {_advice(known)}") from error
    if known:
        made.potential_name = known.title  # type: ignore[attr-defined]  # read by `potential_name`
    if not isinstance(made, BaseCalculator):
        raise CalculatorError(f"expected an ASE calculator from {name!r}, got {type(made).__name__}")
    return made


def _told(error: Exception) -> str:
    """Return an exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _advice(known: NamedPotential | None) -> str:
    """Say what to do about a calculator that cannot be made."""
    if known is None:
        return "give a function that makes it without arguments"
    network = "" if known.weights == IN_THE_WHEEL else "its weights are downloaded at first use, which needs network; "
    return f"{network}try: pip install --upgrade {known.install}"
