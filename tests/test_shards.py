"""Tables on the disk are read like those in memory: the same rows, batches, labels, losses and weights."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL_MODELS
from torch import Tensor

from matgen.datasets.crystals import Crystals, CrystalTable, joined_tables
from matgen.datasets.shards import MANIFEST, ShardedCrystals, shard_name, write_manifest, write_shard
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.training import properties
from matgen.training.config import train_config
from matgen.training.properties import PropertyTargets, fitted_rows, fold, trainable, validation
from matgen.training.run import PLANS, train
from matgen.training.tables import DataError, read_crystals, read_table
from matgen.training.template_prior import unigram_nll

STREAMED = ("template_prior", "template_properties", "graph_energy", "structure_properties", "evaluator")


def in_shards(table: CrystalTable, folder: Path, sizes: tuple[int, ...]) -> Path:
    """Write a table as shards of these sizes."""
    folder.mkdir()
    rows = {}
    for number, some in enumerate(torch.arange(len(table)).split(sizes)):
        write_shard(table.select(some), folder / shard_name(number), {})
        rows[shard_name(number)] = len(some)
    write_manifest(folder, rows, {})
    return folder


@pytest.fixture(scope="module")
def memory(prepared_table: Path) -> CrystalTable:
    """The textbook crystals three times over, with words of several lengths and labels that are unknown."""
    once = CrystalTable.load(prepared_table)
    table = once.select(torch.arange(len(once)).repeat(3))
    table.material_id[1] = "a much longer name, Å"
    table.gap_source[::2] = ""
    table.label("band_gap")[::5] = math.nan
    return replace(table, mp2020=torch.arange(len(table)) % 7 != 0)


@pytest.fixture(scope="module")
def folder(memory: CrystalTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    n = len(memory)
    return in_shards(memory, tmp_path_factory.mktemp("shards") / "crystals", (50, 1, 30, n - 81))


@pytest.fixture(scope="module")
def disk(folder: Path) -> ShardedCrystals:
    return ShardedCrystals.load(folder)


def check_equal(one: TemplateBatch, other: TemplateBatch) -> None:
    for name in ("space_group", "site_position", "site_element", "site_system"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.equal(one.graphs.charge, other.graphs.charge)
    assert torch.equal(one.graphs.pairs, other.graphs.pairs)
    assert one.smiles == other.smiles


def check_same_table(one: CrystalTable, other: CrystalTable) -> None:
    check_equal(one.templates, other.templates)
    assert one.material_id.tolist() == other.material_id.tolist()
    assert one.gap_source.tolist() == other.gap_source.tolist()
    assert one.labels.keys() == other.labels.keys()
    for name, value in one.labels.items():
        torch.testing.assert_close(other.labels[name], value, rtol=0, atol=0, equal_nan=True)
    for f in fields(one):
        value = getattr(one, f.name)
        if isinstance(value, Tensor):
            assert torch.equal(value, getattr(other, f.name)), f.name
            assert value.dtype == getattr(other, f.name).dtype, f.name
    assert torch.equal(one.geometry.lattice, other.geometry.lattice)
    assert torch.equal(one.geometry.coords, other.geometry.coords)


def test_a_table_survives_its_shards(memory: CrystalTable, disk: ShardedCrystals) -> None:
    assert len(disk) == len(memory)
    check_same_table(memory, disk.whole())
    check_same_table(memory, joined_tables([memory.select(some) for some in torch.arange(len(memory)).split(40)]))
    for name in ("split", "mp20_split", "mp2020", "volume_ratio", "neutral", "n_atoms", "n_sites"):
        assert torch.equal(getattr(disk, name), getattr(memory, name)), name
    assert set(disk.label_names) == set(memory.label_names)
    assert disk.gap_source.tolist() == memory.gap_source.tolist()


@pytest.mark.parametrize("rows", [[3, 70, 3, 0, 50, 49, 51, 80, 81], [50], [], list(range(140, 20, -3))])
def test_rows_are_those_that_selection_gives(memory: CrystalTable, disk: ShardedCrystals, rows: list[int]) -> None:
    chosen = torch.tensor(rows, dtype=torch.long)
    plain = memory.templates.select(chosen), memory.geometry.select(memory.templates, chosen)
    for table in (memory, disk):
        templates, geometry = table.batch(chosen)
        check_equal(templates, plain[0])
        assert isinstance(geometry, Geometry)
        assert torch.equal(geometry.lattice, plain[1].lattice)
        assert torch.equal(geometry.coords, plain[1].coords)


@pytest.mark.parametrize("kind", STREAMED)
def test_every_kind_gets_the_same_batches_and_losses(
    kind: str, memory: CrystalTable, disk: ShardedCrystals, tmp_path: Path
) -> None:
    raw = {"kind": kind, "model": SMALL_MODELS[kind]}
    found = []
    for table in (memory, disk):
        folder = tmp_path / type(table).__name__
        torch.manual_seed(0)
        plan = PLANS[kind](table, train_config(raw | {"folder": str(folder)}))
        batches = plan.objective.batches(16, torch.Generator().manual_seed(3))
        rows = [next(batches) for _ in range(12)]
        torch.manual_seed(1)  # of dropout
        losses = [plan.objective.loss(plan.model, some, torch.Generator().manual_seed(5))[0] for some in rows[:2]]
        found.append((rows, losses, plan))
    (rows, losses, plan), (rows_of_disk, losses_of_disk, plan_of_disk) = found
    if kind == "structure_properties":  # sizes are numbers of edges or of atoms, so that batches differ
        assert sum(map(len, rows)) == sum(map(len, rows_of_disk))
        losses = [plan.objective.loss(plan.model.eval(), some, torch.Generator())[0] for some in rows_of_disk[:2]]
        losses_of_disk = [
            plan.objective.loss(plan.model.eval(), some, torch.Generator())[0] for some in rows_of_disk[:2]
        ]
    else:
        assert all(torch.equal(one, other) for one, other in zip(rows, rows_of_disk, strict=True))
    for one, other in zip(losses, losses_of_disk, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)  # neighbours in another order
    assert plan.trained_on == plan_of_disk.trained_on
    assert torch.equal(plan.calibrated_on, plan_of_disk.calibrated_on)
    for name, value in plan.targets.values.items():
        torch.testing.assert_close(plan_of_disk.targets.values[name], value, equal_nan=True)


def test_training_from_shards_gives_the_same_weights(memory: CrystalTable, folder: Path, tmp_path: Path) -> None:
    memory.save(tmp_path / "crystals.npz")
    schedule = {"steps": 3, "batch_size": 20, "parts": 2, "warmup": 1, "validate_every": 3}
    raw = {"kind": "template_prior", "model": SMALL_MODELS["template_prior"], "schedule": schedule}
    runs = {"memory": tmp_path / "crystals.npz", "disk": folder}
    found = [
        train(train_config(raw | {"data": str(path), "folder": str(tmp_path / name)})) for name, path in runs.items()
    ]
    assert found[0].figures == found[1].figures
    saved = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["model"] for name in runs]
    assert all(torch.equal(value, saved[1][name]) for name, value in saved[0].items())


def test_the_density_of_geometries_reads_shards_into_memory(folder: Path, tmp_path: Path) -> None:
    raw = {"kind": "geometry_density", "model": SMALL_MODELS["geometry_density"], "data": str(folder)}
    schedule = {"steps": 1, "batch_size": 8, "validate_every": 1}
    assert train(train_config(raw | {"folder": str(tmp_path), "schedule": schedule})).path.is_file()


def test_figures_of_a_table_do_not_depend_on_how_it_is_read(
    memory: CrystalTable, disk: ShardedCrystals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def figures(table: Crystals) -> list[Tensor]:
        rows = trainable(table).nonzero().ravel()
        targets = PropertyTargets.of(table, rows)
        return [rows, validation(table), fold(table, 3, 0.5), *(v.nan_to_num() for v in targets.values.values())]

    nll = unigram_nll(memory)
    whole = figures(memory)
    monkeypatch.setattr(properties, "AT_ONCE", 17)
    for one, other in zip(whole, figures(disk), strict=True):
        torch.testing.assert_close(other, one)
    assert unigram_nll(disk) == nll


def test_a_fit_to_fewer_rows_holds_every_rare_element(memory: CrystalTable) -> None:
    rows = torch.arange(len(memory))
    assert torch.equal(fitted_rows(memory, rows, most=len(memory)), rows)
    some = fitted_rows(memory, rows, most=20, rare=4)
    assert 20 <= len(some) < len(rows)
    held = properties.compositions(memory.templates) > 0
    rare = held[:, held.sum(0) < 4].any(1).nonzero().ravel()
    assert len(rare)
    assert torch.isin(rare, some).all()
    everything = properties.compositions(memory.batch(some)[0]) > 0
    assert torch.equal(everything.any(0)[held.sum(0) < 4], held.any(0)[held.sum(0) < 4])


def test_results_are_on_the_device_that_is_asked_for(disk: ShardedCrystals) -> None:
    there = disk.to("meta")
    templates, geometry = there.batch(torch.tensor([5, 60]))
    columns = (templates.site_element, geometry.coords, there.split, there.label("band_gap"), there.n_atoms)
    assert {x.device.type for x in columns} == {"meta"}


def test_damaged_shards_are_told(folder: Path, memory: CrystalTable, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a prepared table"):
        read_crystals(tmp_path)
    broken = in_shards(memory, tmp_path / "broken", (len(memory),))
    assert len(read_table(broken, CrystalTable)) == len(memory)
    content = json.loads((broken / MANIFEST).read_text())
    (broken / MANIFEST).write_text(json.dumps(content | {"shards": {shard_name(0): 5}}))
    with pytest.raises(DataError, match=f"expected 5 rows in {shard_name(0)}, got {len(memory)}"):
        read_crystals(broken)
    (broken / shard_name(0)).write_bytes((folder / shard_name(0)).read_bytes()[:-10])
    with pytest.raises(DataError, match=f"{shard_name(0)} is missing or damaged"):
        read_crystals(broken)
    (broken / MANIFEST).write_text(json.dumps(content | {"format": "another"}))
    with pytest.raises(DataError, match="expected the format"):
        read_crystals(broken)
