"""Energies that a user adds: sorted by what they read and how they are used, each with a unique name."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self, get_args

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, Sum, TemplateEnergy, TemplateSum, Use
from matgen.errors import UserError
from matgen.templates.batch import TemplateBatch


class TermError(UserError, ValueError):
    """An energy that cannot be added to the total energy."""


@dataclass(frozen=True)
class Terms:
    """Energies that are added to the total energy.

    Attributes:
        states: energies of states.
        templates: energies of templates.
    """

    states: Sum
    templates: TemplateSum

    @classmethod
    def of(cls, energies: Iterable[object], taken: Collection[str] = ()) -> "Terms":
        """Sort energies of both kinds, and sums of them.

        Args:
            energies: in any order; equal names of one kind get a number, as in a sum.
            taken: names of other terms.

        Raises:
            TermError: an object is no energy, or a name is taken.
        """
        states, templates = Sum({}), TemplateSum({})
        for energy in energies:
            match energy:
                case Energy():
                    states = states + energy
                case TemplateEnergy():
                    templates = templates + energy
                case _:
                    raise TermError(_no_energy(energy))
        for name, (_, energy) in states.terms().items():
            if isinstance(energy, Energy) and energy.use not in get_args(Use):
                raise TermError(
                    f"expected the use of `{name}` to be one of {', '.join(get_args(Use))}, got {energy.use!r}"
                )
        _check_names([*states.terms(), *templates.terms()], taken)
        checked = {
            name: (w, _CheckedEnergy(name, e)) for name, (w, e) in states.terms().items() if isinstance(e, Energy)
        }
        checked_templates = {
            name: (w, _CheckedTemplateEnergy(name, e))
            for name, (w, e) in templates.terms().items()
            if isinstance(e, TemplateEnergy)
        }
        return cls(Sum(checked), TemplateSum(checked_templates))

    def to(self, device: torch.device) -> Self:
        """Move the terms to a device."""
        self.states.to(device)
        self.templates.to(device)
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term by name."""
        both = self.states.terms() | self.templates.terms()
        return {name: float(weight) for name, (weight, _) in both.items()}

    def used(self, *uses: Use) -> Sum:
        """The terms over states with one of these uses."""
        return Sum({name: term for name, term in self.states.terms().items() if term[1].use in uses})


def check_finite(values: Mapping[str, Tensor]) -> None:
    """Check that each term is finite for at least one system; a system of infinite energy is excluded.

    Raises:
        TermError: a term is finite for no system.
    """
    for name, value in values.items():
        if len(value) and not value.isfinite().any():
            raise TermError(f"expected finite energies from `{name}`, got none for {len(value)} systems; correct it")


class _CheckedEnergy(Energy):
    """An energy of states, restricted to its use and checked to return one number per system."""

    def __init__(self, name: str, energy: Energy) -> None:
        super().__init__()
        self.name, self.use, self.energy = name, energy.use, energy

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energies (n_systems,)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.use == "slopes"):
            return _checked(self.name, self.energy(state, sigma), state.n_systems).to(state.positions)


class _CheckedTemplateEnergy(TemplateEnergy):
    """An energy of templates, checked to return one number per system, in float32."""

    def __init__(self, name: str, energy: TemplateEnergy) -> None:
        super().__init__()
        self.name, self.energy = name, energy

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,)."""
        value = _checked(self.name, self.energy(templates), templates.n_systems)
        return value.to(templates.space_group.device, torch.float32)


def _checked(name: str, value: object, n_systems: int) -> Tensor:
    if isinstance(value, Tensor) and value.shape == (n_systems,):
        return value.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
    got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
    raise TermError(f"expected energies ({n_systems},) from `{name}`, one for each system, got {got}")


def _no_energy(got: object) -> str:
    expected = "expected an Energy or a TemplateEnergy (matgen.energies.base)"
    if isinstance(got, type):
        return f"{expected}, got the class {got.__name__}; create an instance: {got.__name__}(...)"
    if callable(got):
        return f"{expected}, got {got!r}; wrap a function Structure -> float: BlackBox(function, name=...)"
    return f"{expected}, got {got!r}; CONTRIBUTING.md shows one in ten lines"


def _check_names(names: list[str], taken: Collection[str]) -> None:
    for name in names:
        if name in taken:
            raise TermError(f"expected names that no term of the program has, got {name!r}; set energy.name to another")
        if names.count(name) > 1:
            raise TermError(f"expected a name of its own for each energy, got {name!r} twice; set energy.name of one")
