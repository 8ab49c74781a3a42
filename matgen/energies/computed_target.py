"""Targets for properties that need no model, as energies: zero where met, growing with the distance elsewhere.

For a value that is exact, -log P is zero or infinite, which gives a sampler no direction. A finite slope in the
distance from the target takes its place (`matgen.targets.computed.distance`, d below).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.chemistry.economics import atomic_masses
from matgen.chemistry.elements import atomic_volumes
from matgen.chemistry.moments import mean_moments, moment_deviations
from matgen.energies.base import Energy, TemplateEnergy
from matgen.energies.sharing import single_templates
from matgen.targets.computed import LEAST, OF_COMPOSITION, OF_STRUCTURE, distance
from matgen.targets.distributions import Logistic
from matgen.targets.target import Target
from matgen.templates.batch import TemplateBatch

STEP, SCALE = 2.0, 0.25
"""E = STEP + d / SCALE where a composition misses its target: e times too expensive costs 6."""

UNKNOWN = 30.0
"""Energy of a composition whose value is unknown: that of one that misses by a factor of 1,000."""

STRUCTURE_SCALE = 0.05
"""E = d / STRUCTURE_SCALE of a structure: 5 % too dense costs 1, since a relaxation may still change the volume."""

VOLUME_SCALE = 0.07
"""Scale of the logistic distribution of the volume of a crystal over that expected of its composition, less one.

On the 20,719 validation and test rows of the training table the ratio is off by 9.7 % on average, by less than 10 % for
64 %: a standard deviation of 12.7 %.
"""

SMALLEST_MOMENT_SPREAD = 0.05
"""Of the estimate of a magnetic moment, μB/atom.

On 325 validation crystals, eight of each element where there are so many, the estimate is off by 0.077 μB/atom on
average (the median of all: 0.270), and within its spread for 94 % (`scripts/build/build_moments.py`).
"""


class CompositionTarget(TemplateEnergy):
    """A target for a property of the composition, exact for a template: 0 where it is met, else STEP + d / SCALE."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.name, self.target = target.name, target

    def floor(self, templates: TemplateBatch) -> Tensor:
        """Return zeros (n_systems,): the energy is nowhere negative."""
        return torch.zeros(templates.n_systems, device=templates.device)

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,)."""
        window = self.target.window
        found = [
            _outside(self.name, tuple(sorted(t.composition.items())), *window) for t in single_templates(templates)
        ]
        return torch.tensor(found, device=templates.device, dtype=torch.float32)


@lru_cache(maxsize=100_000)
def _outside(name: str, composition: tuple[tuple[int, int], ...], low: float, high: float) -> float:
    value = OF_COMPOSITION[name](dict(composition))
    if math.isnan(value):
        return UNKNOWN
    far = distance(name, value, low, high)
    return STEP + far / SCALE if far else 0.0


class StructureTarget(Energy):
    """A target for density or volume per atom, exact for a state: d / STRUCTURE_SCALE, zero where it is met."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.name, self.target = target.name, target

    def forward(self, state: State, sigma: Tensor) -> Tensor:  # noqa: ARG002 (the noise level changes nothing)
        """Energies (n_systems,)."""
        masses = atomic_masses(state.positions.device).to(state.positions)[state.atomic_numbers]
        mass = torch.zeros_like(state.volume).index_add(0, state.system_idx, masses)
        value = OF_STRUCTURE[self.name](mass, state.n_atoms, state.volume)
        low, high = (max(limit, LEAST) for limit in self.target.window)
        logarithm = value.clamp_min(LEAST).log()
        outside = (math.log(low) - logarithm).clamp_min(0.0) + (logarithm - math.log(high)).clamp_min(0.0)
        return outside / STRUCTURE_SCALE


class EstimatedTarget(TemplateEnergy):
    """A target for a property that a template does not settle: -log P under an estimate from the composition.

    Volumes are sums over the atoms (`atomic_volumes`), with the spread `VOLUME_SCALE`; moments are means over the atoms
    (`matgen.chemistry.moments`), with the spread of CHGNet's moments of each element among crystals.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.name, self.target = target.name, target

    def floor(self, templates: TemplateBatch) -> Tensor:
        """Return zeros (n_systems,): the energy is nowhere negative."""
        return torch.zeros(templates.n_systems, device=templates.device)

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,)."""
        return self.target.energy(estimate(self.name, templates)).float()


def estimate(name: str, templates: TemplateBatch) -> Logistic:
    """Return the distribution of a property of crystals, given their composition.

    Args:
        name: density, volume_per_atom, magnetic_moment or magnetic_density.
        templates: n_systems crystals.
    """
    device = templates.device
    volume = _summed(atomic_volumes(device), templates)
    n_atoms = templates.n_atoms.double()
    if name in OF_STRUCTURE:
        mass = _summed(atomic_masses(device), templates)
        middle = OF_STRUCTURE[name](mass, n_atoms, volume)
        return Logistic(middle, VOLUME_SCALE * middle)
    per = n_atoms if name == "magnetic_moment" else volume
    spread = _summed(moment_deviations(device), templates).clamp_min(SMALLEST_MOMENT_SPREAD * n_atoms)
    return Logistic(_summed(mean_moments(device), templates) / per, spread * (math.sqrt(3) / math.pi) / per)


def _summed(of_element: Tensor, templates: TemplateBatch) -> Tensor:
    """Return the sum over the atoms of each system (n_systems,) of a number of each element (95,)."""
    per_site = of_element[templates.site_element] * templates.site_multiplicity
    zeros = torch.zeros(templates.n_systems, dtype=of_element.dtype, device=of_element.device)
    return zeros.index_add(0, templates.site_system, per_site)
