"""Files of weights: round trips, names of earlier versions, and messages about wrong files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from matgen import __version__
from matgen.nn.ensemble import Ensemble
from matgen.nn.evaluator import Evaluator, EvaluatorConfig
from matgen.nn.geometry_density import GeometryDensity, GeometryDensityConfig
from matgen.nn.graph_energy import GraphEnergy, GraphEnergyConfig
from matgen.nn.template_prior import TemplatePrior, TemplatePriorConfig
from matgen.nn.trunk import TrunkConfig
from matgen.runtime.config import to_mapping
from matgen.training.config import train_config
from matgen.training.initial_weights import begin_from
from matgen.weights import files
from matgen.weights.files import WEIGHTS, WeightsError, info, save, tensors, weights_file, weights_hash
from matgen.weights.models import load
from matgen.weights.shipped import registry
from matgen.workflows.train import find_config

SMALL = TemplatePriorConfig(width=24, layers=1, heads=2)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A small untrained prior on disk."""
    torch.manual_seed(0)
    path = tmp_path / "template_prior.safetensors"
    return save(TemplatePrior(SMALL), path, kind="template_prior", trained_on="nothing", figures={"nll": 1.5})


def test_weights_come_back_rounded_to_half_precision(stored: Path) -> None:
    torch.manual_seed(0)
    original = TemplatePrior(SMALL)
    back = load("template_prior", stored)
    assert back.config == SMALL
    assert not back.training
    for (name, value), (_, found) in zip(original.state_dict().items(), back.state_dict().items(), strict=True):
        assert torch.equal(found, value.half().float()), name


def test_the_header_describes_the_training(stored: Path) -> None:
    header = info("template_prior", stored)
    assert (header.trained_on, header.figures, header.version) == ("nothing", {"nll": 1.5}, __version__)
    assert header.config["width"] == SMALL.width
    assert header.n_parameters == sum(v.numel() for v in TemplatePrior(SMALL).state_dict().values())
    assert header.sha256 == weights_hash("template_prior", stored)
    assert [found.kind for found in registry(stored.parent)] == ["template_prior"]


def test_a_nested_configuration_comes_back(tmp_path: Path) -> None:
    config = GraphEnergyConfig(TrunkConfig(channels=4, layers=1, n_radial=4), hidden=8)
    path = save(GraphEnergy(config), tmp_path / "g.safetensors", kind="graph_energy", trained_on="", figures={})
    assert load("graph_energy", path).config == config


def test_buffers_keep_their_precision(tmp_path: Path) -> None:
    evaluator = Ensemble(Evaluator, EvaluatorConfig(width=8, layers=1, hidden=8, members=2))
    for member in evaluator.members:
        member.spread.fill_(1e-9)  # would round to zero in half precision, and divide by it
    path = save(evaluator, tmp_path / "evaluator.safetensors", kind="evaluator", trained_on="", figures={})
    assert torch.equal(load("evaluator", path).members[1].spread, evaluator.members[1].spread)


