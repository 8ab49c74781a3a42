"""Laws of likeness to examples, what a request says of its examples, and their place in a design."""

import math
import pickle
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure
from test_cli import called

from matgen import cli
from matgen.energies.base import TemplateSum
from matgen.energies.likeness import View, adapted, squared_distances
from matgen.energies.likeness_views import (
    ENVIRONMENTS,
    LikenessError,
    Whitening,
    crystal_background,
    environment_shares,
    file_of,
    wyckoff_shares,
)
from matgen.generation.errors import RequestError
from matgen.generation.keywords import distributed
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.kinds.molecules import Molecules
from matgen.generation.like import LikenessConfig
from matgen.generation.request import Request
from matgen.generation.resemblance import templates_of
from matgen.generation.total_energy import ranking_terms, template_targets
from matgen.runtime.config import from_mapping, to_mapping
from matgen.search.copies import no_copy
from matgen.structures.candidate import Candidate, NearestExample
from matgen.structures.conversion import described, state_of
from matgen.structures.record import from_record, to_record
from matgen.templates.batch import TemplateBatch, concatenated, crystals_of
from matgen.templates.expand import expand
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.prototypes import layout
from matgen.testing import (
    check_batching,
    check_lattice_shifts,
    check_orbits,
    check_permutation,
    check_rotation,
    check_template_energy,
)
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import KINDS
from matgen.weights.models import Models, load_models, load_molecule_models
from matgen.workflows.design import identity

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"
CHALCOPYRITES = [str(TEXTBOOK / f"{name}_chalcopyrite.cif") for name in ("CuInSe2", "ZnGeP2")]
OTHERS = [str(TEXTBOOK / name) for name in ("CaTiO3_orthorhombic_perovskite.cif", "GaN_wurtzite.cif", "NaCl_rock_salt.cif")]

needs_weights = pytest.mark.skipif(
    not all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS), reason="needs the shipped weights"
)


@pytest.fixture(scope="module")
def shipped() -> Models:
    return load_models()


@pytest.fixture(scope="module")
def kind(shipped: Models) -> Crystals:
    return Crystals(Request.of(like=CHALCOPYRITES), shipped)


def random_view(n: int, m: int, seed: int, shift: float = 0.0) -> View:
    generator = torch.Generator().manual_seed(seed)
    return View(torch.randn(n, m, generator=generator, dtype=torch.float64) + shift, torch.zeros(n, 0))


# ---------------------------------------------------------------- the metric


def test_distances_are_those_of_a_metric() -> None:
    some = View(random_view(6, 4, 0).embedding, torch.rand(6, 9, dtype=torch.float64).softmax(1).sqrt())
    factors = torch.tensor([0.5, 2.0, 1.0, 3.0, 0.7], dtype=torch.float64)
    apart = squared_distances(some, some, factors)
    assert torch.allclose(apart, apart.T)
    assert torch.allclose(apart.diagonal(), torch.zeros(6, dtype=torch.float64), atol=1e-12)
    lengths = apart.clamp(min=0).sqrt()
    assert (lengths[:, None] <= lengths[:, :, None] + lengths[None].transpose(1, 2) + 1e-9).all()  # triangles
    # Against the definition: coordinates times factors, shares times the last one.
    whole = torch.cat([factors[:-1] * some.embedding, factors[-1] * some.parts], dim=1)
    assert torch.allclose(apart, torch.cdist(whole, whole).square(), atol=1e-9)


def test_what_the_examples_share_counts_more_and_what_they_do_not_counts_less() -> None:
    # They agree in the first coordinate, away from the background, and scatter in the second as that does.
    background, examples = random_view(400, 2, 0), random_view(5, 2, 1)
    examples.embedding[:, 0] = 2.0 + 0.05 * examples.embedding[:, 0]
    metric = adapted(examples, background)
    assert float(metric.factors[0]) > 1.0 > float(metric.factors[1])
    assert torch.equal(adapted(examples, background, steps=0).factors, torch.ones(3, dtype=torch.float64))


def test_adaptation_finds_more_of_the_class() -> None:
    # 100 more of the class among 2,000 others: how many of the nearest 100 are of the class.
    def of_class(n: int, seed: int) -> View:
        view = random_view(n, 8, seed)
        view.embedding[:, :2] = 1.2 + 0.3 * view.embedding[:, :2]
        return view

    examples, background, others, rest = of_class(5, 1), random_view(400, 8, 2), random_view(2000, 8, 3), of_class(100, 4)
    both = View(torch.cat([rest.embedding, others.embedding]), torch.zeros(2100, 0))
    hits = [
        int((adapted(examples, background, steps).squared(both).min(1).values.argsort()[:100] < 100).sum())
        for steps in (0, 10)
    ]
    assert hits[1] > 1.3 * hits[0], hits


def test_a_single_example_keeps_the_metric_and_random_materials_are_far() -> None:
    metric = adapted(random_view(1, 3, 0), random_view(300, 3, 1))
    assert torch.equal(metric.factors, torch.ones(4, dtype=torch.float64))
    energy = 0.5 * metric.squared(random_view(300, 3, 1)).min(1).values
    assert float(energy.median()) == pytest.approx(10.0)  # one half over the least r², a twentieth of the median


def test_the_nearest_of_two_examples_counts() -> None:
    background, two = random_view(300, 3, 0), random_view(2, 3, 1)
    metric, some = adapted(two, background), random_view(20, 3, 2)
    squared = metric.squared(some)
    for i in range(2):
        one = View(two.embedding[i : i + 1], two.parts[i : i + 1])
        assert torch.allclose(squared[:, i], squared_distances(some, one, metric.factors)[:, 0] / metric.radius2)


