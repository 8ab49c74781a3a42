"""Property files: what they predict, what they may be, and how several add up."""

import importlib
import json
import pickle
import pkgutil
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TextbookEntry
from pymatgen.core import Structure
from safetensors import safe_open
from safetensors.torch import save_file
from test_cli import called
from torch import Tensor

from matgen import energies
from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy
from matgen.energies.property_target import TemplatePropertyTarget
from matgen.generation.keywords import FIELDS, KEYWORDS, TABLES
from matgen.generation.kinds.crystals import settled_conditions
from matgen.generation.potential_term import POTENTIALS
from matgen.generation.request import TAKEN, Request
from matgen.nn.embedding_heads import EmbeddingHeads, WithHeads
from matgen.nn.ensemble import Ensemble
from matgen.runtime.output import OutputError
from matgen.screening.row import cells
from matgen.screening.tables import schema
from matgen.structures.candidate_table import CALCULATED
from matgen.structures.conversion import described, state_of
from matgen.targets.distributions import Distribution, median
from matgen.targets.learned import BY_FILE, LEARNED
from matgen.targets.properties import CRYSTAL_PROPERTIES, PROPERTIES, PROPERTIES_OF, Property
from matgen.targets.target import TargetError, find_property, parse_target
from matgen.templates.batch import TemplateBatch
from matgen.weights import property_files
from matgen.weights.files import WEIGHTS, WeightsError, info
from matgen.weights.kinds import KINDS, PROPERTY_HEADS
from matgen.weights.models import load
from matgen.weights.property_files import SHIPPED_FILE, heads_of, read_property_file, write_property_file
from matgen.weights.property_format import Block, FileProperty, PropertyFile, as_json, block_of
from matgen.weights.property_names import wrong_name
from matgen.weights.property_sets import files_in_use, named_files, packed, predicted_by, with_heads
from matgen.workflows.design import identity
from matgen.workflows.screen import screen

pytestmark = pytest.mark.skipif(
    not all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS), reason="not all weights ship yet"
)

ON = "structure_properties"


def some_file(
    path: Path,
    name: str = "hue",
    unit: str = "K",
    seed: int = 0,
    *,
    logarithmic: bool = True,
    figures: dict[str, Any] | None = None,
) -> PropertyFile:
    """A property file with random heads that read the shipped embeddings."""
    one = Property(name, unit, (), 0.0, float("inf"), -float("inf"), "made up", 0.2, relative=True)
    block = Block((FileProperty(one, logarithmic, 5.0, 500.0, "made up, 30 rows", figures or {}),), 128, (2.0,), (0.3,))
    torch.manual_seed(seed)
    heads = {}
    for kind in ("structure_properties", "template_properties"):
        base = heads_of(read_property_file("shipped"), kind)[0]
        own = EmbeddingHeads(block.heads_config(base.config.members, base.config.width))
        own.load_state_dict({key: getattr(base, key) for key in ("mean", "std", "weight", "bias")}, strict=False)
        own.read.data = 0.03 * torch.randn_like(own.read)
        heads[kind] = own
    return write_property_file(path, "crystal", [(block, heads)])


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> PropertyFile:
    return some_file(tmp_path_factory.mktemp("files") / "mine.safetensors")


@pytest.fixture(scope="module")
def crystals(textbook: tuple[TextbookEntry, ...]) -> list[Structure]:
    return [one.structure.get_primitive_structure() for one in textbook[:6]]


@pytest.fixture(scope="module")
def state(crystals: list[Structure]) -> State:
    return state_of(crystals)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return load(ON)


def medians(found: dict[str, Distribution], name: str) -> Tensor:
    return median(found[name])


# ---------------------------------------------------------------- predictions


@torch.no_grad()
def test_heads_leave_the_predictions_of_the_ensemble_alone(
    ensemble: Ensemble, state: State, mine: PropertyFile
) -> None:
    plain, more = ensemble(state), with_heads(ensemble, ON, [mine, read_property_file("shipped")])(state)
    assert list(more)[: len(plain)] == list(plain) == list(CRYSTAL_PROPERTIES)
    assert set(more) == {*CRYSTAL_PROPERTIES, *BY_FILE, "hue"}
    for name in plain:
        assert torch.equal(medians(more, name), medians(plain, name))
    assert with_heads(ensemble, ON, []) is ensemble


