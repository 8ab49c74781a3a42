"""Laws of likeness to examples, what a request says of its examples, and their place in a design."""

import copy
import math
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from elsewhere import second_device
from pymatgen.core import Lattice, Structure
from test_cli import called

from matgen import cli
from matgen.energies.base import TemplateSum
from matgen.energies.likeness import StateLikeness, View, adapted, squared_distances
from matgen.energies.likeness_views import (
    ENVIRONMENTS,
    LikenessError,
    StructureView,
    Whitening,
    crystal_background,
    environment_shares,
    file_of,
    wyckoff_shares,
)
from matgen.generation.configuration import configured
from matgen.generation.errors import RequestError
from matgen.generation.keywords import distributed
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.kinds.molecules import Molecules
from matgen.generation.request import Request
from matgen.generation.resemblance import templates_of
from matgen.generation.total_energy import ranking_terms, template_targets
from matgen.runtime.config import from_mapping, to_mapping
from matgen.search.copies import no_copy
from matgen.structures.candidate import Candidate, NearestExample
from matgen.structures.conversion import described, state_of
from matgen.structures.record import from_record, to_record
from matgen.templates.batch import Geometry, TemplateBatch, concatenated, crystals_of
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
OTHERS = [
    str(TEXTBOOK / name) for name in ("CaTiO3_orthorhombic_perovskite.cif", "GaN_wurtzite.cif", "NaCl_rock_salt.cif")
]

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

    examples, background, others, rest = (
        of_class(5, 1),
        random_view(400, 8, 2),
        random_view(2000, 8, 3),
        of_class(100, 4),
    )
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
    assert float(shares[0] @ shares[3]) < 0.3  # some hashes collide


# ---------------------------------------------------------------- the energies


@needs_weights
def test_templates_obey_the_laws_of_energies(kind: Crystals) -> None:
    assert kind.resemblance is not None
    energy = kind.resemblance.templates
    given = [example.template for example in kind.request.examples]
    others = [described(Structure.from_file(path))[0] for path in OTHERS]
    check_template_energy(energy, [*given, *others], tolerance=1e-5)  # the network is in float32
    value = energy(TemplateBatch.of([*given, *others]))
    assert value[:2].abs().max() < 1e-5
    assert value[2:].min() > 1.0
    assert (value >= energy.floor(TemplateBatch.of([*given, *others]))).all()


@needs_weights
def test_structures_obey_the_laws_of_energies(kind: Crystals) -> None:
    assert kind.resemblance is not None
    shipped = kind.resemblance.states
    assert shipped is not None
    assert shipped.use == "ranking"
    assert isinstance(shipped.view, StructureView)
    network = copy.deepcopy(shipped.view.network).double()
    energy = StateLikeness(StructureView(network, shipped.view.whitening), shipped.metric)
    pairs = [(TemplateBatch.of([example.template]), example.geometry) for example in kind.request.examples]
    batch, geometry = concatenated(pairs)
    state = expand(batch, Geometry(geometry.lattice.double(), geometry.coords.double()))
    sigma = torch.full((2,), 0.1, dtype=torch.float64)
    assert energy(state, sigma).abs().max() < 1e-3  # the examples are stored in float32
    wurtzite = state_of([Structure.from_file(OTHERS[1])], torch.float64)
    assert float(energy(wurtzite, sigma[:1])) > 1.0
    for check in (check_rotation, check_permutation, check_lattice_shifts, check_batching, check_orbits):
        check(energy, state, sigma, tolerance=1e-6)


