"""Laws of the contrast of a graph energy: its losses, adversarial negatives, and what the objective makes of them."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"))

from matgen.datasets.crystals import CrystalTable
from matgen.nn.graph_energy import GraphEnergy, GraphEnergyConfig, energy_per_atom
from matgen.nn.trunk import TrunkConfig
from matgen.runtime.config import ConfigError
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.training.adversarial import LEVEL, adversarial, descended
from matgen.training.config import train_config
from matgen.training.contrast import ContrastForm, Levels, beyond, contrast_loss, infonce, logistic, reality
from matgen.training.denoising import missed, noised
from matgen.training.graph_energy import GraphObjective
from matgen.training.graph_loss import GraphLoss
from matgen.training.properties import PropertyTargets, trainable
from matgen.weights.models import load
from shared.contrasts import above_own, areas, energies, intervals
from shared.frozen import Candidates, Systems, pool, read


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def levels(n: int = 6, negatives: int = 1, past: int = 0) -> Levels:
    rng = generator(n + 10 * negatives)
    owner = torch.arange(n).repeat(negatives)
    real, false, earlier = (3 * torch.randn(k, dtype=torch.float64, generator=rng) for k in (n, len(owner), past))
    return Levels(real, false, owner, false - real[owner], torch.ones(n, dtype=torch.float64), earlier)


def test_the_logistic_loss_is_the_cross_entropy_at_minus_the_energy() -> None:
    some = levels()
    logit, one = -torch.cat([some.real, some.false]), torch.ones(6, dtype=torch.float64)
    expected = 2 * F.binary_cross_entropy_with_logits(logit, torch.cat([one, 0 * one]))  # as many of either
    torch.testing.assert_close(contrast_loss(some, ContrastForm()), expected)


def test_infonce_with_one_negative_is_the_logistic_loss_of_the_difference() -> None:
    some = levels()
    expected = F.binary_cross_entropy_with_logits(some.false - some.real, torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(infonce(some, temperature=1.0), expected)


def test_infonce_is_the_likelihood_of_the_real_system_among_its_negatives() -> None:
    some, temperature = levels(4, 3), 0.7
    expected = []
    for i in range(4):
        rivals = torch.cat([some.real[i : i + 1], some.false[some.owner == i]])
        expected.append(-torch.softmax(-rivals / temperature, 0)[0].log())
    torch.testing.assert_close(infonce(some, temperature), torch.stack(expected).mean())


def test_infonce_does_not_see_a_common_shift_and_the_logistic_loss_does() -> None:
    some = levels(5, 2, past=3)
    shifted = replace(some, real=some.real + 1.7, false=some.false + 1.7, past=some.past + 1.7)
    torch.testing.assert_close(infonce(some, 0.5), infonce(shifted, 0.5))
    assert abs(float(logistic(some) - logistic(shifted))) > 0.1


def test_at_low_temperature_only_the_lowest_negative_counts() -> None:
    some, temperature = levels(5, 4), 1e-4
    lowest = some.false.reshape(4, 5).amin(0)
    expected = F.relu(some.real - lowest).mean()
    # log(1 + n) is the most that T · loss is above its limit.
    assert float(temperature * infonce(some, temperature)) == pytest.approx(
        float(expected), abs=temperature * math.log(5)
    )


def test_a_queue_of_size_zero_is_none_and_past_negatives_are_negatives_of_all() -> None:
    some = levels(3, 1, past=4)
    assert infonce(replace(some, past=some.past[:0]), 1.0) == infonce(levels(3), 1.0)
    for_all = replace(
        some,
        false=torch.cat([some.false, some.past.repeat(3)]),
        owner=torch.cat([some.owner, torch.arange(3).repeat_interleave(4)]),
        past=some.past[:0],
    )
    torch.testing.assert_close(infonce(some, 0.8), infonce(for_all, 0.8))
    assert float(infonce(some, 0.8)) > float(infonce(replace(some, past=some.past[:0]), 0.8)), "more to compare with"


def test_real_systems_without_a_negative_do_not_count() -> None:
    some = levels(4)
    fewer = replace(some, false=some.false[:2], owner=some.owner[:2])
    alone = replace(some, real=some.real[:2], false=some.false[:2], owner=some.owner[:2], reality=some.reality[:2])
    torch.testing.assert_close(infonce(fewer, 1.0), infonce(alone, 1.0))
    none = replace(some, real=some.real.requires_grad_(), false=some.false[:0], owner=some.owner[:0])
    loss = infonce(none, 1.0)
    loss.backward()
    assert float(loss) == 0.0
    assert bool(none.real.grad is not None and none.real.grad.isfinite().all())


def test_soft_labels_on_the_hull_are_hard_labels() -> None:
    some, above = levels(), torch.tensor([0.0, 0.0, -0.1, math.nan, 0.0, 0.0]).double()
    soft = replace(some, reality=reality(above, 0.1))
    assert torch.equal(soft.reality, some.reality), "below the hull and unknown count as real"
    assert logistic(soft) == logistic(some)
    assert torch.equal(reality(torch.tensor([0.0, 5.0]), 0.0), torch.ones(2)), "without a scale all count alike"


def test_soft_labels_fall_by_e_over_the_scale_and_end_as_negatives() -> None:
    torch.testing.assert_close(reality(torch.tensor([0.1, 0.2]), 0.1), torch.tensor([math.exp(-1), math.exp(-2)]))
    some = levels()
    unreal = replace(some, reality=torch.zeros_like(some.reality))
    torch.testing.assert_close(logistic(unreal), F.softplus(-some.real).mean() + F.softplus(-some.false).mean())
    # The least loss of a system of reality p is at E / N = -logit p.
    p = torch.tensor([0.3], dtype=torch.float64)
    real = torch.tensor([-math.log(0.3 / 0.7)], dtype=torch.float64, requires_grad=True)
    logistic(Levels(real, some.false[:0], some.owner[:0], some.apart[:0], p, some.past)).backward()
    assert float(real.grad) == pytest.approx(0.0, abs=1e-12)  # type: ignore[arg-type]


def test_the_bound_does_nothing_below_it_and_grows_by_half_the_square_above() -> None:
    some = levels()
    apart = (some.false - some.real).abs()
    free, bound = ContrastForm(), ContrastForm(bound=float(apart.max()) + 0.01)
    grads = []
    for form in (free, bound):
        real = some.real.clone().requires_grad_()
        loss = contrast_loss(replace(some, real=real, apart=some.false - real), form)
        loss.backward()
        grads.append((loss.item(), real.grad))
    assert grads[0][0] == grads[1][0]
    assert torch.equal(grads[0][1], grads[1][1])
    for sign in (1, -1):
        assert float(beyond(sign * torch.tensor([3.0, 1.0]), 2.0)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"loss": "hinge"}, "form.loss"),
        ({"loss": "infonce", "temperature": 0.0}, "temperature above 0"),
        ({"negatives": 0}, "negatives of at least 1"),
        ({"queue": 5}, "loss = 'infonce'"),
        ({"temperature": 0.5}, "loss = 'infonce'"),
        ({"loss": "infonce", "soft": 0.1}, "loss = 'logistic'"),
        ({"soft": -0.1}, "soft of at least 0"),
        ({"bound": math.nan}, "bound of at least 0"),
        ({"adversarial_share": 0.8}, "sample_share"),
        ({"tau": 1.0}, "unknown key 'tau'"),
    ],
)
def test_a_form_that_cannot_be_is_refused(given: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        train_config({"kind": "graph_energy", "loss": {"sample_share": 0.25, "form": given}})


# ---------------------------------------------------------------- adversarial negatives and the objective


@pytest.fixture(scope="module")
def table(prepared_table: Path) -> CrystalTable:
    return CrystalTable.load(prepared_table)


@pytest.fixture(scope="module")
def some(table: CrystalTable) -> tuple[TemplateBatch, Geometry]:
    templates, geometry = table.batch(torch.arange(0, len(table), max(1, len(table) // 16)))
    return templates, Geometry(geometry.lattice.double(), geometry.coords.double())


def tiny_graph() -> GraphEnergy:
    torch.manual_seed(0)
    return GraphEnergy(GraphEnergyConfig(TrunkConfig(channels=8, layers=2, cutoff=4.0), hidden=16))


def energy(model: GraphEnergy, templates: TemplateBatch, geometry: Geometry) -> Tensor:
    state = expand(templates, geometry)
    sigma = torch.full((templates.n_systems,), LEVEL, dtype=torch.float64)
    return energy_per_atom(model(state, sigma), state, sigma).detach()


def test_no_step_of_descent_is_none_and_no_step_raises_the_energy(some: tuple[TemplateBatch, Geometry]) -> None:
    (templates, geometry), model = some, load("graph_energy").double()
    size = torch.full((templates.n_systems,), 0.5).double()
    begun, _ = noised(templates, geometry, size, generator())
    assert descended(model, templates, begun, 0) is begun
    before = energy(model, templates, begun)
    previous = before
    for steps in (1, 2, 4):
        after = energy(model, templates, descended(model, templates, begun, steps))
        assert bool((after <= previous).all())
        previous = after
    # By up to 18 units of E / N; simple crystals with a free volume alone begin little above their lowest energy.
    assert float((before - previous > 1e-3).double().mean()) > 0.8
    assert float((before - previous).max()) > 1.0


def test_descent_moves_free_parameters_alone_and_each_system_by_itself(some: tuple[TemplateBatch, Geometry]) -> None:
    (templates, geometry), model = some, tiny_graph().double()
    begun, _ = noised(templates, geometry, torch.full((templates.n_systems,), 0.5).double(), generator())
    ended = descended(model, templates, begun, 3)
    assert torch.equal(ended.lattice[~templates.free_lattice], begun.lattice[~templates.free_lattice])
    assert torch.equal(ended.coords[~templates.free_coords], begun.coords[~templates.free_coords])
    rows = torch.tensor([3])
    alone = descended(model, templates.select(rows), begun.select(templates, rows), 3)
    torch.testing.assert_close(alone.lattice, ended.select(templates, rows).lattice)
    torch.testing.assert_close(alone.coords, ended.select(templates, rows).coords)


def test_adversarial_negatives_are_of_the_same_templates_and_off_the_truth(
    some: tuple[TemplateBatch, Geometry],
) -> None:
    (templates, geometry), model = some, tiny_graph().double()
    same, ended, wrong = adversarial(model, templates, geometry, generator(), 2)
    assert same is templates
    assert torch.equal(wrong, missed(templates, geometry, ended))
    assert wrong.any()
    again = adversarial(model, templates, geometry, generator(), 2)[1]
    assert torch.equal(again.lattice, ended.lattice)
    assert all(p.grad is None for p in model.parameters()), "making negatives trains nothing"


def objective_of(table: CrystalTable, loss: GraphLoss) -> GraphObjective:
    rows = trainable(table).nonzero().ravel()
    return GraphObjective(table, rows, rows[:4], PropertyTargets.of(table, rows), loss)


FORMS = [
    ContrastForm(),
    ContrastForm("infonce", temperature=0.5, negatives=3),
    ContrastForm("infonce", queue=5),
    ContrastForm(soft=0.1),
    ContrastForm(adversarial_share=0.5, adversarial_steps=1),
    ContrastForm(bound=0.01),
]


@pytest.mark.parametrize("form", FORMS, ids=["logistic", "infonce", "queue", "soft", "adversarial", "bound"])
def test_every_form_trains_the_scalar(table: CrystalTable, form: ContrastForm) -> None:
    objective, model = objective_of(table, GraphLoss(form=form, sample_share=0.2)), tiny_graph()
    rows = objective.rows[torch.arange(24) % len(objective.rows)]
    loss, _ = objective.loss(model, rows, generator(1))
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.site_energy.parameters())
    objective.loss(model, rows, generator(2))
    objective.loss(model, rows, generator(3))
    assert len(objective.past) == form.queue, "the latest negatives, as many as asked for"


@pytest.mark.parametrize("form", FORMS, ids=["logistic", "infonce", "queue", "soft", "adversarial", "bound"])
def test_a_form_gives_the_loss_of_the_cpu_on_every_device(table: CrystalTable, form: ContrastForm, device: str) -> None:
    losses = []
    for where in ("cpu", device):
        objective = objective_of(table.to(where), GraphLoss(form=form, sample_share=0.2))
        model = tiny_graph().to(where)
        for seed in (1, 2):
            loss, _ = objective.loss(model, objective.rows[torch.arange(24) % len(objective.rows)], generator(seed))
        loss.backward()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_energies_of_a_pool_are_those_of_the_cpu_on_every_device(table: CrystalTable, device: str) -> None:
    found = []
    for where in ("cpu", device):
        model, some = tiny_graph().to(where), table.to(where)

        def levels(n: int, _: torch.Generator, where: str = where) -> Tensor:
            return torch.full((n,), LEVEL, device=where)

        rows = torch.arange(8, device=where)
        held = pool(model, some, rows, levels, generator(), noise=False, size=5)
        found.append([part.detach().cpu() for part in energies(model.site_energy, held)])
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-2, atol=1e-2, equal_nan=True)


def test_negatives_know_which_system_they_were_made_from(table: CrystalTable) -> None:
    objective, model = objective_of(table, GraphLoss(form=ContrastForm(negatives=3))), tiny_graph()
    templates, geometry = table.batch(objective.rows[:8])
    wrong, _, owner = objective._wrong(model, templates, geometry, 8, generator())
    assert torch.equal(wrong.space_group, templates.space_group[owner])
    assert torch.equal(wrong.n_sites, templates.n_sites[owner])
    # Each class leaves out those that it cannot make wrong, and volumes can always be wrong.
    assert 8 < len(owner) <= 24


# ---------------------------------------------------------------- the benchmark


def test_what_is_kept_of_a_system_gives_its_energy(some: tuple[TemplateBatch, Geometry]) -> None:
    (templates, _), model = some, load("graph_energy")
    geometry = Geometry(some[1].lattice.float(), some[1].coords.float())
    sigma = torch.full((templates.n_systems,), LEVEL)
    kept = read(model, templates, geometry, sigma)
    twice = Systems.joined([kept, kept])
    state = expand(templates, geometry)
    expected = energy_per_atom(model(state, sigma), state, sigma).detach()
    rows = torch.tensor([2, len(expected) + 5, 0])
    found = twice.levels(model.site_energy, rows).detach()
    torch.testing.assert_close(found, expected[rows % len(expected)], atol=1e-5, rtol=1e-5)


def test_the_candidate_of_lowest_energy_of_each_row_is_chosen() -> None:
    residual = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0])
    systems = Systems(torch.zeros(5, 1), torch.ones(5), torch.ones(5, dtype=torch.long), residual)
    hit = torch.tensor([True, False, True, False, True])
    found = Candidates(systems, torch.tensor([0, 0, 0, 1, 1]), hit).chosen(torch.nn.Linear(1, 1))
    assert found.tolist() == [False, True]


def test_a_variant_does_not_differ_from_itself_and_shares_leave_out_what_is_impossible() -> None:
    rng = generator()
    real, false = torch.randn(50, generator=rng), torch.randn(7, 50, generator=rng) + 1
    false[3, ::2] = torch.nan
    assert not intervals([(real, false)] * 2, [(real, false)] * 2)[0].any()
    better = [(real, false + 1)] * 2
    mean, low, high = intervals(better, [(real, false)] * 2)
    assert bool((low <= mean).all() and (mean <= high).all() and (mean > 0).all())
    assert float(areas(real, false)[3]) == pytest.approx(float((false[3, 1::2, None] > real).double().mean()))
    assert above_own(real, false[3]) == pytest.approx(float((false[3, 1::2] > real[1::2]).double().mean()))