@torch.no_grad()
def test_predictions_are_invariant_and_physically_possible(ensemble: Ensemble, crystals: list[Structure]) -> None:
    model = with_heads(ensemble, ON, [read_property_file("shipped")])
    doubled = [one.make_supercell([1, 1, 2], in_place=False) for one in crystals]
    own, other = model(state_of(crystals)), model(state_of(list(reversed(crystals))))
    for name in BY_FILE:
        assert medians(other, name).flip(0).tolist() == pytest.approx(medians(own, name).tolist(), rel=1e-3)
        assert bool((medians(own, name) > (-1 if name == "poisson_ratio" else 0)).all())
    ratio = medians(own, "bulk_modulus") / medians(own, "shear_modulus")
    assert medians(own, "pugh_ratio").tolist() == pytest.approx(ratio.tolist(), rel=0.15)  # medians of mixtures
    assert len(model(state_of(doubled))["bulk_modulus"].parts) == 4


@torch.no_grad()
def test_the_shipped_file_knows_hard_from_soft(ensemble: Ensemble, textbook: tuple[TextbookEntry, ...]) -> None:
    by_formula = {one.formula: one.structure.get_primitive_structure() for one in textbook}
    model = with_heads(ensemble, ON, [read_property_file("shipped")])
    found = model(state_of([by_formula["C"], by_formula["MgO"], by_formula["CsCl"]]))
    hard, middle, soft = medians(found, "bulk_modulus").tolist()
    assert hard > middle > soft
    assert 110 < middle < 210  # measured: 160 GPa
    assert 10 < soft < 30  # measured: 18 GPa


@torch.no_grad()
def test_two_files_add_up(ensemble: Ensemble, state: State, mine: PropertyFile, tmp_path: Path) -> None:
    """Each predicts what it predicts alone; where both predict a property, the mixture of both."""
    other, same = some_file(tmp_path / "other.safetensors", "gloss"), some_file(tmp_path / "same.safetensors", seed=1)
    alone = [with_heads(ensemble, ON, [one])(state) for one in (mine, other, same)]
    both = with_heads(ensemble, ON, [mine, other])(state)
    assert torch.equal(medians(both, "hue"), medians(alone[0], "hue"))
    assert torch.equal(medians(both, "gloss"), medians(alone[1], "gloss"))
    mixed = with_heads(ensemble, ON, [mine, same])(state)["hue"]
    limit = torch.tensor(100.0)
    low = torch.tensor(-float("inf"))
    shares = [one["hue"].log_between(low, limit).exp() for one in (alone[0], alone[2])]
    assert mixed.log_between(low, limit).exp().tolist() == pytest.approx(
        ((shares[0] + shares[1]) / 2).tolist(), rel=1e-5
    )


@torch.no_grad()
def test_a_packed_file_predicts_what_its_parts_do(
    ensemble: Ensemble, state: State, mine: PropertyFile, tmp_path: Path
) -> None:
    some_file(tmp_path / "same.safetensors", seed=1)
    joined = packed([mine.path, SHIPPED_FILE, tmp_path / "same.safetensors"], tmp_path / "all.safetensors")
    apart = named_files([str(mine.path), "shipped", str(tmp_path / "same.safetensors")], "crystal")
    own, other = (with_heads(ensemble, ON, files)(state) for files in ([joined], apart))
    assert predicted_by([joined]) == predicted_by(apart)
    for name in predicted_by(apart):
        assert torch.equal(medians(own, name), medians(other, name))


def test_targets_of_two_files_add_up_in_the_energy(crystals: list[Structure], mine: PropertyFile) -> None:
    model = with_heads(load("template_properties"), "template_properties", [mine, read_property_file("shipped")])
    batch = TemplateBatch.of([described(one)[0] for one in crystals])
    known = BY_FILE | mine.properties
    terms = [TemplatePropertyTarget(model, parse_target(name, ">90", known)) for name in ("hue", "bulk_modulus")]
    total = terms[0] + 2.0 * terms[1]
    with torch.no_grad():
        assert total(batch).tolist() == pytest.approx((terms[0](batch) + 2 * terms[1](batch)).tolist(), rel=1e-5)
        assert bool((terms[1](batch) >= 0).all())


