"""The interface of energies, their sums, and their gradients.

    p(x) ∝ exp(-E(x)),    E(x) = Σ_k w_k E_k(x)

An energy is dimensionless (minus a log density up to a constant) and only scores. Two kinds share one algebra: energies
that read a template only, and energies that read a full `State`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from matgen.batch.state import Orbits, State
from matgen.energies.sharing import shared_answers
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand

Use = Literal["slopes", "values", "ranking"]
"""What a sampler may use of an energy: slopes and values everywhere; values only, for acceptance and ranking; or values
only where geometries are selected and proposals ranked, for expensive energies."""


SLACK = 1e-3
"""Added to ceilings, since bounds hold up to rounding."""


class _Algebra(nn.Module):
    """`a + b` and `w * a` for energies of either kind."""

    name: str = "energy"

    def terms(self) -> dict[str, tuple[float, "_Algebra"]]:
        """Named weighted parts; a plain energy is its only part."""
        return {self.name: (1.0, self)}

    @abstractmethod
    def _combined(self, parts: dict[str, tuple[float, "_Algebra"]]) -> "_Algebra":
        """The sum of parts of the kind of this energy."""

    def __add__(self, other: "_Algebra") -> "_Algebra":
        if isinstance(self, Energy) is not isinstance(other, Energy):
            both = f"{type(self).__name__} + {type(other).__name__}"
            raise TypeError(f"{both}: one scores templates and the other states; sum each kind separately")
        parts = dict(self.terms())
        for name, part in other.terms().items():
            parts[_free_name(name, parts)] = part
        return self._combined(parts)

    def __rmul__(self, weight: float) -> "_Algebra":
        return self._combined({name: (weight * w, part) for name, (w, part) in self.terms().items()})


class Energy(_Algebra):
    """Scores full states.

    Attributes:
        use: what a sampler may use of it. An energy without slopes, or with too expensive ones, has "values": it then
            drives no move, but enters the Metropolis correction of moves that other terms drive, which is exact.
    """

    use: Use = "slopes"

    if TYPE_CHECKING:

        def __add__(self, other: _Algebra) -> "Sum": ...
        def __rmul__(self, weight: float) -> "Sum": ...

    @abstractmethod
    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energy (n_systems,) of each system at its noise level sigma (n_systems,), Å."""

    def _combined(self, parts: dict[str, tuple[float, _Algebra]]) -> "Sum":
        return Sum(parts)


class TemplateEnergy(_Algebra):
    """Scores templates."""

    if TYPE_CHECKING:

        def __add__(self, other: _Algebra) -> "TemplateSum": ...
        def __rmul__(self, weight: float) -> "TemplateSum": ...

    @abstractmethod
    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energy (n_systems,) of each template."""

    def network_read(self) -> object | None:
        """Return the network that it evaluates; None if it evaluates none, and is cheap."""
        return None

    def floor(self, templates: TemplateBatch) -> Tensor:
        """Return a lower bound (n_systems,) of the energy that costs nothing to compute; minus infinity if unknown."""
        return torch.full((templates.n_systems,), -math.inf, device=templates.device)

    def _combined(self, parts: dict[str, tuple[float, _Algebra]]) -> "TemplateSum":
        return TemplateSum(parts)


class _Weighted(_Algebra):
    """Storage of the two sums."""

    def __init__(self, parts: Mapping[str, tuple[float, _Algebra]]) -> None:
        super().__init__()
        self._terms = dict(parts)
        self.parts = nn.ModuleList([part for _, part in parts.values()])  # a name may hold dots, which ModuleDict bars

    def terms(self) -> dict[str, tuple[float, _Algebra]]:
        return dict(self._terms)


class Sum(_Weighted, Energy):
    """Σ w_k E_k over states; `breakdown` returns the weighted terms by name."""

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Sum of the weighted terms (n_systems,)."""
        return _total(self.breakdown(state, sigma), sigma)

    def breakdown(self, state: State, sigma: Tensor) -> dict[str, Tensor]:
        """Each weighted term (n_systems,) by name."""
        with shared_answers():
            return {name: weight * part(state, sigma) for name, (weight, part) in self.terms().items()}