@needs_weights
def test_statistics_of_other_weights_are_refused() -> None:
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
def test_likeness_elsewhere_is_likeness(kind: Crystals) -> None:
    batch, geometry = concatenated(
        [(TemplateBatch.of([template]), one) for template, one in map(described, map(Structure.from_file, OTHERS))]
    )
    assert kind.resemblance is not None
    here = kind.resemblance.nearest(batch, expand(batch, geometry))
    with second_device() as device:
        other = Crystals(kind.request, load_models(device))
        assert other.resemblance is not None
        away, state = batch.to(device), expand(batch.to(device), geometry.to(device))
        there = other.resemblance.nearest(away, state)
        assert other.template_terms()(away).device == device
        assert other.state_terms()(state, torch.full((3,), 0.1, device=device)).device == device
        found = other.by_example(8, torch.Generator().manual_seed(0))
    assert [name for name, _ in there] == [name for name, _ in here]
    assert [distance for _, distance in there] == pytest.approx([distance for _, distance in here], rel=1e-3)
    assert found == kind.by_example(8, torch.Generator().manual_seed(0))


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
def test_molecules_resemble_molecules(tmp_path: Path) -> None:
    (tmp_path / "alcohols.smi").write_text("CCO\nCCCO\nCC(C)O\n")
    request = Request.of(kind="molecule", like=[str(tmp_path / "alcohols.smi")])
    kind = Molecules(request, load_molecule_models())
    assert kind.resemblance is not None
    energy = kind.resemblance.templates
    names = ("CCO", "CCCO", "CC(C)O", "CCCCO", "CC(C)CO", "c1ccoc1", "N#CC#N", "FC(F)F")
    value = energy(TemplateBatch.of([MoleculeTemplate.of(name) for name in names]))
    assert value[:3].abs().max() < 1e-4
    assert float(value[3:5].max()) < float(value[5:].min())  # other alcohols are nearer than what is none
    alone = [energy(TemplateBatch.of([MoleculeTemplate.of(name)])) for name in names]
    assert torch.allclose(torch.cat(alone), value, atol=1e-4)
    assert {str(one) for one in kind.by_example(9, torch.Generator())} == {"CCO", "CCCO", "CC(C)O"}
    assert kind.state_terms().terms() == {}
    assert "likeness_template" in kind.template_terms().terms()


# ---------------------------------------------------------------- the request


def test_keyword_table_and_file_mean_the_same() -> None:
    flat = Request.of(like=CHALCOPYRITES, like_weight=2.0)
    assert flat == Request.of(like={"examples": CHALCOPYRITES, "weight": 2.0})
    assert from_mapping(Request, to_mapping(flat)) == flat
    assert distributed({"like": "a.cif"})["like"] == {"examples": "a.cif"}
    assert [example.name for example in flat.examples] == [Path(path).name for path in CHALCOPYRITES]


def test_examples_travel_with_the_request(tmp_path: Path) -> None:
    file = tmp_path / "mine.cif"
    file.write_text(Path(CHALCOPYRITES[0]).read_text())
    request = Request.of(like=[str(file)])
    before = identity(request).configuration["like"]
    file.unlink()  # as on a machine that does not have it
    there = pickle.loads(pickle.dumps(request)).updated(n=3)  # noqa: S301 (our own)
    assert [example.template for example in there.examples] == [example.template for example in request.examples]
    file.write_text(Path(CHALCOPYRITES[1]).read_text())
    assert identity(Request.of(like=[str(file)])).configuration["like"] != before  # another content, another run
    assert identity(Request()).configuration["like"] == {}


def test_with_examples_layouts_may_repeat() -> None:
    assert Request.of(n=10).most_alike == 3
    assert Request.of(n=10, like=CHALCOPYRITES).most_alike == 10


def test_examples_themselves_are_copies(tmp_path: Path) -> None:
    examples = Request.of(like=CHALCOPYRITES).examples
    one = Structure.from_file(CHALCOPYRITES[0])
    shaken = one.copy().perturb(0.02, seed=0)
    other = one.copy()
    other.replace_species({"Se": "S"})
    for structure, again in ((one, True), (shaken, True), (one.get_primitive_structure(), True), (other, False)):
        verdict = no_copy(Candidate("x", structure, structure, None), examples)
        assert verdict.passed is not again
        assert ("is the example CuInSe2_chalcopyrite.cif" in verdict.reason) is again
    (tmp_path / "a.smi").write_text("C[C@H](N)O\n")
    molecules = Request.of(kind="molecule", like=[str(tmp_path / "a.smi")]).examples
    assert molecules[0].structure is None
    for name, again in (("C[C@@H](N)O", True), ("CC(N)O", True), ("CC(O)O", False)):
        template = MoleculeTemplate.of(name)
        candidate = Candidate("x", one, one, None, template=template.smiles)
        assert no_copy(candidate, molecules).passed is not again


