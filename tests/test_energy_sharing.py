"""A sum evaluates a network once, though several terms read it."""

from dataclasses import replace

import pytest
import torch
from test_energy import Density
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy, TemplateSum, gradients
from matgen.energies.sharing import answer_of, shared_answers, single_templates
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand


@pytest.fixture
def batch() -> tuple[TemplateBatch, Geometry]:
    templates, generator = (
        TemplateBatch.of([CrystalTemplate(1, ((0, 11), (0, 17)))] * 3),
        torch.Generator().manual_seed(0),
    )
    lattice = 0.1 * torch.randn(3, 6, generator=generator, dtype=torch.float64)
    return templates, Geometry(lattice, torch.rand(6, 3, generator=generator, dtype=torch.float64))


@pytest.fixture
def state(batch: tuple[TemplateBatch, Geometry]) -> State:
    return expand(*batch)


@pytest.fixture
def sigma() -> Tensor:
    return torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)


class Reader(Energy):
    """A power of the output of a network."""

    def __init__(self, network: "Network", power: int) -> None:
        super().__init__()
        self.network, self.power, self.name = network, power, f"reader_{power}"

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        return answer_of(self.network, state, sigma) ** self.power


class Network(torch.nn.Module):
    """The volume of each cell, with a count of evaluations."""

    times = 0

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        self.times += 1
        return state.cell.det().abs() / 50 + 0 * sigma


def test_a_sum_evaluates_a_network_once(batch: tuple[TemplateBatch, Geometry], sigma: Tensor) -> None:
    network = Network()
    total = Reader(network, 1) + 2.0 * Reader(network, 2) + 1.0 * (Reader(network, 3) + Density())
    value, slope = gradients(total, *batch, sigma)
    assert network.times == 1
    apart = [gradients(part, *batch, sigma) for _, part in total.terms().values()]
    assert network.times == 4  # outside the sum each term evaluates it
    weights = [weight for weight, _ in total.terms().values()]
    assert torch.allclose(value, sum(w * e for w, (e, _) in zip(weights, apart, strict=True)), rtol=1e-12)
    summed = sum(w * g.lattice for w, (_, g) in zip(weights, apart, strict=True))
    assert torch.allclose(slope.lattice, summed, rtol=1e-12)


def test_a_sum_can_be_evaluated_again_on_the_same_state(state: State, sigma: Tensor) -> None:
    network = Network()
    total = Reader(network, 1) + Reader(network, 2)
    moving = replace(state, cell=state.cell.detach().requires_grad_())
    slopes = [torch.autograd.grad(total(moving, sigma).sum(), moving.cell)[0] for _ in range(2)]
    assert torch.equal(*slopes)  # each time with an autograd graph of its own
    assert network.times == 2


def test_a_result_without_a_graph_is_not_shared_where_one_is_needed(state: State, sigma: Tensor) -> None:
    network = Network()
    moving = replace(state, cell=state.cell.detach().requires_grad_())
    with shared_answers():
        with torch.no_grad():
            plain = answer_of(network, moving, sigma)
        tracked = answer_of(network, moving, sigma)
        assert (plain.requires_grad, tracked.requires_grad, network.times) == (False, True, 2)


def test_an_inner_block_sees_the_results_of_the_outer_and_leaves_none(state: State, sigma: Tensor) -> None:
    network = Network()
    with shared_answers():
        answer_of(network, state, sigma)
        with shared_answers():
            answer_of(network, state, sigma)
            answer_of(network, state, 2 * sigma)
        assert network.times == 2
        answer_of(network, state, 2 * sigma)
        assert network.times == 3
    answer_of(network, state, sigma)
    assert network.times == 4


class Sites(TemplateEnergy):
    """Sites of each template."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, templates: TemplateBatch) -> Tensor:
        return torch.tensor([float(len(one.sites)) for one in single_templates(templates)])


def test_terms_of_templates_share_one_list_of_them(
    batch: tuple[TemplateBatch, Geometry], monkeypatch: pytest.MonkeyPatch
) -> None:
    unbatched: list[TemplateBatch] = []
    plain = TemplateBatch.unbatch

    def unbatch(templates: TemplateBatch) -> list:
        unbatched.append(templates)
        return plain(templates)

    monkeypatch.setattr(TemplateBatch, "unbatch", unbatch)
    energy = TemplateSum({"one": (1.0, Sites("one")), "two": (2.0, Sites("two"))})
    for found in (energy(batch[0]), energy.below(batch[0], torch.full((3,), 10.0))):
        assert found.tolist() == [6.0] * 3
    assert len(unbatched) == 2, "once for each evaluation of the sum"
    assert single_templates(batch[0]) == plain(batch[0])