class TemplateSum(_Weighted, TemplateEnergy):
    """Σ w_k E_k over templates; `breakdown` returns the weighted terms by name."""

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Sum of the weighted terms (n_systems,)."""
        zero = torch.zeros(templates.n_systems, device=templates.device)
        return _total(self.breakdown(templates), zero)

    def breakdown(self, templates: TemplateBatch) -> dict[str, Tensor]:
        """Each weighted term (n_systems,) by name."""
        with shared_answers():
            return {name: weight * part(templates) for name, (weight, part) in self.terms().items()}

    def below(self, templates: TemplateBatch, ceiling: Tensor) -> Tensor:
        """Return the sum where it may be at most `ceiling` (n_systems,), and infinity elsewhere.

        Terms without a network are evaluated first, then each network, for those systems only whose lower bound is not
        above the ceiling yet.
        """
        terms = [(w, part) for w, part in self.terms().values() if isinstance(part, TemplateEnergy)]
        if not terms:
            return torch.zeros(templates.n_systems, device=templates.device)
        ceiling = ceiling.to(templates.device) + SLACK
        with shared_answers():
            columns = torch.stack([_floor(weight, part, templates) for weight, part in terms])
            rows = torch.arange(templates.n_systems, device=templates.device)
            networks = {id(part.network_read()): part.network_read() for _, part in terms}
            for network in sorted(networks.values(), key=lambda network: network is not None):
                some = templates if len(rows) == templates.n_systems else templates.select(rows)
                with shared_answers():
                    for place, (weight, part) in enumerate(terms):
                        if part.network_read() is network:
                            columns[place, rows] = weight * part(some).to(columns)
                rows = rows[~(columns[:, rows].sum(0) > ceiling[rows])]
                if not len(rows):
                    break
        return torch.full_like(columns[0], math.inf).index_copy(0, rows, columns[:, rows].sum(0))


def _floor(weight: float, part: TemplateEnergy, templates: TemplateBatch) -> Tensor:
    """Lower bound (n_systems,) of a weighted term with a network; zero without, since it is evaluated first."""
    zeros = torch.zeros(templates.n_systems, device=templates.device)
    if part.network_read() is None or weight == 0:
        return zeros
    return weight * part.floor(templates).to(zeros) if weight > 0 else zeros - math.inf


def _total(parts: Mapping[str, Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(parts.values())).sum(0) if parts else torch.zeros_like(like)


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    if name not in taken:
        return name
    return next(f"{name}_{i}" for i in range(2, len(taken) + 3) if f"{name}_{i}" not in taken)


def gradients(
    energy: Callable[[State, Tensor], Tensor], templates: TemplateBatch, geometry: Geometry, sigma: Tensor
) -> tuple[Tensor, Geometry]:
    """Return the energy and its derivatives in the free parameters, by the chain rule through `expand`.

    Returns:
        Energies (n_systems,) and a geometry of derivatives: per unit lattice parameter and per unit u; zero where a
        parameter is not free.
    """
    lattice = geometry.lattice.detach().requires_grad_()
    coords = geometry.coords.detach().requires_grad_()
    with torch.enable_grad():
        value = energy(expand(templates, Geometry(lattice, coords)), sigma)
        slope_lattice, slope_coords = _slopes(value, lattice, coords)
    return value.detach(), Geometry(slope_lattice, slope_coords)


def forces(energy: Callable[[State, Tensor], Tensor], state: State, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energy (n_systems,) and minus its derivatives in the positions (n_atoms, 3), 1/Å."""
    positions = state.positions.detach().requires_grad_()
    moved = replace(state, positions=positions, orbits=Orbits.trivial(positions))
    with torch.enable_grad():
        value = energy(moved, sigma)
        (slope,) = _slopes(value, positions)
    return value.detach(), -slope


def _slopes(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Derivatives of Σ value; zero in inputs that it does not depend on."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(n) for n in inputs)
    return torch.autograd.grad(value.sum(), inputs, allow_unused=True, materialize_grads=True)