def test_the_nearest_example_is_stored() -> None:
    salt = Structure(Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    plain = Candidate("a", salt, salt, None)
    near = Candidate("a", salt, salt, None, nearest_example=NearestExample("b.cif", 0.5))
    assert "nearest_example" not in to_record(plain)
    assert from_record(to_record(near)).nearest_example == near.nearest_example
    assert from_record(to_record(plain)).nearest_example is None


def broken_files(folder: Path) -> None:
    """Files that are no examples, each for its own reason."""
    big = Structure(Lattice.cubic(9.0), ["Na"] * 26 + ["Cl"], torch.rand(27, 3, generator=torch.manual_seed(0)).numpy())
    big.to(filename=str(folder / "big.cif"))
    text = Path(CHALCOPYRITES[0]).read_text()
    (folder / "empty.cif").write_text("")
    (folder / "broken.cif").write_text("no crystal")
    (folder / "none.smi").write_text("")
    (folder / "good.cif").write_text(text)
    Structure(Lattice.cubic(4.0), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5] * 3]).to(
        filename=str(folder / "mixed.cif")
    )
    Structure(Lattice.cubic(4.0), ["Po"], [[0, 0, 0]]).to(filename=str(folder / "rare.cif"))
    (folder / "molecule.smi").write_text("CCO\n")
    (folder / "sulfur.smi").write_text("CCS\n")
    (folder / "long.smi").write_text("CCCCCCCCCCCO\n")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ("--like absent.cif", "absent.cif, which is not there"),
        ("--like empty.cif", "expected a crystal to resemble in empty.cif, got:"),
        ("--like broken.cif", "expected a crystal to resemble in broken.cif, got:"),
        ("--like mixed.cif", "expected a crystal to resemble in mixed.cif, got: disordered"),
        ("--like big.cif", "expected at most 20 atoms in the primitive cell of big.cif, got 27"),
        ("--like rare.cif", "no training crystal holds Po"),
        ("--like good.cif --like molecule.smi", "molecule.smi#0, got: no crystal"),
        ("--like good.cif --kind molecule", "expected molecules to resemble, got crystals; name molecules, or ask"),
        (
            "--like molecule.smi --like sulfur.smi",
            "expected crystals to resemble, got molecules; name crystals",
        ),
        ("--like sulfur.smi --kind molecule", "expected a molecule of H, C, N, O, F in sulfur.smi#0, got S"),
        ("--like long.smi --kind molecule", "expected at most 9 heavy atoms in long.smi#0, got 12"),
        ("--like none.smi --kind molecule", "none.smi"),
        ("--like good.cif --like-weight 0", "expected weight above 0, got 0.0"),
        ("--like good.cif --like-weight -1", "expected weight above 0, got -1.0"),
        ("--like good.cif --like-weight nan", "expected weight above 0, got nan"),
        ("--like-weight 2", "expected examples for the weight 2 of likeness, got none; give --like"),
    ],
)
def test_bad_examples_get_one_line_before_the_search(
    options: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    broken_files(tmp_path)
    there = set(tmp_path.iterdir())
    assert called(monkeypatch, "design", *options.split(" ")) == cli.BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("matgen: ")
    assert said.err.count("\n") == 1, said.err
    assert hint in said.err
    assert set(tmp_path.iterdir()) == there


def test_an_error_of_the_library_is_a_value_error() -> None:
    with pytest.raises(RequestError, match="expected examples"):
        Request.of(like_weight=math.pi)


# ---------------------------------------------------------------- the page


PAGE = (TEXTBOOK.parents[1] / "docs" / "likeness.md").read_text(encoding="utf-8")


def test_the_commands_and_files_of_the_page_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TEXTBOOK.parents[1])
    commands = [line.split()[1:] for line in PAGE.splitlines() if line.startswith("    matgen ")]
    assert len(commands) == 2
    for words in commands:
        typer.main.get_command(cli.app).commands[words[0]].make_context("matgen", words[1:])  # type: ignore[attr-defined]
    files = [tomllib.loads(part.split("```")[0]) for part in PAGE.split("```toml\n")[1:]]
    requests = [configured(file, {})[0] for file in files]
    assert [len(request.examples) for request in requests] == [2, 2, 1]


@needs_weights
def test_the_python_of_the_page_finds_the_class(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(TEXTBOOK.parents[1])
    names: dict[str, Any] = {}
    exec(compile(PAGE.split("```python\n")[1].split("```")[0], "likeness.md", "exec"), names)  # noqa: S102 (our page)
    found = names["found"]
    assert len(found) == len(capsys.readouterr().out.splitlines()) == 2
    layouts = {layout(template) for template in crystals_of(templates_of(Request.of(like=CHALCOPYRITES).examples))}
    assert {layout(described(one.crystal)[0]) for one in found} == layouts
    formulas = {one.crystal.composition.reduced_formula for one in found}
    assert not formulas & {"CuInSe2", "InCuSe2", "ZnGeP2"}
    for one in found:
        assert one.nearest_example.name in {Path(path).name for path in CHALCOPYRITES}
        assert {"likeness", "likeness_template"} <= set(one.energies)
        assert one.verdicts["no_copy"].passed
