"""Laws of Langevin dynamics: the right distribution, exact at any step, independent for each system."""

import math

import pytest
import torch
from torch import Tensor

from matgen.samplers.langevin import TARGET_ACCEPTANCE, Landscape, langevin_step, mala
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.noise import scales
from matgen.templates.steps import within_bounds
from matgen.templates.wyckoff import wyckoff_table

NA, CL = 11, 17
SIGMAS = 4.5  # a fair mean or variance is further off than this once in 150,000 times


def site(group: int, letter: str, element: int) -> tuple[int, int]:
    return wyckoff_table().positions_of(group)["abcdefghijklmnopqrstuvwxyz".index(letter)], element


TRICLINIC = CrystalTemplate(1, (site(1, "a", NA), site(1, "a", CL)))
ORTHORHOMBIC = CrystalTemplate(62, (site(62, "a", NA), site(62, "c", CL), site(62, "d", CL)))
CUBIC = CrystalTemplate(225, (site(225, "a", NA), site(225, "b", CL)))


def still(templates: TemplateBatch, dtype: torch.dtype = torch.float64) -> Geometry:
    return Geometry(
        torch.zeros(templates.n_systems, 6, dtype=dtype), torch.zeros(len(templates.site_system), 3, dtype=dtype)
    )


def well(templates: TemplateBatch, *, centre: float, width: float | Tensor, kappa: float, angle: float) -> Landscape:
    """Harmonic in free lattice parameters, E = (k - centre)²/(2 width²); kappa (1 - cos 2π(u - angle)) in every u."""

    def landscape(geometry: Geometry) -> tuple[Tensor, Geometry]:
        free_k, free_u = templates.free_lattice, templates.free_coords
        spread = torch.as_tensor(width).to(geometry.lattice).reshape(-1, 1)
        off, turn = (geometry.lattice - centre) / spread * free_k, 2 * math.pi * (geometry.coords - angle)
        energy = off.square().sum(1) / 2
        energy = energy.index_add(0, templates.site_system, (kappa * (1 - turn.cos()) * free_u).sum(1))
        return energy, Geometry(off / spread, 2 * math.pi * kappa * turn.sin() * free_u)

    return landscape


def assert_moments(sample: Tensor, mean: float, variance: float, kurtosis: float = 3.0) -> None:
    """Of independent samples (n,): standard errors are those of n samples."""
    n = len(sample)
    assert abs(float(sample.mean()) - mean) < SIGMAS * math.sqrt(variance / n)
    assert abs(float(sample.var()) - variance) < SIGMAS * variance * math.sqrt((kurtosis - 1) / n)


@pytest.mark.parametrize("template", [TRICLINIC, ORTHORHOMBIC])
def test_moments_of_a_harmonic_well(template: CrystalTemplate) -> None:
    templates = TemplateBatch.of([template] * 1500)
    landscape = well(templates, centre=0.1, width=0.05, kappa=3.0, angle=0.9)
    generator = torch.Generator().manual_seed(1)
    # From four widths off; 150 steps are some twenty correlation times at acceptance 0.57.
    end, report = mala(
        landscape, templates, still(templates), steps=150, adapt_steps=100, step_size=0.01, generator=generator
    )
    for number in templates.free_lattice[0].nonzero().ravel().tolist():
        assert_moments(end.lattice[:, number], 0.1, 0.05**2)
    # von Mises: <cos> = I1/I0, <sin> = 0, and E = 3 (1 - cos) has the variance of the cosine.
    i0, i1 = (float(f(torch.tensor(3.0))) for f in (torch.special.i0, torch.special.i1))
    ratio = i1 / i0
    turn = 2 * math.pi * (end.coords - 0.9).reshape(1500, -1, 3)
    for row, number in templates.free_coords.reshape(1500, -1, 3)[0].nonzero().tolist():
        cosine = turn[:, row, number].cos()
        assert abs(float(cosine.mean()) - ratio) < SIGMAS * math.sqrt((1 - ratio / 3 - ratio**2) / 1500)
        assert_moments(turn[:, row, number].sin(), 0.0, ratio / 3)
    assert torch.allclose(report.energy[-1], landscape(end)[0])
    assert not end.lattice[~templates.free_lattice].any()
    assert not end.coords[~templates.free_coords].any()


def test_steps_that_reach_round_the_torus_are_exact() -> None:
    # √h = 2.5 Å is about half a period here, so that several images of a proposal matter.
    templates = TemplateBatch.of([TRICLINIC] * 4000)
    start = still(templates)
    assert 0.4 < 2.5 * float(scales(templates, start).coords.max()) < 1.0
    landscape = well(templates, centre=0.0, width=0.5, kappa=0.4, angle=0.2)
    generator = torch.Generator().manual_seed(2)
    end, _ = mala(landscape, templates, start, steps=80, step_size=6.25, generator=generator)
    ratio = float(torch.special.i1(torch.tensor(0.4)) / torch.special.i0(torch.tensor(0.4)))
    turn = 2 * math.pi * (end.coords - 0.2)
    assert_moments(turn.sin().ravel(), 0.0, ratio / 0.4, kurtosis=1.5)
    assert abs(float(turn.cos().mean()) - ratio) < SIGMAS * math.sqrt(0.5 / turn.numel())


