"""Interpolation between two requests: the sum, what it samples, and which requests go together."""

import math
import pickle
from pathlib import Path

import pytest
import torch
from pymatgen.core import Structure
from test_cli import called
from test_property_files import some_file
from torch import Tensor

from matgen import cli
from matgen.batch.state import State
from matgen.energies.base import Energy, Sum, gradients
from matgen.energies.computed_target import CompositionTarget
from matgen.generation.between import with_both
from matgen.generation.blend import blended_states, blended_templates, equal_terms
from matgen.generation.configuration import configured
from matgen.generation.errors import RequestError
from matgen.generation.kinds import kind_of_request
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.rank import nearest_examples
from matgen.generation.request import Request
from matgen.generation.total_energy import ranking_terms, state_energy, template_energy
from matgen.runtime.config import from_mapping, to_mapping
from matgen.samplers.langevin import mala
from matgen.structures.conversion import described
from matgen.targets.target import TargetError
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.wyckoff import wyckoff_table
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import KINDS
from matgen.weights.models import Models, load_models
from matgen.workflows.design import default_folder, identity

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"
CRYSTALS = ("CuInSe2_chalcopyrite", "GaN_wurtzite", "NaCl_rock_salt", "SrTiO3_perovskite")
SALT = TEXTBOOK / "NaCl_rock_salt.cif"
SIGMAS = 4.5  # a fair mean or variance is further off than this once in 150,000 times

needs_weights = pytest.mark.skipif(
    not all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS), reason="needs the shipped weights"
)


def written(folder: Path, **contents: str) -> list[str]:
    """Write TOML files; return their paths."""
    for name, text in contents.items():
        (folder / f"{name}.toml").write_text(text)
    return [str(folder / f"{name}.toml") for name in contents]


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """A gap of 1 eV like chalcopyrites, and one of 3 eV like wurtzite, both with few atoms."""
    like = 'like = ["{}"]\nmax_atoms = 8\n[targets]\nband_gap = {}\n'
    paths = [TEXTBOOK / f"{name}.cif" for name in CRYSTALS]
    return written(tmp_path, a=like.format(paths[0], 1.0), b=like.format(paths[1], 3.0))


# ---------------------------------------------------------------- the law


