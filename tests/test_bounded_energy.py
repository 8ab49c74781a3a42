"""A sum of template energies up to a ceiling: the same chains, fewer evaluations of networks."""

import math

import pytest
import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy, TemplateSum
from matgen.generation.kinds import kind_of_request
from matgen.generation.request import Request
from matgen.generation.total_energy import template_energy
from matgen.nn.sites import ElementEmbedding
from matgen.samplers.metropolis import metropolis
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.wyckoff import wyckoff_table

FIRST = wyckoff_table().positions_of(1)[0]
TEMPLATES = TemplateBatch.of([CrystalTemplate(1, ((FIRST, z),)) for z in range(1, 9)])


class Heaviness(TemplateEnergy):
    """The atomic number over ten, which counts how many systems it is asked for."""

    def __init__(self, name: str, network: object | None = None, lowest: float = 0.0) -> None:
        super().__init__()
        self.name, self.network, self.lowest, self.asked = name, network, lowest, 0

    def network_read(self) -> object | None:
        return self.network

    def floor(self, templates: TemplateBatch) -> Tensor:
        return torch.full((templates.n_systems,), self.lowest)

    def forward(self, templates: TemplateBatch) -> Tensor:
        self.asked += templates.n_systems
        return templates.site_element / 10


def test_the_sum_is_exact_up_to_the_ceiling_and_networks_are_asked_for_the_rest_no_more() -> None:
    cheap, one, other = Heaviness("cheap"), Heaviness("one", "A"), Heaviness("other", "B")
    total = TemplateSum({}) + one + cheap + other
    ceiling = torch.full((8,), 0.75)
    found = total.below(TEMPLATES, ceiling)
    exact = total(TEMPLATES)
    assert torch.equal(found[exact <= ceiling], exact[exact <= ceiling])
    assert ((found == exact) | (exact > ceiling)).all()
    assert found.isinf().sum() == 6  # 0.1 z for each of three terms: z = 1 and 2 are below
    assert (cheap.asked, one.asked, other.asked) == (8 + 8, 7 + 8, 3 + 8)  # the second number is of `exact`


def test_a_term_without_a_bound_is_always_asked() -> None:
    cheap, one = Heaviness("cheap"), Heaviness("one", "A", lowest=-math.inf)
    (TemplateSum({}) + cheap + one).below(TEMPLATES, torch.zeros(8))
    assert one.asked == 8


def test_a_negative_weight_turns_no_lower_bound_into_one() -> None:
    cheap, one = Heaviness("cheap"), Heaviness("one", "A")
    total = 20 * cheap + -20.5 * one
    ceiling = torch.zeros(8)
    torch.testing.assert_close(total.below(TEMPLATES, ceiling), total(TEMPLATES))


@pytest.fixture(scope="module")
def total() -> TemplateSum:
    request = Request.of(n=1, band_gap=1.5)
    return template_energy(request, kind_of_request(request))


def test_chains_up_to_the_ceiling_are_those_of_the_whole_energy(total: TemplateSum) -> None:
    request = Request.of(n=1, band_gap=1.5)
    kind = kind_of_request(request)
    begin = kind.sample(12, torch.Generator().manual_seed(0))
    ways = []
    with torch.no_grad():
        for below in (None, total.below):
            generator = torch.Generator().manual_seed(1)
            chains, report = metropolis(total, begin, kind.moves(), steps=12, generator=generator, below=below)
            ways.append((chains, report.energy))
    assert ways[0][0] == ways[1][0]
    torch.testing.assert_close(ways[0][1], ways[1][1], rtol=1e-5, atol=1e-4)  # batches of another size round otherwise
    assert (ways[0][1][0] != ways[0][1][-1]).any()


def test_networks_are_asked_for_few_proposals(total: TemplateSum, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request.of(n=1, band_gap=1.5)
    kind = kind_of_request(request)
    begin = kind.sample(12, torch.Generator().manual_seed(0))
    asked: dict[str, int] = {}
    for _, term in total.terms().values():

        def counted(_: object, inputs: tuple[TemplateBatch], name: str = term.name) -> None:
            asked[name] = asked.get(name, 0) + inputs[0].n_systems

        monkeypatch.setattr(term, "_forward_pre_hooks", {0: counted})
    with torch.no_grad():
        metropolis(total, begin, kind.moves(), steps=12, generator=torch.Generator().manual_seed(1), below=total.below)
    assert 0 < asked["band_gap"] < 0.7 * asked["template_prior"] < 0.7 * asked["charge_balance"]


def test_no_term_is_below_its_floor(total: TemplateSum) -> None:
    request = Request.of(n=1, band_gap=1.5)
    batch = TemplateBatch.of(kind_of_request(request).sample(40, torch.Generator().manual_seed(2)))
    with torch.no_grad():
        for weight, term in total.terms().values():
            assert isinstance(term, TemplateEnergy)
            assert weight > 0
            assert (term(batch) >= term.floor(batch) - 1e-4).all(), term.name


def test_a_table_of_embeddings_follows_its_parameters() -> None:
    embedding = ElementEmbedding(4).requires_grad_(requires_grad=False)
    first = embedding.table()
    assert embedding.table() is first
    with torch.no_grad():
        embedding.free.weight += 1.0
    torch.testing.assert_close(embedding.table(), first + 1.0)
    embedding.requires_grad_()
    assert embedding.table().requires_grad