def test_a_shortened_drift_keeps_detailed_balance() -> None:
    # A quartic well, E = (k/w)⁴: exact samples are (Gamma(1/4))^(1/4). Beyond |k| = w or so the drift of this step is
    # shortened. Started in equilibrium, the chain must stay there: E ~ Gamma(1/4), mean and variance 1/4.
    templates = TemplateBatch.of([CUBIC] * 20_000)
    generator = torch.Generator().manual_seed(3)
    width = 0.1
    quarter = torch.distributions.Gamma(torch.tensor(0.25, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        start = quarter.sample((20_000,)) ** 0.25
    start = start * torch.where(torch.rand(20_000, generator=generator) < 0.5, 1.0, -1.0) * width

    def landscape(geometry: Geometry) -> tuple[Tensor, Geometry]:
        k = geometry.lattice / width
        return k.pow(4).sum(1), Geometry(4 * k.pow(3) / width, torch.zeros_like(geometry.coords))

    lattice = torch.zeros(20_000, 6, dtype=torch.float64).index_copy(1, torch.tensor([5]), start[:, None])
    geometry = Geometry(lattice, still(templates).coords)
    h = 4.0 * (width / 0.1) ** 2
    shortened = h / 2 * landscape(geometry)[1].lattice[:, 5].abs() * 0.1 > 2 * math.sqrt(h)
    assert 0.05 < float(shortened.double().mean()) < 0.95
    end, report = mala(landscape, templates, geometry, steps=5, step_size=h, generator=generator)
    assert 0.05 < float(report.acceptance.mean()) < 0.9
    # The fourth central moment of Gamma(1/4) is 3/16 + 6/4, so its kurtosis is 27.
    assert_moments((end.lattice[:, 5] / width) ** 4, 0.25, 0.25, kurtosis=27.0)


def test_rejections_vanish_as_the_step_does() -> None:
    # The rejection rate of Langevin proposals falls as h^(3/2) (Roberts & Rosenthal 1998): 31.6 per decade.
    templates = TemplateBatch.of([TRICLINIC] * 2000)
    landscape = well(templates, centre=0.0, width=0.1, kappa=2.0, angle=0.0)
    equilibrium, _ = mala(
        landscape,
        templates,
        still(templates),
        steps=120,
        adapt_steps=60,
        step_size=0.1,
        generator=torch.Generator().manual_seed(4),
    )
    rejected = []
    for h in (0.1, 0.01, 0.001):
        generator = torch.Generator().manual_seed(5)
        _, report = mala(landscape, templates, equilibrium, steps=20, step_size=h, generator=generator)
        rejected.append(1 - float(report.acceptance.mean()))
    assert 20 < rejected[0] / rejected[1] < 45
    assert 20 < rejected[1] / rejected[2] < 45
    assert rejected[2] < 1e-3


def test_each_system_finds_its_own_step() -> None:
    # Wells of width 0.002 and 0.02, initial value off by orders of magnitude for both.
    templates = TemplateBatch.of([CUBIC] * 40)
    width = torch.tensor([0.002, 0.02], dtype=torch.float64).repeat(20)
    landscape = well(templates, centre=0.0, width=width, kappa=0.0, angle=0.0)
    _, report = mala(
        landscape,
        templates,
        still(templates),
        steps=700,
        adapt_steps=300,
        step_size=1e-5,
        generator=torch.Generator().manual_seed(6),
    )
    # 400 steps leave ±0.03 on an acceptance, the last gain of the adaptation (0.07) about ±0.1 on log h.
    assert (report.acceptance - TARGET_ACCEPTANCE).abs().max() < 0.12
    narrow, wide = report.step_size.reshape(20, 2).log().mean(0).exp().tolist()
    assert wide / narrow == pytest.approx(100, rel=0.15)  # h goes with the square of the width


def test_an_exact_run_continues_with_the_scale_and_step_of_the_first() -> None:
    templates = TemplateBatch.of([TRICLINIC] * 3)
    landscape = well(templates, centre=0.1, width=0.1, kappa=1.0, angle=0.3)
    start = still(templates)
    whole, _ = mala(landscape, templates, start, steps=20, step_size=0.1, generator=torch.Generator().manual_seed(7))
    generator, scale = torch.Generator().manual_seed(7), scales(templates, start)
    half, report = mala(landscape, templates, start, steps=10, step_size=0.1, generator=generator, scale=scale)
    both, _ = mala(landscape, templates, half, steps=10, step_size=report.step_size, generator=generator, scale=scale)
    assert torch.equal(both.lattice, whole.lattice)
    assert torch.equal(both.coords, whole.coords)


def test_an_unadjusted_step_widens_a_gaussian_as_theory_says() -> None:
    # Variance of x + (h/2)(-x/s²) + √h ξ: s²/(1 - h/(4 s²)), here 1/3 more. With s = 1 Å, h = 1 Å².
    templates = TemplateBatch.of([CUBIC] * 4000)
    geometry, generator = still(templates), torch.Generator().manual_seed(8)
    h = torch.ones(4000, dtype=torch.float64)
    for _ in range(25):  # each step halves the memory of the initial geometry
        score = Geometry(-geometry.lattice / 0.1, geometry.coords)
        geometry = langevin_step(templates, geometry, score, scales(templates, geometry), h, generator)
    assert_moments(geometry.lattice[:, 5] / 0.1, 0.0, 4 / 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_seed_one_run(dtype: torch.dtype) -> None:
    templates = TemplateBatch.of([TRICLINIC, ORTHORHOMBIC])
    landscape = well(templates, centre=0.1, width=0.1, kappa=1.0, angle=0.3)

    def run(seed: int) -> Geometry:
        generator = torch.Generator().manual_seed(seed)
        start = still(templates, dtype)
        return mala(landscape, templates, start, steps=10, adapt_steps=5, step_size=0.05, generator=generator)[0]

    one, again, other = run(1), run(1), run(2)
    assert one.lattice.dtype == one.coords.dtype == dtype
    assert torch.equal(one.lattice, again.lattice)
    assert torch.equal(one.coords, again.coords)
    assert not torch.equal(one.lattice, other.lattice)


@pytest.mark.parametrize("trouble", [math.nan, math.inf, -math.inf])
def test_a_sick_batch_mate_does_not_matter(trouble: float) -> None:
    # The second system's energy and slope go wrong as soon as it moves: it stays put, the first doesn't notice.
    templates = TemplateBatch.of([TRICLINIC, ORTHORHOMBIC])
    healthy = well(templates, centre=0.1, width=0.1, kappa=1.0, angle=0.3)

    def sick(geometry: Geometry) -> tuple[Tensor, Geometry]:
        energy, slope = healthy(geometry)
        ill = torch.tensor([False, bool(geometry.lattice[1].any())])
        return torch.where(ill, trouble, energy), Geometry(
            torch.where(ill[:, None], trouble, slope.lattice), slope.coords
        )

    def run(landscape: Landscape) -> Geometry:
        generator = torch.Generator().manual_seed(9)
        return mala(landscape, templates, still(templates), steps=30, step_size=0.05, generator=generator)[0]

    one, other = run(healthy), run(sick)
    assert torch.equal(one.lattice[0], other.lattice[0])
    assert torch.equal(one.coords[:2], other.coords[:2])
    assert not other.lattice[1].any()
    assert other.coords.isfinite().all()


def test_no_energy_is_evaluated_for_a_cell_out_of_bounds() -> None:
    templates = TemplateBatch.of([CUBIC] * 500)

    def flat(geometry: Geometry) -> tuple[Tensor, Geometry]:
        assert within_bounds(geometry).all()
        return geometry.lattice[:, 0] * 0, Geometry(geometry.lattice * 0, geometry.coords * 0)

    generator = torch.Generator().manual_seed(10)
    end, _ = mala(flat, templates, still(templates), steps=60, step_size=9.0, generator=generator)
    capped = mala(flat, templates, end, steps=60, adapt_steps=60, step_size=0.5, generator=generator)[1]
    assert (capped.step_size <= 1.0).all()  # where everything is accepted, h would grow without bound
    # A flat energy fills the box evenly: uniform on ±1.5/√3 in the volume parameter.
    edge = 1.5 / math.sqrt(3)
    assert_moments(end.lattice[:, 5], 0.0, edge**2 / 3, kurtosis=1.8)


def test_errors_teach() -> None:
    templates = TemplateBatch.of([CUBIC, CUBIC])

    def undefined(geometry: Geometry) -> tuple[Tensor, Geometry]:
        return torch.tensor([0.0, math.inf], dtype=torch.float64), geometry

    generator = torch.Generator()
    with pytest.raises(ValueError, match=r"finite energy at the start.*got inf in 1 of 2 systems \(first: 1\)"):
        mala(undefined, templates, still(templates), steps=1, step_size=0.1, generator=generator)
    with pytest.raises(ValueError, match="0 <= adapt_steps <= steps, got 3 and 2"):
        mala(undefined, templates, still(templates), steps=2, adapt_steps=3, step_size=0.1, generator=generator)