class LogVolume(Energy):
    """½ ((log V − centre) / width)²."""

    def __init__(self, name: str, centre: float, width: float) -> None:
        super().__init__()
        self.name, self.centre, self.width = name, centre, width

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energies (n_systems,)."""
        del sigma
        return 0.5 * ((state.volume.log() - self.centre) / self.width).square()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
def test_of_quadratic_energies_the_mean_is_weighted_by_precision(alpha: float) -> None:
    # The log volume of rock salt is linear in its one free parameter, so that exp(-E) is a Gaussian in it.
    sites = [wyckoff_table().positions_of(225)[i] for i in (0, 1)]
    templates = TemplateBatch.of([CrystalTemplate(225, tuple(zip(sites, (11, 17), strict=True)))] * 1500)
    start = Geometry(torch.zeros(1500, 6, dtype=torch.float64), torch.zeros(3000, 3, dtype=torch.float64))
    rest = float(expand(templates, start).volume[0].log())
    a, b = (rest + 0.1, 0.05), (rest - 0.2, 0.15)
    parts = [(alpha, Sum({"a": (1.0, LogVolume("a", *a))})), (1 - alpha, Sum({"b": (1.0, LogVolume("b", *b))}))]
    total, sigma = blended_states(parts), torch.full((1500,), 0.1, dtype=torch.float64)
    end, _ = mala(
        lambda geometry: gradients(total, templates, geometry, sigma),
        templates,
        start,
        steps=150,
        adapt_steps=100,
        step_size=0.01,
        generator=torch.Generator().manual_seed(0),
    )
    precisions = alpha / a[1] ** 2, (1 - alpha) / b[1] ** 2
    mean = (precisions[0] * a[0] + precisions[1] * b[0]) / sum(precisions)
    variance, sample = 1 / sum(precisions), expand(templates, end).volume.log()
    assert abs(float(sample.mean()) - mean) < SIGMAS * math.sqrt(variance / 1500)
    assert abs(float(sample.var()) - variance) < SIGMAS * variance * math.sqrt(2 / 1500)
    if alpha == 0.3:  # nor could it be told from the mean of the two centres otherwise
        assert abs(float(sample.mean()) - (alpha * a[0] + (1 - alpha) * b[0])) > 0.02


def test_a_term_of_both_occurs_once() -> None:
    same, other = LogVolume("v", 1.0, 1.0), LogVolume("w", 1.0, 1.0)
    found = blended_states([(0.25, Sum({"v": (2.0, same)})), (0.75, Sum({"v": (6.0, same), "w": (1.0, other)}))])
    assert {name: weight for name, (weight, _) in found.terms().items()} == {"v": 5.0, "w": 0.75}


# ---------------------------------------------------------------- the sum of two requests


@pytest.fixture(scope="module")
def shipped() -> Models:
    return load_models()


def some_crystals() -> tuple[TemplateBatch, Geometry]:
    pairs = [described(Structure.from_file(TEXTBOOK / f"{name}.cif")) for name in CRYSTALS]
    return concatenated([(TemplateBatch.of([template]), geometry) for template, geometry in pairs])


@needs_weights
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_every_energy_is_the_weighted_sum_of_the_two(alpha: float, two: list[str], shipped: Models) -> None:
    request = Request.of(between=two, between_alpha=alpha)
    kind, (batch, geometry) = Crystals(request, shipped), some_crystals()
    level, state = torch.full((batch.n_systems,), 0.1), expand(batch, geometry)
    weights = (alpha, 1 - alpha)
    ends = [Crystals(end, shipped) for _, end in request.ends]
    assert [end.request.targets for end in ends] == [{"band_gap": 1.0}, {"band_gap": 3.0}]
    terms = ranking_terms(batch, geometry, level, request, kind)
    separate = [ranking_terms(batch, geometry, level, end.request, end) for end in ends]
    for whole, parts in (
        (sum(terms.values()), [sum(one.values()) for one in separate]),
        (template_energy(request, kind)(batch), [template_energy(end.request, end)(batch) for end in ends]),
        (state_energy(request, kind)(state, level), [state_energy(end.request, end)(state, level) for end in ends]),
    ):
        expected = sum(weight * part for weight, part in zip(weights, parts, strict=True))
        torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4)
    if alpha in {0.0, 1.0}:  # exactly one of the two requests, by name
        assert set(terms) == set(separate[0 if alpha else 1])
    else:
        assert {"band_gap_a", "band_gap_b", "likeness_template_a", "template_prior_b", "graph"} <= set(terms)
        assert "graph_a" not in terms
    nearest = nearest_examples(batch, state, kind)
    names = {example.name for weight, end in request.ends if weight for example in end.examples}
    assert {pair[0] for pair in nearest if pair} <= names


@needs_weights
def test_templates_are_sampled_for_both_in_their_shares(two: list[str], shipped: Models) -> None:
    kind = Crystals(Request.of(between=two, between_alpha=0.25), shipped)
    found = kind.by_example(40, torch.Generator().manual_seed(0))
    groups = [template.space_group for template in found if isinstance(template, CrystalTemplate)]
    assert groups.count(122) <= 10
    assert groups.count(186) <= 30
    assert groups.count(122) + groups.count(186) == len(found) > 20
    assert 20 < len(kind.sample(40, torch.Generator().manual_seed(0))) <= 40


@needs_weights
def test_blending_one_energy_is_scaling_it(two: list[str], shipped: Models) -> None:
    kind, (batch, _) = Crystals(Request.of(between=two), shipped), some_crystals()
    energy = template_energy(kind.ends[0][1].request, kind.ends[0][1])
    torch.testing.assert_close(blended_templates([(0.5, energy)])(batch), 0.5 * energy(batch))
    twice = blended_templates([(0.5, energy), (0.5, energy)])
    assert set(twice.terms()) == set(energy.terms())
    torch.testing.assert_close(twice(batch), energy(batch))


# ---------------------------------------------------------------- the request


def test_constraints_of_both_hold(tmp_path: Path) -> None:
    paths = written(
        tmp_path,
        a='include = ["O"]\nexclude = ["Pb"]\nelements = ["O", "Ga", "N", "Li"]\nmax_atoms = 9\nn = 3\n' + FILES["a"],
        b='include = ["N"]\nelements = ["N", "O", "Ga"]\nspace_groups = [62, 186]\nn = 3\n' + FILES["b"],
    )
    request = Request.of(between=paths, between_alpha=0.3, space_groups=[186, 216], exclude=["As"])
    assert set(request.composition.include) == {"O", "N"}
    assert set(request.composition.exclude) == {"Pb", "As"}
    assert set(request.composition.elements) == {"O", "Ga", "N"}
    assert request.symmetry.space_groups == (186,)
    assert (request.composition.max_atoms, request.search.n) == (9, 3)
    assert from_mapping(Request, to_mapping(request)) == request
    options = {"between": paths, "between_alpha": 0.3, "space_groups": [186, 216], "exclude": ["As"]}
    assert configured({}, options)[0] == request
    again = with_both({"kind": "crystal"} | to_mapping(request))
    assert from_mapping(Request, again) == request


def test_property_files_of_both_are_read_and_named(tmp_path: Path) -> None:
    mine, theirs = (some_file(tmp_path / f"{n}.safetensors", n, seed=i) for i, n in enumerate(("hue", "gloss")))
    paths = written(
        tmp_path,
        a=f'max_atoms = 9\n[resources]\nwith_files = ["{mine.path}"]\n[targets]\nhue = ">90"\n',
        b=f'[resources]\nwith_files = ["{theirs.path}"]\n[targets]\ngloss = "<50"\n',
        c='[targets]\nbulk_modulus = ">300"\n',
        d='[targets]\ngloss = "<50"\n',
    )
    for request in (Request.of(between=paths[:2]), configured({}, {"between": paths[:2]})[0]):
        assert request.property_files == (mine, theirs)
        assert [end.property_files for _, end in request.ends] == [(mine, theirs)] * 2
        assert [[target.name for target in end.property_targets] for _, end in request.ends] == [["hue"], ["gloss"]]
        named = identity(request).weights
        assert (named["hue.safetensors"], named["gloss.safetensors"]) == (mine.sha256, theirs.sha256)
        assert pickle.loads(pickle.dumps(request)).property_files == (mine, theirs)  # noqa: S301 (our own)
    # The shipped file is read where an end needs it, and one that is named beside the two is read for both.
    assert Request.of(between=[paths[0], paths[2]]).property_files[0] == mine
    assert len(Request.of(between=[paths[0], paths[2]]).property_files) == 2
    beside = Request.of(between=[paths[0], paths[3]], with_files=[str(theirs.path)])
    assert set(beside.property_files) == {mine, theirs}
    with pytest.raises(TargetError, match="gloss"):
        Request.of(between=[paths[0], paths[3]])


@needs_weights
def test_learned_properties_of_both_are_weighted_terms(tmp_path: Path) -> None:
    files = [some_file(tmp_path / f"{n}.safetensors", n, seed=i).path for i, n in enumerate(("hue", "gloss"))]
    table = '[resources]\nwith_files = ["{}"]\n[targets]\n{} = ">90"\n'
    paths = written(tmp_path, a=table.format(files[0], "hue"), b=table.format(files[1], "gloss"))
    request = Request.of(between=paths, between_alpha=0.3)
    (batch, geometry), level = some_crystals(), torch.full((len(CRYSTALS),), 0.1)
    terms = ranking_terms(batch, geometry, level, request, kind_of_request(request))
    for name, weight in (("hue", 0.3), ("gloss", 0.7)):
        alone = Request.of(targets={name: ">90"}, with_files=[str(file) for file in files])
        expected = ranking_terms(batch, geometry, level, alone, kind_of_request(alone))
        for term in (name, f"{name}_template"):
            torch.testing.assert_close(terms[term], weight * expected[term], rtol=1e-4, atol=1e-4)
            assert terms[term].abs().sum() > 0.1


def test_preferences_are_weighted_and_rules_are_kept(tmp_path: Path) -> None:
    paths = written(
        tmp_path,
        a='rules = ["Li implies O"]\nprefer = ["anions >= 2"]\navoid_hazard = true\n' + FILES["a"],
        b='rules = ["count(Fe) <= 2"]\nprefer = ["F xor Cl"]\navoid_hazard = false\n' + FILES["b"],
    )
    request = Request.of(between=paths, between_alpha=0.3, prefer=["Ga"])
    assert set(request.composition.rules) == {"Li implies O", "count(Fe) <= 2"}
    assert request.composition.avoid_hazard
    ends = [end.composition for _, end in request.ends]
    assert [end.prefer for end in ends] == [("Ga", "anions >= 2"), ("Ga", "F xor Cl")]
    assert all(end.rules == request.composition.rules for end in ends)
    parts = [(weight, end.terms.templates) for weight, end in request.ends]
    terms = blended_templates(parts).terms()
    assert {name: weight for name, (weight, _) in terms.items()} == {
        "preferences_a": pytest.approx(0.3 * request.sampler.rules),
        "preferences_b": pytest.approx(0.7 * request.sampler.rules),
    }
    only = written(tmp_path, c='prefer = ["anions >= 2"]\n', d='prefer = ["Ga"]\n')
    assert [end.composition.prefer for _, end in Request.of(between=only).ends] == [("anions >= 2",), ("Ga",)]


def test_computed_targets_that_differ_are_two_terms() -> None:
    def price(value: str) -> CompositionTarget:
        (target,) = Request.of(price=value).property_targets
        return CompositionTarget(target)

    assert equal_terms(price("<5"), price("<5"))
    assert not equal_terms(price("<5"), price("<50"))


def test_the_request_decides_where_settings_differ(tmp_path: Path) -> None:
    paths = written(tmp_path, a="n = 3\n" + FILES["a"], b="n = 5\n[sampler]\nlevels = 3\n" + FILES["b"])
    with pytest.raises(RequestError, match=r"expected one search.n, got 3 in .*a.toml and 5 in .*b.toml; give it"):
        Request.of(between=paths)
    request = Request.of(between=paths, n=4)
    assert (request.search.n, request.sampler.levels) == (4, 3)


def test_what_lies_between_identifies_a_run(two: list[str], tmp_path: Path) -> None:
    request = Request.of(between=two, between_alpha=0.3)
    assert default_folder(request).name.startswith("a_b_alpha_0.3")
    assert identity(request).configuration != identity(request.updated(between_alpha=0.4)).configuration
    there = pickle.loads(pickle.dumps(request))  # noqa: S301 (our own)
    before = identity(request).configuration
    (tmp_path / "a.toml").unlink()  # as on a machine that does not have it
    assert there.updated(n=3).ends[0][1].targets == {"band_gap": 1.0}
    written(tmp_path, a=(tmp_path / "b.toml").read_text())
    assert identity(Request.of(between=two, between_alpha=0.3)).configuration != before


FILES = {
    "a": "[targets]\nband_gap = 1\n",
    "b": "[targets]\nband_gap = 3\n",
    "molecule": 'kind = "molecule"\n[targets]\ngap = 5\n',
    "oxide": 'include = ["O"]\n[targets]\nband_gap = 1\n',
    "oxygen_free": 'exclude = ["O"]\n[targets]\nband_gap = 3\n',
    "gallium": 'elements = ["Ga"]\n[targets]\nband_gap = 3\n',
    "indium": 'elements = ["In"]\n[targets]\nband_gap = 3\n',
    "nitride": 'formula = "GaN"\n[targets]\nband_gap = 3\n',
    "zincite": 'formula = "ZnO"\n[targets]\nband_gap = 3\n',
    "cubic": "space_groups = [225]\n[targets]\nband_gap = 1\n",
    "tetragonal": "space_groups = [139]\n[targets]\nband_gap = 1\n",
    "nested": '[between]\nrequests = ["a.toml", "b.toml"]\n',
    "empty": "n = 10\n",
    "wrong": "[targets]\nband_gap = -3\n",
    "lost": 'like = ["absent.cif"]\n',
    "odd": "bandgap = = 3\n",
    "table": "targets = 3\n",
    "defects": f'[host]\nfile = "{SALT}"\ninsert = ["Li"]\n[targets]\nband_gap = 1\n',
    "text": 'include = "O"\n[targets]\nband_gap = 1\n',
}


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ("--between a.toml absent.toml", "cannot read the configuration absent.toml"),
        ("--between a.toml odd.toml", "odd.toml is not TOML"),
        ("--between a.toml", "requires 2 arguments"),
        ("--between a.toml b.toml --alpha 1.5", "expected alpha from 0 (B alone) to 1 (A alone), got 1.5"),
        ("--between a.toml b.toml --alpha -0.1", "got -0.1"),
        ("--between a.toml b.toml --alpha nan", "got nan"),
        ("--alpha 0.3", "expected two requests for alpha 0.3, got none"),
        ("--alpha 0.5", "expected two requests for --alpha, got none"),
        ("--between a.toml molecule.toml", "a.toml is of crystals and molecule.toml is of molecules"),
        ("--between a.toml b.toml --kind molecule", "expected requests of one kind, got two"),
        ("--between oxide.toml oxygen_free.toml", "O is required, but not allowed"),
        ("--between gallium.toml indium.toml", "['Ga'] in gallium.toml and ['In'] in indium.toml; nothing keeps both"),
        (
            "--between nitride.toml zincite.toml",
            "'GaN' in nitride.toml and 'ZnO' in zincite.toml; no material",
        ),
        ("--between cubic.toml tetragonal.toml", "[225] in cubic.toml and [139] in tetragonal.toml"),
        ("--between a.toml nested.toml", "expected targets or examples in nested.toml, got an interpolation"),
        ("--between empty.toml empty.toml", "expected targets or examples in empty.toml or empty.toml, got none"),
        ("--between a.toml wrong.toml", "expected a band_gap of 0 to 20 eV, got '-3'"),
        ("--between a.toml lost.toml", "absent.cif, which is not there"),
        ("--between a.toml table.toml", "expected a table"),
        ("--between a.toml text.toml", "text.toml: composition.include: expected a list, got 'O'"),
        ("--between a.toml b.toml --bandgap 2", "write them into both files"),
        ("--between a.toml b.toml --config a.toml", "expected --between or --config, got both"),
        (f"--between a.toml b.toml --host {SALT} --vacancy Cl", "expected no --between with point defects, got a.toml"),
        ("--between a.toml defects.toml", "expected no --between with point defects, got a.toml, defects.toml"),
        ("--between a.toml b.toml --verify 2", "expected a crystal and a target for its band gap for verify"),
    ],
)
def test_requests_that_do_not_go_together_get_one_line(
    options: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, **FILES)
    assert called(monkeypatch, "design", *options.split(" ")) == cli.BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("matgen: ")
    assert said.err.count("\n") == 1, said.err
    assert hint in said.err
    assert {path.stem for path in tmp_path.iterdir()} == set(FILES)
