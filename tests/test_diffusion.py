"""Laws of reverse diffusion: an exact score recovers its density, and sums compose with the corrector."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy
from matgen.samplers.diffusion import Schedule, Score, diffuse, energy_score
from matgen.samplers.initial_noise import pure_noise, renoise
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.noise import STRAIN_PER_ANGSTROM, difference, karras_levels, scales
from matgen.templates.steps import within_bounds
from matgen.templates.wyckoff import wyckoff_table

NA, CL = 11, 17
TRICLINIC = CrystalTemplate(1, ((0, NA), (0, CL)))
TETRAGONAL = CrystalTemplate(123, tuple((wyckoff_table().positions_of(123)[i], z) for i, z in ((0, NA), (3, CL))))
SHAPE = 4  # the lattice parameter of c/a, one of the two that are free in the tetragonal family


def still(templates: TemplateBatch, dtype: torch.dtype = torch.float64) -> Geometry:
    n = len(templates.site_system)
    return Geometry(torch.zeros(templates.n_systems, 6, dtype=dtype), torch.zeros(n, 3, dtype=dtype))


def mixture_score(templates: TemplateBatch, weights: list[float], means: list[float], width: float) -> Score:
    """The exact score of a mixture of Gaussians in every free lattice parameter, noised to σ; flat in the coords."""
    weight, mean = torch.tensor(weights).double(), torch.tensor(means).double()

    def score(geometry: Geometry, sigma: Tensor) -> Geometry:
        variance = (width**2 + (sigma * STRAIN_PER_ANGSTROM) ** 2)[:, None, None]
        off = mean - geometry.lattice.double()[:, :, None]
        share = (weight.log() - off**2 / (2 * variance)).softmax(-1)
        slope = (share * off / variance).sum(-1) * STRAIN_PER_ANGSTROM * templates.free_lattice
        return Geometry(slope.to(geometry.lattice), torch.zeros_like(geometry.coords))

    return score


@pytest.mark.parametrize(
    ("options", "bias"),
    # Beside the standard errors: what 30 levels leave of discretisation, relative to the width. Karras et al. churn
    # to correct the errors of second-order steps; with Euler steps it narrows Gaussians by a tenth.
    [
        ({"heun": True, "corrector_steps": 0}, 0.01),
        ({"heun": True, "corrector_steps": 0, "churn": 30.0}, 0.04),
        ({"corrector_steps": 2}, 0.05),
        ({"churn": 30.0, "corrector_steps": 1}, 0.12),
    ],
)
def test_an_exact_score_recovers_a_mixture(options: dict[str, Any], bias: float) -> None:
    n, width = 2000, 0.03
    templates, generator = TemplateBatch.of([TETRAGONAL] * n), torch.Generator().manual_seed(0)
    score = mixture_score(templates, [0.3, 0.7], [-0.2, 0.1], width)
    # Exact samples, noised: at the top, 3 Å, the two peaks lie one σ apart and have long merged.
    upper = torch.rand(n, 1, generator=generator) < 0.7
    exact = torch.where(upper, 0.1, -0.2) + width * torch.randn(n, 6, generator=generator, dtype=torch.float64)
    start = renoise(templates, Geometry(exact * templates.free_lattice, still(templates).coords), 3.0, generator)
    end = diffuse(
        score, templates, start, schedule=Schedule(karras_levels(3.0, 0.02, 30), **options), generator=generator
    )
    shape = end.lattice[:, SHAPE]
    up = shape > -0.05
    # Share, mean and width of the peaks, at four standard errors of n samples.
    assert abs(float(up.double().mean()) - 0.7) < 4 * math.sqrt(0.21 / n)
    for peak, mean in ((shape[up], 0.1), (shape[~up], -0.2)):
        assert abs(float(peak.mean()) - mean) < 4 * width / math.sqrt(len(peak)) + bias * width
        assert abs(float(peak.std()) / width - 1) < 4 / math.sqrt(2 * len(peak)) + bias
    assert not end.lattice[~templates.free_lattice].any()
    assert not end.coords.any()


@pytest.mark.parametrize("options", [{"corrector_steps": 2}, {"corrector_steps": 0, "heun": True, "churn": 20.0}])
def test_an_exact_score_recovers_a_wrapped_gaussian_from_pure_noise(options: dict[str, Any]) -> None:
    # Width 0.08 of a period about 0.95, so that the peak straddles the border of the cell.
    n, centre, width = 1000, 0.95, 0.08
    templates, generator = TemplateBatch.of([TRICLINIC] * n), torch.Generator().manual_seed(1)
    lattice_score = mixture_score(templates, [1.0], [0.0], 0.01)
    images = torch.arange(-6, 7, dtype=torch.float64)

    def score(geometry: Geometry, sigma: Tensor) -> Geometry:
        scale = scales(templates, geometry).coords
        variance = (width**2 + (sigma[templates.site_system, None] * scale) ** 2)[..., None]
        off = geometry.coords[..., None] - centre + images
        share = (-(off**2) / (2 * variance)).softmax(-1)
        return Geometry(lattice_score(geometry, sigma).lattice, -(share * off / variance).sum(-1) * scale)

    start = pure_noise(templates, 6.0, generator, dtype=torch.float64)
    end = diffuse(
        score, templates, start, schedule=Schedule(karras_levels(6.0, 0.05, 20), **options), generator=generator
    )
    assert ((end.coords >= 0) & (end.coords <= 1)).all()
    offset = end.coords - centre
    offset = offset - offset.round()
    # 2n samples of each parameter: four standard errors, and two percent for 20 levels.
    assert offset.mean(0).abs().max() < 4 * width / math.sqrt(2 * n) + 0.02 * width
    assert (offset.std(0) / width - 1).abs().max() < 4 / math.sqrt(4 * n) + 0.02


def test_a_sum_composes_with_the_corrector_and_fails_without() -> None:
    # The product of N(-0.1, 0.03²) and N(0.05, 0.05²). Each factor's noised score is exact, but their sum is the score
    # of the noised product at σ → 0 only. Following it from σ to 0 shrinks the spread by the product of both factors'
    # shrinkages, s₁ s₂ / σ² in all, and averages the means with weights that lean too little on the narrow one.
    n = 400
    templates = TemplateBatch.of([TETRAGONAL] * n)
    one, other = (mixture_score(templates, [1.0], [m], s) for m, s in ((-0.1, 0.03), (0.05, 0.05)))
    precision = 1 / 0.03**2 + 1 / 0.05**2
    mean, width = (-0.1 / 0.03**2 + 0.05 / 0.05**2) / precision, precision**-0.5

    def sample(corrector_steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        start = renoise(templates, still(templates), 2.0, generator)
        end = diffuse(
            one,
            templates,
            start,
            guidance=other,
            schedule=Schedule(karras_levels(2.0, 0.05, 20), corrector_steps=corrector_steps, corrector_step=0.5),
            generator=generator,
        )
        return end.lattice[:, SHAPE]

    composed, summed = sample(10), sample(0)
    # Ten corrector steps reach equilibrium down to σ of a third of the width, below which the sum is the product to
    # within a few percent; standard errors are 0.05 widths on the mean and 0.035 on the width.
    assert abs(float(composed.mean()) - mean) < 0.25 * width
    assert abs(float(composed.std()) / width - 1) < 0.15
    # The failure is no matter of statistics.
    assert float(summed.std()) < width / 3
    assert abs(float(summed.mean()) - mean) > 0.5 * width


class Volume(Energy):
    """Gaussian in the log volume: ln V about 4.0 within 0.1."""

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        return (state.volume.log() - 4.0) ** 2 / (2 * (0.1**2 + 3 * (sigma * STRAIN_PER_ANGSTROM) ** 2))


def test_an_energy_drives_the_diffusion_through_expand() -> None:
    # ln V = √3 k₆ + constant, so that Volume() is exact at every σ; the shape is flat and diffuses freely.
    templates, generator = TemplateBatch.of([TETRAGONAL] * 300), torch.Generator().manual_seed(3)
    start = pure_noise(templates, 2.0, generator, dtype=torch.float64)
    score = energy_score(Volume(), templates)
    end = diffuse(
        score, templates, start, schedule=Schedule(karras_levels(2.0, 0.02, 20), corrector_steps=2), generator=generator
    )
    log_volume = math.sqrt(3) * (end.lattice[:, 5] + templates.reference_parameter)  # conventional = primitive here
    assert abs(float(log_volume.mean()) - 4.0) < 4 * 0.1 / math.sqrt(300) + 0.005
    assert abs(float(log_volume.std()) / 0.1 - 1) < 4 / math.sqrt(600) + 0.05


def test_renoise_moves_every_free_parameter_by_sigma() -> None:
    templates, generator = TemplateBatch.of([TETRAGONAL, TRICLINIC] * 1000), torch.Generator().manual_seed(4)
    origin = still(templates)
    sigma = torch.tensor([0.1, 0.4], dtype=torch.float64).repeat(1000)
    step = difference(templates, renoise(templates, origin, sigma, generator), origin, scales(templates, origin))
    assert float(step.lattice[::2, SHAPE].std()) == pytest.approx(0.1, rel=4 / math.sqrt(2000))
    assert float(step.lattice[1::2].std()) == pytest.approx(0.4, rel=4 / math.sqrt(12_000))
    assert float(step.coords[templates.free_coords].std()) == pytest.approx(0.4, rel=4 / math.sqrt(12_000))
    assert not step.lattice[~templates.free_lattice].any()
    assert not step.coords[~templates.free_coords].any()


def test_pure_noise_is_uniform_in_the_coords_and_sane_in_the_cell() -> None:
    templates = TemplateBatch.of([TETRAGONAL, TRICLINIC] * 1000)
    noise = pure_noise(templates, 3.0, torch.Generator().manual_seed(5))
    free = noise.coords[templates.free_coords]
    counts = torch.histc(free, 20, 0.0, 1.0)
    expected = len(free) / 20
    assert float(((counts - expected) ** 2 / expected).sum()) < 43.8  # chi-square, 19 degrees, p = 0.001
    assert within_bounds(noise).all()
    assert not noise.lattice[~templates.free_lattice].any()
    assert not noise.coords[~templates.free_coords].any()
    # As wide as tetragonal crystals are (0.5), and σ_max times 0.1/Å: 0.58 in all, at four standard errors.
    assert float(noise.lattice[::2, SHAPE].std()) == pytest.approx(math.hypot(0.5, 0.3), rel=4 / math.sqrt(2000))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_seed_one_run(dtype: torch.dtype) -> None:
    templates = TemplateBatch.of([TRICLINIC, TETRAGONAL])
    score = mixture_score(templates, [1.0], [0.1], 0.05)

    def run(seed: int) -> Geometry:
        generator = torch.Generator().manual_seed(seed)
        start = pure_noise(templates, 3.0, generator, dtype=dtype)
        return diffuse(
            score, templates, start, schedule=Schedule(karras_levels(3.0, 0.1, 5), churn=5.0), generator=generator
        )

    first, again, other = run(1), run(1), run(2)
    assert first.lattice.dtype == first.coords.dtype == dtype
    assert torch.equal(first.lattice, again.lattice)
    assert torch.equal(first.coords, again.coords)
    assert not torch.equal(first.lattice, other.lattice)


def test_a_sick_batch_mate_and_its_level_do_not_matter() -> None:
    templates = TemplateBatch.of([TRICLINIC, TETRAGONAL])
    healthy = mixture_score(templates, [1.0], [0.1], 0.05)
    ladder = karras_levels(3.0, 0.1, 6).double()

    def sick(geometry: Geometry, sigma: Tensor) -> Geometry:
        score = healthy(geometry, sigma)
        return Geometry(score.lattice * torch.tensor([[1.0], [math.nan]]), score.coords)

    def run(score: Score, levels: Tensor) -> Geometry:
        generator = torch.Generator().manual_seed(6)
        return diffuse(score, templates, still(templates), schedule=Schedule(levels, churn=3.0), generator=generator)

    own_levels = torch.stack([ladder, ladder / 10], dim=1)  # the second system begins at a tenth of the noise
    alike, apart = run(healthy, ladder), run(sick, own_levels)
    assert torch.equal(alike.lattice[0], apart.lattice[0])
    assert torch.equal(alike.coords[:2], apart.coords[:2])
    assert apart.lattice.isfinite().all()


def test_large_guidance_is_clipped() -> None:
    templates, generator = TemplateBatch.of([TETRAGONAL] * 50), torch.Generator().manual_seed(7)
    score = mixture_score(templates, [1.0], [0.0], 0.03)

    def wild(geometry: Geometry, _: Tensor) -> Geometry:
        return Geometry(geometry.lattice.sign() * 1e6 * templates.free_lattice, torch.zeros_like(geometry.coords))

    start = renoise(templates, still(templates), 1.0, generator)
    levels = karras_levels(1.0, 0.05, 20)
    end = diffuse(
        score, templates, start, schedule=Schedule(levels), guidance=wild, max_guidance=1.0, generator=generator
    )
    # At balance, off / (s² + σ²) = √2 / σ at most: with s = 0.3 Å and σ down to 0.05 Å, off stays below 3 Å.
    assert end.lattice.abs().max() < 0.3
    assert end.lattice.abs().max() > 0.03


def test_progress_is_reported() -> None:
    templates, calls = TemplateBatch.of([TETRAGONAL]), []
    diffuse(
        mixture_score(templates, [1.0], [0.0], 0.1),
        templates,
        still(templates),
        schedule=Schedule(karras_levels(1.0, 0.1, 3)),
        generator=torch.Generator().manual_seed(8),
        progress=lambda done, total, _: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