def test_whitened_coordinates_have_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(4000, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 3.0
    coordinates = Whitening.of(mixed, mixed[:10], 4)(mixed) * 2.0  # times the square root of their number
    assert torch.allclose(coordinates.mean(0), torch.zeros(4), atol=1e-3)
    assert torch.allclose(torch.cov(coordinates.T), torch.eye(4), atol=0.02)  # 1e-3 of the largest variance is added


# ---------------------------------------------------------------- parts


def test_shares_of_wyckoff_positions_tell_layouts_apart() -> None:
    templates = [described(Structure.from_file(path))[0] for path in [*CHALCOPYRITES, *OTHERS]]
    shares = wyckoff_shares(TemplateBatch.of(templates))
    alike = shares @ shares.T
    assert torch.allclose(alike.diagonal(), torch.ones(len(templates)))
    assert float(alike[0, 1]) == pytest.approx(1.0)  # of one layout, of other elements
    assert not alike[0, 2:].any()  # other space groups share no position


def test_shares_of_environments_ignore_stereo() -> None:
    names = ("C[C@H](N)O", "C[C@@H](N)O", "CC(N)O", "c1ccoc1")
    shares = environment_shares(TemplateBatch.of([MoleculeTemplate.of(name) for name in names]))
    assert shares.shape == (4, ENVIRONMENTS)
    assert torch.allclose(shares.square().sum(1), torch.ones(4))
    assert torch.equal(shares[0], shares[1])
    assert torch.equal(shares[0], shares[2])
    assert float(shares[0] @ shares[3]) < 0.2


# ---------------------------------------------------------------- the energies


@needs_weights
def test_templates_obey_the_laws_of_energies(kind: Crystals) -> None:
    assert kind.resemblance is not None
    energy = kind.resemblance.templates
    given = [example.template for example in kind.request.examples]
    others = [described(Structure.from_file(path))[0] for path in OTHERS]
    check_template_energy(energy, [*given, *others])
    value = energy(TemplateBatch.of([*given, *others]))
    assert value[:2].abs().max() < 1e-5
    assert value[2:].min() > 1.0
    assert (value >= energy.floor(TemplateBatch.of([*given, *others]))).all()


@needs_weights
def test_structures_obey_the_laws_of_energies(kind: Crystals, shipped: Models) -> None:
    assert kind.resemblance is not None
    energy = kind.resemblance.states
    assert energy is not None
    assert energy.use == "ranking"
    pairs = [(TemplateBatch.of([example.template]), example.geometry) for example in kind.request.examples]
    state, sigma = expand(*concatenated(pairs)), torch.full((2,), 0.1)
    assert energy(state, sigma).abs().max() < 1e-4
    wurtzite = state_of([Structure.from_file(OTHERS[1])])
    assert float(energy(wurtzite, sigma[:1])) > 1.0
    for check in (check_rotation, check_permutation, check_lattice_shifts, check_batching, check_orbits):
        check(lambda s, level: energy(s, level), state, sigma, tolerance=1e-3)  # the networks are in float32


@needs_weights
def test_statistics_of_other_weights_are_refused(shipped: Models) -> None:
    background = crystal_background()
    some = torch.randn(4, len(background.of_templates.mean))
    with pytest.raises(LikenessError, match="got other weights"):
        background.of_templates.check_probe(some, "network")
    with pytest.raises(LikenessError, match="got other weights"):
        background.of_templates.check_probe(some[:, :5], "network")
    assert file_of("crystal").stat().st_size + file_of("molecule").stat().st_size < 500_000


@needs_weights
def test_likeness_is_one_more_term_of_the_sum(kind: Crystals, shipped: Models) -> None:
    heavier = Crystals(Request.of(like=CHALCOPYRITES, like_weight=3.0), shipped)
    plain = Crystals(Request(), shipped)
    pairs = [described(Structure.from_file(path)) for path in [*CHALCOPYRITES, *OTHERS]]
    batch, geometry = concatenated([(TemplateBatch.of([template]), one) for template, one in pairs])
    level = torch.full((batch.n_systems,), 0.1)
    without, once, thrice = (ranking_terms(batch, geometry, level, k.request, k) for k in (plain, kind, heavier))
    assert set(once) - set(without) == {"likeness", "likeness_template"}
    for name, value in without.items():
        assert torch.equal(once[name], value)
    for name in ("likeness", "likeness_template"):
        assert torch.allclose(thrice[name], 3 * once[name])
        assert float(once[name][2:].min()) > float(once[name][:2].max()) + 1.0
    assert isinstance(template_targets(kind.request, kind), TemplateSum)
    assert "likeness_template" in template_targets(kind.request, kind).terms()


@needs_weights
def test_templates_by_example_keep_the_layout_and_the_rules(shipped: Models) -> None:
    request = Request.of(like=CHALCOPYRITES, include=["S"], exclude=["Cu"])
    found = crystals_of(Crystals(request, shipped).by_example(40, torch.Generator().manual_seed(0)))
    assert len(set(found)) > 5
    layouts = {layout(template) for template in crystals_of(templates_of(request.examples))}
    assert {layout(template) for template in found} == layouts
    assert all(request.crystal_rules.satisfied(template) for template in found)
    again = Crystals(request, shipped).by_example(40, torch.Generator().manual_seed(0))
    assert again == found
    assert Crystals(Request(), shipped).by_example(40, torch.Generator()) == []


@needs_weights
def test_molecules_resemble_too() -> None:
    models = load_molecule_models()
    request = Request(kind="molecule", like=LikenessConfig(("ethanol.smi",)))if False else None
    assert request is None
    assert models.device.type == "cpu"
