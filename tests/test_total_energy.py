"""The energy that a request defines, and the conditions on which templates are sampled."""

import math
from collections.abc import Mapping

import pytest
import torch

from matgen.chemistry.elements import ATOMIC_NUMBERS
from matgen.generation.kinds.crystals import Crystals, sampled_conditions, settled_conditions
from matgen.generation.repetition import repeats
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig
from matgen.generation.total_energy import ranking_terms, weighted_targets
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import layout
from matgen.templates.wyckoff import wyckoff_table
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import PROTOTYPES
from matgen.weights.models import load_models

needs_weights = pytest.mark.skipif(
    not (WEIGHTS / f"{PROTOTYPES}.safetensors").exists(), reason="needs the shipped weights"
)

GA, N, OX = (ATOMIC_NUMBERS[symbol] for symbol in ("Ga", "N", "O"))


def sampled(request: Request, n: int = 400) -> torch.Tensor:
    return sampled_conditions(request, n, torch.Generator().manual_seed(0)).properties


def test_a_range_settles_nothing_and_is_sampled() -> None:
    request = Request.of(targets={"band_gap": "1:2"})
    assert settled_conditions(request).properties[0, 0].isnan()
    values = sampled(request)[:, 0]
    assert values.min() >= 1.0
    assert values.max() <= 2.0
    assert values.std() > 0.2  # uniform: 0.29


def test_a_point_is_settled() -> None:
    assert settled_conditions(Request.of(targets={"band_gap": 1.5})).properties[0, 0] == pytest.approx(1.5)


def test_metals_belong_to_a_range_that_begins_at_zero() -> None:
    gaps = sampled(Request.of(targets={"band_gap": "<=0.5"}))[:, 0]
    assert 0.4 < (gaps == 0).float().mean() < 0.6  # half of 400; five standard deviations are 0.125
    assert (sampled(Request.of(targets={"band_gap": ">0"}))[:, 0] > 0).all()


def test_open_ranges_of_energies_stay_on_their_side() -> None:
    assert (sampled(Request.of(targets={"formation_energy": "<-1"}))[:, 1] <= -1).all()


def test_only_these_elements_does_not_mean_all_of_them() -> None:
    request = Request.of(elements=("Ga", "N", "O"), include=("N",))
    assert settled_conditions(request).elements[0].nonzero().ravel().tolist() == [N]
    conditions = sampled_conditions(request, 200, torch.Generator().manual_seed(0))
    counts = conditions.elements.sum(1)
    assert conditions.elements[:, N].all()
    assert not conditions.elements[:, [z for z in range(95) if z not in (GA, N, OX)]].any()
    assert {1, 2, 3} == set(counts.tolist())


def test_stability_is_a_target_unless_the_request_has_another() -> None:
    assert [t.name for t, _ in weighted_targets(Request())] == ["energy_above_hull"]
    asked = weighted_targets(Request.of(targets={"energy_above_hull": ">0.2"}))
    assert [(t.name, t.low > 0, t.high) for t, _ in asked] == [("energy_above_hull", True, math.inf)]


@needs_weights
def test_ranking_weighs_targets_by_a_weight_of_its_own() -> None:
    models = load_models()
    salt = CrystalTemplate(225, tuple((wyckoff_table().positions_of(225)[i], z) for i, z in enumerate((11, 17))))
    batch, geometry = TemplateBatch.of([salt]), Geometry(torch.zeros(1, 6), torch.zeros(2, 3))

    def terms(
        formula: str = "", properties: Mapping[str, float | str] = {"band_gap": 1.5}, **weights: float
    ) -> dict[str, float]:
        request = Request.of(targets=dict(properties), formula=formula, sampler=SamplerConfig(**weights))
        found = ranking_terms(batch, geometry, torch.full((1,), 0.1), request, Crystals(request, models))
        return {name: value.item() for name, value in found.items()}

    usual, sampling, choosing = terms(rank_target=4.0), terms(rank_target=4.0, target=0.0), terms(rank_target=8.0)
    assert sampling == usual  # whatever the weight in the sampler
    for name in ("band_gap", "band_gap_template"):
        assert choosing[name] == pytest.approx(2 * usual[name])
    others = usual.keys() - {"band_gap", "band_gap_template"}
    assert {name: choosing[name] for name in others} == {name: usual[name] for name in others}
    assert "chemical_distance" in usual
    named = terms(formula="NaCl")
    assert "chemical_distance" in named
    assert "closed_shell" not in named  # the composition settles it
    assert "chemical_distance" not in terms(properties={})  # no prediction to be kept from misleading
    assert "closed_shell" in usual
    for metals_too in ({}, {"band_gap": "<=1"}, {"band_gap": 0}):
        assert "closed_shell" not in terms(properties=metals_too)


def test_each_repeat_of_a_layout_costs_more() -> None:
    a, b = (wyckoff_table().positions_of(225)[i] for i in (0, 1))
    salts = [CrystalTemplate(225, ((a, z), (b, 8))) for z in (12, 20, 38)]
    other = CrystalTemplate(225, ((a, 29),))
    found = repeats([layout(template) for template in (*salts, other)], torch.tensor([3.0, 1.0, 2.0, 0.0]), 0.5)
    assert found.tolist() == [1.0, 0.0, 0.5, 0.0]
