"""Annealed importance sampling: exact where log Z is known, from both sides, and blind to what has no weight."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from matgen.samplers.annealing import Annealed, anneal, betas, bootstrap_error, log_mean
from matgen.samplers.langevin import Landscape
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.noise import per_system
from matgen.templates.wyckoff import wyckoff_table

D = torch.float64
PNMA = CrystalTemplate(62, tuple((wyckoff_table().positions_of(62)[2], z) for z in (22, 8)))  # 3 + 4 free parameters
CHAINS = 200


def chains(n: int = CHAINS) -> TemplateBatch:
    return TemplateBatch.of([PNMA] * n)


@dataclass(frozen=True)
class Known:
    """A Gaussian in each lattice parameter times a von Mises density in each coordinate; exp(-E) has a known integral.

    E = Σ ½ ((k - centre) / width)² - κ Σ cos 2π (u - phase) + shift
    """

    centre: float
    width: float
    kappa: float = 0.0
    phase: float = 0.0
    shift: float = 0.0

    def landscape(self, templates: TemplateBatch) -> Landscape:
        lattice_mask, coords_mask = templates.free_lattice.to(D), templates.free_coords.to(D)

        def landscape(geometry: Geometry) -> tuple[Tensor, Geometry]:
            apart = (geometry.lattice - self.centre) / self.width * lattice_mask
            angle = 2 * math.pi * (geometry.coords - self.phase)
            parts = Geometry(0.5 * apart.square(), -self.kappa * angle.cos() * coords_mask)
            slope = Geometry(apart / self.width, 2 * math.pi * self.kappa * angle.sin() * coords_mask)
            return per_system(templates, parts) + self.shift, slope

        return landscape

    @property
    def log_z(self) -> float:
        of_coords = float(torch.special.i0(torch.tensor(self.kappa, dtype=D)).log())
        return 3 * math.log(self.width * math.sqrt(2 * math.pi)) + 4 * of_coords - self.shift

    def normalised(self) -> "Known":
        return Known(self.centre, self.width, self.kappa, self.phase, self.shift + self.log_z)


@dataclass(frozen=True)
class Wide:
    """The start: a Gaussian of the lattice parameters, and uniform coordinates."""

    width: float = 0.1

    def sample(self, templates: TemplateBatch, generator: torch.Generator) -> Geometry:
        lattice = self.width * torch.randn(templates.n_systems, 6, dtype=D, generator=generator)
        coords = torch.rand(len(templates.site_system), 3, dtype=D, generator=generator)
        return Geometry(lattice * templates.free_lattice, coords * templates.free_coords)

    def landscape(self, templates: TemplateBatch) -> Landscape:
        return Known(0.0, self.width).normalised().landscape(templates)


def annealed(target: Known, seed: int = 0, levels: int = 40, n: int = CHAINS) -> Annealed:
    templates = chains(n)
    generator = torch.Generator().manual_seed(seed)
    return anneal(Wide(), target.landscape(templates), templates, levels=levels, steps=2, generator=generator)


NARROW = Known(0.15, 0.04, kappa=3.0, phase=0.3, shift=5.0)


@pytest.fixture(scope="module")
def several() -> list[Annealed]:
    return [annealed(NARROW, seed) for seed in range(3)]


def test_beta_rises_from_zero_to_one() -> None:
    ramp = betas(17)
    assert (float(ramp[0]), float(ramp[-1]), len(ramp)) == (0.0, 1.0, 18)
    assert (ramp.diff() > 0).all()


def test_a_known_integral_is_found_within_its_error_from_both_sides(several: list[Annealed]) -> None:
    generator = torch.Generator().manual_seed(0)
    for one in several:
        error = bootstrap_error(one.forward, generator), bootstrap_error(one.reverse, generator)
        assert max(error) < 0.3
        # Four standard errors: one failure in 15,000 for a normal estimate; the seeds are fixed.
        assert log_mean(one.forward) == pytest.approx(NARROW.log_z, abs=4 * error[0])
        assert -log_mean(one.reverse) == pytest.approx(NARROW.log_z, abs=4 * error[1])


def test_forward_and_reverse_estimates_bracket_the_truth_on_average() -> None:
    # With few chains and levels the bias is visible: single weights are below log Z, and above it in reverse.
    found = [annealed(NARROW, seed, levels=10) for seed in range(3)]
    forward = torch.cat([one.forward for one in found])
    reverse = torch.cat([-one.reverse for one in found])
    margin = 3 * float(forward.std()) / math.sqrt(len(forward))
    assert float(forward.mean()) < NARROW.log_z - margin
    assert float(reverse.mean()) > NARROW.log_z + margin


def test_more_levels_narrow_the_weights(several: list[Annealed]) -> None:
    assert float(several[0].forward.std()) < 0.7 * float(annealed(NARROW, 0, levels=10).forward.std())


def test_the_start_itself_has_weight_one() -> None:
    found = annealed(Known(0.0, 0.1).normalised(), levels=5, n=10)
    torch.testing.assert_close(found.forward, torch.zeros(10, dtype=D), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.reverse, torch.zeros(10, dtype=D), rtol=0, atol=1e-9)


def test_a_constant_in_the_energy_is_subtracted_from_log_z() -> None:
    low = annealed(Known(0.1, 0.06), levels=10, n=20)
    high = annealed(Known(0.1, 0.06, shift=7.0), levels=10, n=20)
    torch.testing.assert_close(low.forward - high.forward, torch.full((20,), 7.0, dtype=D), rtol=0, atol=1e-6)
    torch.testing.assert_close(high.reverse - low.reverse, torch.full((20,), 7.0, dtype=D), rtol=0, atol=1e-6)


def test_what_begins_at_infinite_energy_has_no_weight_and_counts() -> None:
    templates, start = chains(), Wide()
    whole = start.landscape(templates)

    def half(geometry: Geometry) -> tuple[Tensor, Geometry]:
        value, slope = whole(geometry)
        return torch.where(geometry.lattice[:, 5] < 0, value, math.inf), slope

    generator = torch.Generator().manual_seed(1)
    found = anneal(start, half, templates, levels=5, steps=1, generator=generator)
    counted = found.forward.isfinite()
    torch.testing.assert_close(found.forward[counted], torch.zeros(int(counted.sum()), dtype=D), rtol=0, atol=1e-9)
    # Half of the start: the error of a share of one half is 0.5 / √200 of it, hence 0.07 of its logarithm.
    assert log_mean(found.forward) == pytest.approx(-math.log(2), abs=0.25)
    # The chains back end in that half only; without its share they would give log Z = 0.
    assert -log_mean(found.reverse) == pytest.approx(log_mean(found.forward), abs=1e-9)


def test_energies_that_are_nowhere_finite_are_refused() -> None:
    templates, start = chains(4), Wide()

    def nowhere(geometry: Geometry) -> tuple[Tensor, Geometry]:
        return torch.full((4,), math.inf, dtype=D), Geometry(0 * geometry.lattice, 0 * geometry.coords)

    with pytest.raises(ValueError, match="expected samples of the start density with finite energies, got none"):
        anneal(start, nowhere, templates, levels=2, steps=1, generator=torch.Generator().manual_seed(0))


def test_the_error_of_a_mean_of_weights_shrinks_with_their_number() -> None:
    generator = torch.Generator().manual_seed(0)
    few, many = (torch.randn(n, generator=generator, dtype=D) * 0.5 for n in (100, 1600))
    relative = math.sqrt(math.exp(0.25) - 1)  # standard deviation over mean of a lognormal of width 0.5
    assert bootstrap_error(few, generator) == pytest.approx(relative / 10, rel=0.35)
    assert bootstrap_error(many, generator) == pytest.approx(relative / 40, rel=0.25)