def test_an_interrupt_leaves_no_file_with_the_hash_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced, and the program ends before the new hash is written: it can be read, and written again."""
    path = tmp_path / "p.safetensors"

    def write(number: int) -> None:
        save({"n": torch.tensor([number])}, path, kind="prototypes", trained_on="", figures={})

    def killed(_: Path) -> None:
        raise SystemExit

    write(1)
    with monkeypatch.context() as patched:
        patched.setattr(files, "record_hash", killed)
        with pytest.raises(SystemExit):
            write(2)
    assert tensors("prototypes", path)["n"] == 2
    write(3)
    assert tensors("prototypes", path)["n"] == 3
    assert weights_hash("prototypes", path) in (tmp_path / "hashes.json").read_text(encoding="utf-8")


def test_a_library_keeps_its_tensors(tmp_path: Path) -> None:
    library = {"lattice": torch.randn(3, 6, dtype=torch.float64), "count": torch.arange(3)}
    path = save(library, tmp_path / "p.safetensors", kind="prototypes", trained_on="", figures={})
    back = tensors("prototypes", path)
    assert all(torch.equal(back[name], value) and back[name].dtype == value.dtype for name, value in library.items())


def rewritten(path: Path, **header: str) -> None:
    """The same tensors under another header, and its hash put right."""
    with safe_open(path, framework="pt") as file:
        old, values = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(values, path, metadata=old | header)
    (path.parent / "hashes.json").unlink()


def test_names_of_earlier_versions_are_read(tmp_path: Path) -> None:
    config = GeometryDensityConfig(width=24, layers=1, heads=2, known_layouts=2, known_parameters=3, layout_size=5)
    density = GeometryDensity(config)
    path = save(density, tmp_path / "geometry_density.safetensors", kind="geometry_density", trained_on="", figures={})
    old = {"known_numbers": 3, "memory": 5, "forget": 0.15}
    new = ("known_parameters", "layout_size", "layout_dropout")
    shared = {name: value for name, value in to_mapping(config).items() if name not in new}
    values = {
        name.replace("layout_embedding", "memory"): value for name, value in tensors("geometry_density", path).items()
    }
    assert "memory.keys" in values
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    save_file(values, path, metadata=header | {"config": json.dumps(shared | old)})
    (tmp_path / "hashes.json").unlink()
    again = load("geometry_density", path)
    assert again.config == config
    fresh = GeometryDensity(config)
    begin_from(fresh, "geometry_density", path)
    assert torch.equal(fresh.layout_embedding.vectors.weight, density.layout_embedding.vectors.weight.half().float())


def test_configurations_of_earlier_versions_are_read() -> None:
    assert train_config({"kind": "judge"}).kind == "evaluator"
    assert train_config({"kind": "geometry_density", "model": {"memory": 8, "forget": 0.5}}).model.layout_size == 8
    trunk = {"graphs": True, "pushes": True}
    assert train_config({"kind": "molecule_judge", "model": {"trunk": trunk}}).model.trunk.pair_displacements
    assert find_config("judge").name == "evaluator.toml"


def test_a_training_folder_of_version_0_1_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train_config({"kind": "evaluator"}).run_folder == Path("runs/evaluator")
    (tmp_path / "runs" / "judge").mkdir(parents=True)
    assert train_config({"kind": "evaluator"}).run_folder == Path("runs/judge")
    assert train_config({"kind": "evaluator", "folder": "mine"}).run_folder == Path("mine")
    (tmp_path / "runs" / "evaluator").mkdir()
    assert train_config({"kind": "evaluator"}).run_folder == Path("runs/evaluator")


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="found none; make them with `matgen train`"):
        load("evaluator", tmp_path / "evaluator.safetensors")


def test_an_unknown_kind_names_the_nearest(stored: Path) -> None:
    with pytest.raises(WeightsError, match=r"did you mean template_prior\?"):
        load("template_priors", stored)


def test_another_kind_is_refused(stored: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected weights of kind evaluator .* got template_prior"):
        load("evaluator", stored)


def test_one_altered_bit_is_noticed(stored: Path) -> None:
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    with pytest.raises(WeightsError, match="not the file that was written"):
        load("template_prior", stored)


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\xff" * 64])
def test_a_corrupt_header_is_noticed(stored: Path, content: bytes) -> None:
    stored.write_bytes(content)
    (stored.parent / "hashes.json").unlink()
    with pytest.raises(WeightsError, match="has no readable header"):
        load("template_prior", stored)


def test_a_cut_file_is_noticed(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:-100])
    (stored.parent / "hashes.json").unlink()
    with pytest.raises(WeightsError, match="has no readable header"):
        load("template_prior", stored)


def test_a_header_without_our_keys_is_noticed(stored: Path) -> None:
    save_file({"a": torch.zeros(1)}, stored)
    (stored.parent / "hashes.json").unlink()
    with pytest.raises(WeightsError, match="has no readable header"):
        info("template_prior", stored)


def test_an_unknown_key_of_the_configuration_is_noticed(stored: Path) -> None:
    rewritten(stored, config=json.dumps({"widht": 24}))
    with pytest.raises(WeightsError, match=r"unknown key 'widht'; did you mean width\?"):
        load("template_prior", stored)


def test_weights_of_another_size_are_noticed(stored: Path) -> None:
    rewritten(stored, config=json.dumps({"width": 32, "layers": 1, "heads": 2}))
    with pytest.raises(WeightsError, match="do not fit a template_prior of version"):
        load("template_prior", stored)


def test_numbers_beyond_half_precision_are_not_written(tmp_path: Path) -> None:
    prior = TemplatePrior(SMALL)
    with torch.no_grad():
        prior.element_bias.fill_(1e6)
    with pytest.raises(WeightsError, match="element_bias holds numbers beyond float16"):
        save(prior, tmp_path / "p.safetensors", kind="template_prior", trained_on="", figures={})


@pytest.mark.parametrize("listed", [None, {}])
def test_what_ships_must_be_listed(stored: Path, listed: dict | None, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = stored.parent / "hashes.json"
    hashes.unlink()
    if listed is not None:
        hashes.write_text(json.dumps(listed))
    assert load("template_prior", stored).config == SMALL  # only shipped weights need a list
    monkeypatch.setattr("matgen.weights.files.WEIGHTS", stored.parent)
    with pytest.raises(WeightsError, match=r"does not list template_prior\.safetensors"):
        load("template_prior")


def test_what_ships_is_whole() -> None:
    if not WEIGHTS.is_dir():
        pytest.skip("no weights ship yet")
    hashes = json.loads((WEIGHTS / "hashes.json").read_text(encoding="utf-8"))
    assert {f"{header.kind}.safetensors": header.sha256 for header in registry()} == hashes


def test_a_folder_of_version_0_1_gives_its_own_evaluator(tmp_path: Path) -> None:
    old = tmp_path / "judge.safetensors"
    old.write_bytes(b"whatever it holds")
    assert weights_file("evaluator", tmp_path) == old
    new = tmp_path / "evaluator.safetensors"
    new.write_bytes(b"what is newer")
    assert weights_file("evaluator", tmp_path) == new