# ---------------------------------------------------------------- what a file may be


def rewritten(path: Path, change: Callable[[dict[str, Tensor], dict], object]) -> Path:
    """Rewrite a file with other tensors, or another header."""
    with safe_open(path, framework="pt") as stored:
        header, values = dict(stored.metadata()), {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    content = json.loads(header["config"])
    change(values, content)
    save_file(values, path, metadata=header | {"config": json.dumps(content)})
    return path


def cut(values: dict[str, Tensor], name: str) -> None:
    values[name] = values[name][:, :, :3].contiguous()


def first(content: dict) -> dict:
    """The first property of a header."""
    return content["blocks"][0]["properties"][0]["described"]


def whole(content: dict) -> dict:
    """The first property of a header, with its labels."""
    return content["blocks"][0]["properties"][0]


def refractive(content: dict) -> None:
    first(content).update(name="refractive_index", unit="")
    whole(content).update(logarithmic=False)


BIAS, OFFSET = "0.structure_properties.bias", "0.template_properties.offset"

SPOILED: dict[str, tuple[str, Callable[[dict[str, Tensor], dict], object]]] = {
    "nan": ("finite numbers", lambda values, _: values[BIAS].fill_(float("nan"))),
    "shape": ("of shape", lambda values, _: cut(values, BIAS)),
    "missing": ("of shape", lambda values, _: values.pop(OFFSET)),
    "more": ("heads only", lambda values, _: values.update(code=torch.zeros(3))),
    "other embedding": ("in use", lambda _, content: content["reads"].update(structure_properties="0" * 64)),
    "reads nothing": ("to read", lambda _, content: content["reads"].clear()),
    "always predicted": ("always predicted", lambda _, content: first(content).update(name="band_gap")),
    "strange name": ("a name of", lambda _, content: first(content).update(name="../hue")),
    "other unit": ("in GPa", lambda _, content: first(content).update(name="bulk_modulus", unit="kbar")),
    "no scale": ("finite numbers", lambda _, content: content["blocks"][0].update(spread=[0.0])),
    "no properties": ("damaged", lambda _, content: content["blocks"][0].pop("properties")),
    "material": ("to read", lambda _, content: content.update(material="alloy")),
    "alias of the gap": ("means band_gap", lambda _, content: first(content).update(aliases=["bandgap"])),
    "alias of a shipped one": ("means bulk_modulus", lambda _, content: first(content).update(aliases=["k_vrh"])),
    "alias of a name": ("means band_gap", lambda _, content: first(content).update(aliases=["band_gap"])),
    "alias of a column": ("another column", lambda _, content: first(content).update(aliases=["pressure"])),
    "other scale": ("a logarithmic scale", lambda _, content: refractive(content)),
    "hidden": ("of shape", lambda _, content: content["blocks"][0].update(hidden=10**13)),
    "negative": ("sound limits", lambda _, content: content["blocks"][0].update(hidden=-1)),
    "hash": ("to read", lambda _, content: content["reads"].update(structure_properties=5)),
    "tolerance": ("damaged", lambda _, content: first(content).update(tolerance="x")),
    "label": ("sound limits", lambda _, content: whole(content).update(lowest_label=float("nan"))),
    "highest": ("sound limits", lambda _, content: first(content).update(highest=float("nan"))),
    "huge": ("damaged", lambda _, content: first(content).update(highest=10**400)),
    "correlation": ("sound limits", lambda _, content: content["blocks"][0].update(correlation=50.0)),
    "relative": ("damaged", lambda _, content: first(content).update(relative="no")),
    "source": ("sound limits", lambda _, content: first(content).update(source="moments")),
    "control": ("plain text", lambda _, content: first(content).update(unit="K\x1b[31m")),
}


@pytest.mark.parametrize("name", SPOILED)
def test_an_unsound_file_is_refused_in_one_line(name: str, mine: PropertyFile, tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    shutil.copy(mine.path, path)
    reason, change = SPOILED[name]
    rewritten(path, change)
    with pytest.raises(WeightsError, match=reason) as error:
        named_files([str(path)], "crystal")
    assert "; " in str(error.value)
    assert "\n" not in str(error.value)


def names_of_terms() -> set[str]:
    """Names that classes of terms have of their own."""
    for module in pkgutil.iter_modules(energies.__path__, f"{energies.__name__}."):
        importlib.import_module(module.name)
    of, found = [Energy, TemplateEnergy], set()
    while of:
        cls = of.pop()
        of += cls.__subclasses__()
        found |= (
            {cls.name} if isinstance(cls.__dict__.get("name"), str) and cls.__module__.startswith("matgen") else set()
        )
    assert {"electrostatic", "likeness", "novelty"} <= found
    return found


def test_a_name_wins_over_the_alias_of_another() -> None:
    theirs = Property("hue", "K", ("bulk_modulus", "bulk"), 0.0, 9.0, -float("inf"), "", 0.1)
    for known in (BY_FILE | {"hue": theirs}, {"hue": theirs} | BY_FILE):
        assert find_property("bulk_modulus", known).name == "bulk_modulus"


def test_no_property_may_be_named_as_another_column_or_option() -> None:
    columns = {name.lower() for kind in PROPERTIES_OF for name in schema(kind).names}
    columns |= {"pressure", "enthalpy", "nearest_example", "example_distance", *CALCULATED}  # of `candidate_row`
    others = columns | {*FIELDS, *KEYWORDS, *TABLES, *TAKEN, *POTENTIALS, *names_of_terms()}
    assert not {name for name in others - set(PROPERTIES) if not wrong_name(name)}
    assert not any(map(wrong_name, BY_FILE))


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "theirs.safetensors"
    path.write_bytes(pickle.dumps(Code()))
    with pytest.raises(WeightsError, match="safetensors file"):
        read_property_file(path)
    torch.save({"a": Code()}, path)
    with pytest.raises(WeightsError, match="safetensors file"):
        read_property_file(path)
    assert not (tmp_path / "ran").exists()


def test_other_files_are_refused(mine: PropertyFile, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(mine.path.read_bytes()[:-1000])
    for path, reason in (
        (cut, "cut short"),
        (tmp_path / "none.safetensors", "not there"),
        (WEIGHTS / "evaluator.safetensors", "weights of kind evaluator"),
    ):
        with pytest.raises(WeightsError, match=reason):
            read_property_file(path)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(2)}, foreign)
    with pytest.raises(WeightsError, match="another program"):
        read_property_file(foreign)
    with pytest.raises(WeightsError, match="for a crystal"):
        named_files([str(mine.path)], "molecule")
    with pytest.raises(WeightsError, match="twice"):
        named_files([str(mine.path), str(mine.path)], "crystal")
    with pytest.raises(WeightsError, match="one unit"):
        named_files([str(mine.path), str(some_file(tmp_path / "unit.safetensors", unit="meV").path)], "crystal")
    with pytest.raises(WeightsError, match="one unit"):
        named_files([str(mine.path), str(some_file(tmp_path / "lin.safetensors", logarithmic=False).path)], "crystal")


def test_a_changed_file_is_read_again(mine: PropertyFile, tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    shutil.copy(mine.path, path)
    before = read_property_file(path)
    some_file(path, "gloss")
    assert list(read_property_file(path).properties) == ["gloss"]
    assert before.sha256 != read_property_file(path).sha256


def test_a_screening_reads_a_changed_file_again(crystals: list[Structure], tmp_path: Path) -> None:
    path, found = tmp_path / "theirs.safetensors", []
    for seed in (0, 1, 0):
        some_file(path, seed=seed)
        row = screen(crystals[:1], with_files=[str(path)], reference="none", known="none")[0]
        found.append(row.candidate.properties["hue"].value)
    assert found[0] == found[2] != found[1]


def test_heads_replace_the_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "property_heads.safetensors"
    some_file(path)
    with pytest.raises(WeightsError, match="expected heads for bulk_modulus"):
        Request.of(bulk_modulus=90, weights=str(tmp_path))
    rewritten(path, lambda _, content: first(content).update(name="bulk_modulus", unit="GPa"))
    assert [one.path for one in Request.of(bulk_modulus=90, weights=str(tmp_path)).property_files] == [path]


def test_the_shipped_file_may_lie_elsewhere(mine: PropertyFile) -> None:
    """A pickled header names the path of the machine that wrote it."""
    elsewhere = replace(read_property_file("shipped"), path=Path("/no/such/property_heads.safetensors"))
    assert heads_of(elsewhere, ON)
    with pytest.raises(WeightsError, match="start the run again"):
        heads_of(replace(mine, path=Path("/no/such/mine.safetensors")), ON)


def test_a_pack_beyond_the_limit_is_not_written(
    mine: PropertyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = max(path.stat().st_size for path in (mine.path, SHIPPED_FILE))
    out = tmp_path / "new" / "folder" / "both.safetensors"
    assert packed([mine.path], out).path == out
    monkeypatch.setattr(property_files, "LARGEST", limit + 1)
    both = [mine.path, SHIPPED_FILE]
    with pytest.raises(WeightsError, match="at most"):
        packed(both, tmp_path / "large" / "both.safetensors")
    assert not (tmp_path / "large").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        packed([mine.path], tmp_path / "file" / "both.safetensors")


def test_text_with_limits_that_are_infinite_is_kept(mine: PropertyFile) -> None:
    block = mine.blocks[0]
    named = replace(block.properties[0], source="-Infinity War.csv, Infinity", lowest_label=5.0)
    block = replace(block, properties=(named,))
    assert block_of(json.loads(json.dumps(as_json(block)))) == block


def test_the_shipped_file_is_small_and_described() -> None:
    read = read_property_file("shipped")
    assert SHIPPED_FILE.stat().st_size < 2**20
    assert list(read.properties) == list(LEARNED)
    assert read.properties == LEARNED
    assert info(PROPERTY_HEADS).sha256 == read.sha256
    limits = {"bulk_modulus": 0.08, "shear_modulus": 0.10, "thermal_conductivity": 0.15}
    for name, one in read.learned.items():
        assert one.figures["n_train"] > 500
        assert 0.8 < one.figures["coverage_90"] < 0.98
        assert one.figures["mae_log10"] <= limits.get(name, 0.1)


def test_learned_weights_with_the_same_trunk_are_read_too(mine: PropertyFile, tmp_path: Path) -> None:
    """Refitted heads leave the embeddings as they are; another trunk does not."""
    path = tmp_path / f"{ON}.safetensors"
    shutil.copy(WEIGHTS / path.name, path)

    def head(values: dict[str, Tensor], _: dict) -> None:
        values["members.0.heads.gap.0.bias"] += 1

    def trunk(values: dict[str, Tensor], _: dict) -> None:
        values["members.0.site.0.bias"] += 1

    rewritten(path, head)
    assert named_files([str(mine.path)], "crystal", tmp_path)
    rewritten(path, trunk)
    with pytest.raises(WeightsError, match="in use"):
        named_files([str(mine.path)], "crystal", tmp_path)


# ---------------------------------------------------------------- requests and screenings


def test_a_request_reads_files_only_where_it_needs_them(mine: PropertyFile) -> None:
    assert Request.of(band_gap=1.5).property_files == ()
    assert [one.path for one in Request.of(bulk_modulus=300).property_files] == [SHIPPED_FILE]
    asked = Request.of(hue=">90", hardness=">20", with_files=[str(mine.path)])
    assert [one.path for one in asked.property_files] == [mine.path, SHIPPED_FILE]
    assert [target.name for target in asked.property_targets] == ["hue", "vickers_hardness"]
    assert asked.updated(n=3).property_targets == asked.property_targets
    assert files_in_use([mine], "crystal", ["hue"]) == (mine,)
    conditions = settled_conditions(asked)  # the prior was trained on none of these
    assert torch.equal(
        conditions.properties.nan_to_num(9.0), settled_conditions(Request.of()).properties.nan_to_num(9.0)
    )


def test_the_identity_of_a_run_holds_the_hash_and_not_the_path(mine: PropertyFile, tmp_path: Path) -> None:
    shutil.copy(mine.path, tmp_path / "mine.safetensors")
    own, other = (
        identity(Request.of(hue=90, with_files=[str(path)])) for path in (mine.path, tmp_path / "mine.safetensors")
    )
    assert own == other
    assert own.weights["mine.safetensors"] == mine.sha256
    assert "with_files" not in own.configuration["resources"]
    some_file(tmp_path / "mine.safetensors", seed=3)
    assert identity(Request.of(hue=90, with_files=[str(tmp_path / "mine.safetensors")])) != own


def test_wrong_requests_are_one_line(mine: PropertyFile, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="expected one of"):
        Request.of(targets={"hue": 3})
    with pytest.raises(TargetError, match="expected a hue"):
        Request.of(hue=-3, with_files=[str(mine.path)])
    with pytest.raises(WeightsError, match="for a crystal"):
        Request.of(kind="molecule", with_files=[str(mine.path)])
    taken = some_file(tmp_path / "taken.safetensors", "gloss").path
    rewritten(taken, lambda _, content: first(content).update(name="novelty"))
    with pytest.raises(WeightsError, match="another column or option"):
        Request.of(with_files=[str(taken)])


def test_a_target_far_from_all_labels_is_told(mine: PropertyFile) -> None:
    near, far = (Request.of(hue=value, with_files=[str(mine.path)]).warnings for value in (100, 9000))
    assert near == ()
    assert "5 to 500 K" in far[0]
    assert "metals may be proposed" in Request.of(refractive_index=2).warnings[0]
    assert Request.of(refractive_index=2, band_gap=">0").warnings == ()


def test_a_screening_predicts_and_checks_the_properties_of_files(crystals: list[Structure], mine: PropertyFile) -> None:
    plain = screen(crystals[:3], reference="none", known="none")
    options = {"properties": {"hue": ">90", "bulk_modulus": ">50"}, "reference": "none", "known": "none"}
    rows = screen(crystals[:3], with_files=[str(mine.path)], **options)
    for row, before in zip(rows, plain, strict=True):
        found = row.candidate.properties
        assert {"hue", "bulk_modulus", "vickers_hardness"} <= found.keys()
        assert found["bulk_modulus"].unit == "GPa"
        assert row.verdicts["target_bulk_modulus"].passed == (found["bulk_modulus"].value >= 50)
        assert "target_evaluator_bulk_modulus" not in row.verdicts
        assert found["band_gap"].value == before.candidate.properties["band_gap"].value
        columns = cells(row, more=("hue",))
        assert columns["hue"] == found["hue"].value
        assert set(cells(row)) < set(columns)


def test_a_model_with_heads_keeps_its_members(ensemble: Ensemble, mine: PropertyFile) -> None:
    model = with_heads(ensemble, ON, [mine])
    assert isinstance(model, WithHeads)
    assert len(model.members) == len(ensemble.members)
    assert not any(parameter.requires_grad for parameter in model.parameters())


# ---------------------------------------------------------------- commands


def test_markup_in_a_header_is_shown_as_text(
    mine: PropertyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "[red]theirs.safetensors"
    shutil.copy(mine.path, path)
    rewritten(path, lambda _, content: (first(content).update(unit="[/]"), whole(content).update(source="[bold]")))
    assert called(monkeypatch, "energy", "info", str(path)) == 0
    shown = capsys.readouterr().out
    assert "[red]theirs" in shown
    assert "[/]" in shown
    assert "[bold]" in shown


def test_energy_info_and_pack(
    mine: PropertyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = some_file(tmp_path / "other.safetensors", "gloss")
    out = tmp_path / "both.safetensors"
    assert called(monkeypatch, "energy", "pack", str(mine.path), str(other.path), "--out", str(out)) == 0
    assert "hue, gloss" in capsys.readouterr().err
    assert called(monkeypatch, "energy", "info", str(out)) == 0
    shown = capsys.readouterr()
    assert "gloss" in shown.out
    assert read_property_file(out).sha256 in "".join(shown.err.split())
    assert called(monkeypatch, "energy", "pack", str(mine.path), "--out", str(mine.path)) == 2
    assert "of its own" in capsys.readouterr().err
    assert called(monkeypatch, "energy", "info", str(WEIGHTS / "evaluator.safetensors")) == 2
    assert capsys.readouterr().err.count("\n") == 1
