"""Distributions on a logarithmic scale, and properties that follow from others by a formula."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from pymatgen.analysis.elasticity import ElasticTensor
from pymatgen.core import Lattice, Structure
from torch import Tensor

from matgen.targets.calibration import Calibration, calibrated, coverage
from matgen.targets.derived import TIAN, derived
from matgen.targets.distributions import Distribution, Logistic, Mixture, cdf, median
from matgen.targets.learned import BY_FILE, DERIVED, LEARNED, known_properties
from matgen.targets.properties import PROPERTIES
from matgen.targets.slack import debye_temperature, slack_conductivity
from matgen.targets.target import TargetError, parse_target
from matgen.targets.transformed import PoissonOfLogRatio, PowerOfTen, Transformed, log_logistic

DOUBLE = torch.float64
LEVELS = torch.tensor([0.01, 0.2, 0.5, 0.8, 0.99], dtype=DOUBLE)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def moduli(bulk: float, shear: float, scale: float = 0.04) -> dict[str, Distribution]:
    return {
        "bulk_modulus": log_logistic(double(math.log10(bulk)), double(scale)),
        "shear_modulus": log_logistic(double(math.log10(shear)), double(1.5 * scale)),
    }


DISTRIBUTIONS = {
    "modulus": log_logistic(double(2.0), double(0.05)),
    "mixture": Mixture((log_logistic(double(1.0), double(0.1)), log_logistic(double(1.5), double(0.05)))),
    "poisson": Transformed(Logistic(double(0.3), double(0.1)), PoissonOfLogRatio()),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_density_integrates_to_probabilities_and_quantiles_invert_them(distribution: Distribution) -> None:
    ends = distribution.quantile(LEVELS[:, None])[:, 0]
    assert cdf(distribution, ends[:, None])[:, 0].tolist() == pytest.approx(LEVELS.tolist(), abs=1e-6)  # bisection
    for low, high in pairwise(ends):
        grid = torch.linspace(float(low), float(high), 4001, dtype=DOUBLE)
        density = distribution.log_prob(grid[:, None])[:, 0].exp()
        exact = float(distribution.log_between(low, high).exp())
        assert float(torch.trapezoid(density, grid)) == pytest.approx(exact, rel=1e-4)  # of the trapezoidal rule


def test_no_probability_lies_where_the_quantity_cannot() -> None:
    modulus, poisson = DISTRIBUTIONS["modulus"], DISTRIBUTIONS["poisson"]
    nothing, everything = double(-math.inf), double(math.inf)
    assert float(modulus.log_between(nothing, everything)) == pytest.approx(0.0, abs=1e-12)
    assert float(modulus.log_between(nothing, double(0.0)).exp()) < 1e-12
    assert float(poisson.log_between(double(0.5), everything).exp()) < 1e-12
    assert modulus.log_prob(double(-1.0, 0.0)).tolist() == [-math.inf, -math.inf]
    assert poisson.log_prob(double(-1.0, 0.5, 0.7)).tolist() == [-math.inf] * 3


def test_a_change_of_unit_shifts_the_logarithm_and_changes_no_probability() -> None:
    in_gpa, in_mpa = log_logistic(double(2.0), double(0.1)), log_logistic(double(5.0), double(0.1))
    low, high = double(80.0), double(140.0)
    assert float(in_gpa.log_between(low, high)) == pytest.approx(float(in_mpa.log_between(1e3 * low, 1e3 * high)))


def test_the_scale_alone_is_calibrated_and_coverage_is_that_of_the_logarithm() -> None:
    wide = calibrated(DISTRIBUTIONS["modulus"], Calibration(temperature=3.0))
    assert wide == log_logistic(double(2.0), double(0.05) * 3.0)
    plain, value = log_logistic(torch.full((99,), 2.0), torch.full((99,), 0.1)), torch.arange(1, 100) / 100
    found = coverage(plain, plain.quantile(value), 0.9)
    assert float(found.mean()) == pytest.approx(0.9, abs=0.02)  # 99 even ranks


@pytest.mark.parametrize("bulk", [20.0, 160.0, 440.0])
@pytest.mark.parametrize("ratio", [0.9, 1.7, 4.0])
def test_derived_medians_are_those_of_isotropic_elasticity(bulk: float, ratio: float) -> None:
    shear = bulk / ratio
    found = {name: float(median(one)) for name, one in derived(moduli(bulk, shear), 0.3).items()}
    assert found["pugh_ratio"] == pytest.approx(ratio)
    assert found["poisson_ratio"] == pytest.approx((3 * bulk - 2 * shear) / (6 * bulk + 2 * shear))
    assert found["young_modulus"] == pytest.approx(2 * shear * (1 + found["poisson_ratio"]))
    factor, of_ratio, of_shear = TIAN
    assert found["vickers_hardness"] == pytest.approx(factor * (shear / bulk) ** of_ratio * shear**of_shear)


def test_the_hardness_of_diamond_is_the_published_one() -> None:
    found = derived(moduli(443.0, 535.0), 0.0)["vickers_hardness"]
    assert float(median(found)) == pytest.approx(96.0, rel=0.03)  # Tian et al. 2012 give 95.7 GPa for other moduli


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.455, 0.9])
def test_errors_are_carried_through_as_sampling_carries_them(correlation: float) -> None:
    """The spread of each derived quantity, against correlated samples of both moduli."""
    n, scale = 200_000, 0.03
    spread = double(scale, 1.5 * scale) * math.pi / math.sqrt(3)
    first, second = torch.randn(2, n, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    second = correlation * first + math.sqrt(1 - correlation**2) * second
    bulk, shear = 10 ** (2.2 + spread[0] * first), 10 ** (1.9 + spread[1] * second)
    poisson = (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear)
    sampled = {
        "pugh_ratio": bulk / shear,
        "poisson_ratio": poisson,
        "young_modulus": 2 * shear * (1 + poisson),
        "vickers_hardness": TIAN[0] * (shear / bulk) ** TIAN[1] * shear ** TIAN[2],
    }
    found = derived(moduli(10**2.2, 10**1.9, scale), correlation)
    for name, values in sampled.items():
        transform = found[name].transform  # type: ignore[attr-defined]
        expected = float(transform.inverse(values).std())
        own = float(found[name].base.scale) * math.pi / math.sqrt(3)  # type: ignore[attr-defined]
        assert own == pytest.approx(expected, rel=0.03), name  # first order in the errors; 0.3 % of sampling


def test_the_dielectric_constant_is_the_square_of_the_index() -> None:
    index = log_logistic(double(0.4), double(0.03))
    square = derived({"refractive_index": index}, 0.0)["dielectric_constant"]
    assert square.quantile(LEVELS).tolist() == pytest.approx(index.quantile(LEVELS).square().tolist())


def test_what_is_not_predicted_gives_nothing() -> None:
    assert derived({"bulk_modulus": moduli(100.0, 50.0)["bulk_modulus"]}, 0.5) == {}
    with pytest.raises(TypeError):
        derived({"refractive_index": Logistic(double(2.0), double(0.1))}, 0.0)


def test_transforms_are_inverted() -> None:
    z = torch.linspace(-1.5, 2.0, 50, dtype=DOUBLE)
    for transform in (PowerOfTen(), PoissonOfLogRatio()):
        y = transform.of(z)
        assert bool((y.diff() > 0).all())
        assert transform.inverse(y).tolist() == pytest.approx(z.tolist(), abs=1e-9)
        slope = torch.autograd.functional.jacobian(transform.inverse, y).diagonal()
        assert transform.log_slope(y).exp().tolist() == pytest.approx(slope.tolist(), rel=1e-9)


# ---------------------------------------------------------------- targets


def test_a_point_of_a_positive_property_is_met_within_a_share_of_it() -> None:
    for value in (50.0, 300.0):
        target = parse_target("k_vrh", f"{value}", known_properties("crystal"))
        assert target.name == "bulk_modulus"
        assert target.window == pytest.approx((0.8 * value, 1.2 * value))
        assert target.met(1.19 * value)
        assert not target.met(0.79 * value)
        exact = log_logistic(torch.tensor([math.log10(value)]), torch.tensor([0.001]))
        assert float(target.energy(exact)) == pytest.approx(0.0, abs=1e-6)
    assert str(parse_target("pugh_ratio", ">1.75", BY_FILE)) == "pugh_ratio > 1.75"
    assert str(parse_target("bulk_modulus", "300", BY_FILE)) == "bulk_modulus = 300 GPa"


@pytest.mark.parametrize("text", ["0", "-5", "<=0", "<0", "-2:0", "700", ">1e4"])
def test_a_modulus_that_no_crystal_has_is_refused(text: str) -> None:
    with pytest.raises(TargetError, match="expected a bulk_modulus"):
        parse_target("bulk_modulus", text, BY_FILE)


def test_no_name_or_alias_of_a_property_means_two() -> None:
    names = [name for one in known_properties("crystal").values() for name in (one.name, *one.aliases)]
    assert len(names) == len(set(names))
    assert not BY_FILE.keys() & PROPERTIES.keys()
    assert {**LEARNED, **DERIVED} == BY_FILE


# ---------------------------------------------------------------- Slack


def test_the_debye_temperature_agrees_with_that_of_pymatgen() -> None:
    cell = Structure(Lattice.cubic(5.43), ["Si"], [[0.0, 0.0, 0.0]])
    bulk, shear = 98.0, 66.0
    a, b = bulk + 4 / 3 * shear, bulk - 2 / 3 * shear
    isotropic = np.diag([a - b] * 3 + [shear] * 3) + b * np.pad(np.ones((3, 3)), (0, 3))
    expected = ElasticTensor.from_voigt(isotropic).debye_temperature(cell)
    assert debye_temperature(bulk, shear, 28.0855, cell.volume) == pytest.approx(expected, rel=1e-3)  # of constants


def test_slack_gives_the_order_of_silicon_and_scales_as_the_formula() -> None:
    silicon = {"bulk_modulus": 98.0, "shear_modulus": 66.0, "debye_temperature": 645.0}
    cell = {"mass": 28.0855, "volume": 20.0, "n_atoms": 2}
    found = slack_conductivity(**silicon, **cell)
    assert 50 < found < 200  # measured: 148 W/m/K
    assert slack_conductivity(**silicon, **cell, temperature=600.0) == pytest.approx(found / 2)
    assert slack_conductivity(**silicon, **cell | {"n_atoms": 16}) == pytest.approx(found / 4)
    stiff = silicon | {"debye_temperature": 2 * 645.0}
    assert slack_conductivity(**stiff, **cell) == pytest.approx(8 * found)
    with pytest.raises(ValueError, match="positive"):
        slack_conductivity(**silicon | {"shear_modulus": -1.0}, **cell)
