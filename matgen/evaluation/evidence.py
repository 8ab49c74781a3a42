"""What the energy says of templates of one composition: log Z over the geometry of each, and the template's own energy.

    log evidence(t) = -E_T(t) + log ∫ exp(-E_S(t, x)) dx

The integral runs over the free parameters x of the template t in units of the ranges of the density of geometries
(`matgen.nn.geometry_density`), the unit box with wrapped coordinates. A template whose geometry must be tuned closely
loses here against one of equal lowest energy that is less demanding: Occam's factor, log Z + min E.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from matgen.energies.base import gradients
from matgen.generation.kinds.base import Kind
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.request import Request
from matgen.generation.total_energy import state_energy, template_energy
from matgen.nn.geometry_density import LATTICE_RANGE, GeometryDensity
from matgen.runtime.config import ConfigError, check_least
from matgen.samplers.annealing import Annealed, anneal, bootstrap_error, log_mean
from matgen.samplers.langevin import Landscape
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.steps import n_free
from matgen.training.graph_loss import GraphLoss

TRUSTED_GAP = 1.0
"""Difference of the two estimates of log Z, beyond three standard errors, above which they have not converged."""


MOST = 1000
"""Chains, levels and steps at most."""

LEVELS_OF_TRAINING = (GraphLoss().lowest_sigma, GraphLoss().highest_sigma)
"""Noise levels that the graph energy of crystals has seen, Å."""


@dataclass(frozen=True)
class EvidenceConfig:
    """How hard the annealing works.

    Attributes:
        chains: of each template and direction.
        levels: of the annealing.
        steps: Langevin steps at each level.
        sigma: noise level of the graph energy, Å; that of the refinement in `design`.
        seed: of all random numbers, the same for every template.
    """

    chains: int = 32
    levels: int = 60
    steps: int = 2
    sigma: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError if a number is out of range."""
        check_least(self, 2, "chains", "levels")
        check_least(self, 1, "steps")
        for name, value in (("chains", self.chains), ("levels", self.levels), ("steps", self.steps)):
            if value > MOST:
                raise ConfigError(f"expected {name} of at most {MOST}, got {value}")
        low, high = LEVELS_OF_TRAINING
        if not low <= self.sigma <= high:
            raise ConfigError(
                f"expected sigma from {low:g} to {high:g} Å, where the graph energy was trained, got {self.sigma:g}"
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"expected a seed from 0 to 2^63 - 1, got {self.seed}")


@dataclass(frozen=True)
class Evidence:
    """Estimates for one template.

    Attributes:
        template: as text.
        space_group: its number.
        n_atoms: of the primitive cell.
        n_free: free parameters.
        log_z: log ∫ exp(-E_S) dx by the forward chains, nats; on average not above the truth.
        error: its standard error, by bootstrap over the chains.
        log_z_reverse: by the chains back; on average not below the truth, as far as they begin with samples of exp(-E).
        error_reverse: likewise.
        lowest: lowest energy E_S that the forward chains ended at.
        template_energy: E_T, the template prior given the formula, and what else the request adds.
        acceptance: of the Langevin steps.
    """

    template: str
    space_group: int
    n_atoms: int
    n_free: int
    log_z: float
    error: float
    log_z_reverse: float
    error_reverse: float
    lowest: float
    template_energy: float
    acceptance: float

    @property
    def log_evidence(self) -> float:
        """-E_T + log Z, nats per primitive cell."""
        return self.log_z - self.template_energy

    @property
    def occam(self) -> float:
        """Log Z + min E_S: the cost of tuning the free parameters, nats; a volume in units of their ranges."""
        return self.log_z + self.lowest

    @property
    def converged(self) -> bool:
        """Whether the estimates of both directions agree to `TRUSTED_GAP` and three standard errors."""
        gap = abs(self.log_z_reverse - self.log_z)
        return gap <= TRUSTED_GAP + 3 * math.hypot(self.error, self.error_reverse)


@dataclass(frozen=True)
class LearnedStart:
    """The density of geometries as a start of annealing, zero outside the ranges of its lattice parameters.

    Attributes:
        density: the network.
    """

    density: GeometryDensity

    def sample(self, templates: TemplateBatch, generator: torch.Generator) -> Geometry:
        """Return one sample for each template; a few lie outside the ranges."""
        return self.density.sample(templates, generator)

    def landscape(self, templates: TemplateBatch) -> Landscape:
        """Return -log q with its derivatives."""

        def landscape(geometry: Geometry) -> tuple[Tensor, Geometry]:
            lattice, coords = geometry.lattice.detach().requires_grad_(), geometry.coords.detach().requires_grad_()
            with torch.enable_grad():
                value = -self.density.log_prob(templates, Geometry(lattice, coords))
                slopes = torch.autograd.grad(value.sum(), (lattice, coords), allow_unused=True, materialize_grads=True)
            inside = (geometry.lattice.abs() <= geometry.lattice.new_tensor(LATTICE_RANGE)).all(1)
            return torch.where(inside, value.detach(), math.inf), Geometry(*slopes)

        return landscape


def evidence_of(
    template: CrystalTemplate,
    request: Request,
    kind: Crystals,
    config: EvidenceConfig,
    progress: Callable[[int], None] = lambda _: None,
) -> Evidence:
    """Return the evidence of a template.

    Args:
        template: of a crystal of the formula of the request.
        request: whose energy is integrated.
        kind: crystals, with their models.
        config: effort.
        progress: hears how many of `evaluations(config.levels, config.steps)` are done, after each.
    """
    single = TemplateBatch.of([template]).to(kind.device)
    batch = single.select(torch.zeros(config.chains, dtype=torch.long, device=kind.device))
    energy, sigma = state_energy(request, kind), torch.full((config.chains,), config.sigma, device=kind.device)
    generator = torch.Generator().manual_seed(config.seed)
    done = count(1)

    def landscape(geometry: Geometry) -> tuple[Tensor, Geometry]:
        found = gradients(energy, batch, geometry, sigma)
        progress(next(done))
        return found

    found = anneal(
        LearnedStart(kind.models.geometry),
        landscape,
        batch,
        levels=config.levels,
        steps=config.steps,
        generator=generator,
    )
    return _summary(template, single, found, float(_template_energy(request, kind, single)), generator)


def _template_energy(request: Request, kind: Kind, single: TemplateBatch) -> Tensor:
    with torch.no_grad():
        return template_energy(request, kind)(single)[0]


def _summary(
    template: CrystalTemplate,
    single: TemplateBatch,
    found: Annealed,
    energy_of_template: float,
    generator: torch.Generator,
) -> Evidence:
    return Evidence(
        template=str(template),
        space_group=template.space_group,
        n_atoms=int(single.n_atoms[0]),
        n_free=int(n_free(single)[0]),
        log_z=log_mean(found.forward),
        error=bootstrap_error(found.forward, generator),
        log_z_reverse=-log_mean(found.reverse),
        error_reverse=bootstrap_error(found.reverse, generator),
        lowest=found.lowest,
        template_energy=energy_of_template,
        acceptance=found.acceptance,
    )
