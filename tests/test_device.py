"""One code for every device: nothing mixes them, and training and sampling elsewhere give what the CPU gives."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import rdkit
import torch
from conftest import SMALL_MODELS, TextbookEntry
from elsewhere import second_device
from safetensors.torch import load_file
from test_molecule_training import SMALL as SMALL_MOLECULES
from test_molecule_training import table as molecules
from torch import Tensor

from matgen.batch.neighbors import neighbors
from matgen.chemistry.elements import descriptors
from matgen.generation.generate import generate
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.predictors import Predictor, by_structure
from matgen.generation.rank import Proposed
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig
from matgen.runtime.devices import DeviceError, find_device, per_device, placed
from matgen.runtime.progress import Silence
from matgen.runtime.random import choice, normal, uniform
from matgen.search.assessment import predictions
from matgen.structures.conversion import described, state_of
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.templates.wyckoff import wyckoff_table
from matgen.training.config import TrainConfig, train_config
from matgen.training.molecule_negatives import MOLECULE_NEGATIVES
from matgen.training.run import train
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import USED_BY
from matgen.weights.models import load, load_models

SHIPPED = all((WEIGHTS / f"{kind}.safetensors").exists() for kind in USED_BY["crystal"])
needs_rdkit = pytest.mark.skipif(not hasattr(rdkit, "__version__"), reason="needs RDKit, which makes the molecules")
needs_weights = pytest.mark.skipif(not SHIPPED, reason="not all weights ship yet")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A simulated second device, which `find_device` finds."""
    monkeypatch.setattr("matgen.training.run.find_device", torch.device)
    with second_device() as device:
        yield device


@pytest.fixture
def cuda() -> torch.device:
    """The real thing."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


OTHERS = ["elsewhere", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=OTHERS)
def other(request: pytest.FixtureRequest) -> torch.device:
    """A device that is not the CPU."""
    return request.getfixturevalue(request.param)


# ---------------------------------------------------------------- the simulated device


MIXTURES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "arithmetic": lambda there, here: there + here,
    "arithmetic with a number in place": lambda there, here: here[0, 0].add_(there[0, 0]),
    "where": lambda there, here: torch.where(there > 0, here, there),
    "cat": lambda there, here: torch.cat([there, here]),
    "stack of numbers": lambda there, here: torch.stack([there[0, 0], here[0, 0]]),
    "matrix product": lambda there, here: there @ here.mT,
    "index of an ordinary tensor": lambda there, here: here[there[0].long()],
    "mask of an ordinary tensor": lambda there, here: here[there > 0],
    "index_add": lambda there, here: there.index_add(0, here[:, 0].long(), there),
    "gather": lambda there, here: there.gather(0, here.long()),
    "assignment": lambda there, here: there.__setitem__(there[:, 0] > -9, here),
    "embedding": lambda there, here: torch.nn.functional.embedding(here.long(), there),
    "bincount": lambda there, here: torch.bincount(there[0].long().abs(), weights=here[0]),
    "searchsorted": lambda there, here: torch.searchsorted(there[0], here[0]),
    "random numbers": lambda there, _: torch.multinomial(there.abs(), 1, generator=torch.Generator()),
    "numpy": lambda there, _: there.numpy(),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_devices_do_not_mix(name: str, other: torch.device) -> None:
    here = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises((RuntimeError, TypeError), match=r"device|CPU|cpu"):
        MIXTURES[name](here.to(other), here)


ALLOWED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a number": lambda there, here: there * here[0, 0],
    "a number where there is a choice": lambda there, here: torch.where(there > 0.5, there, here[0, 0]),
    "an index": lambda there, here: there[here[:, 0].long()],
    "a copy": lambda there, here: torch.zeros_like(there).copy_(here),
    "a literal": lambda there, _: there + torch.tensor([1.0, 2.0, 3.0], device=there.device),
    "a literal like another": lambda there, _: there + there.new_tensor([1.0, 2.0, 3.0]),
    "a view written to": lambda there, _: there.clone().T.index_fill_(0, torch.arange(1).to(there.device), 7.0),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_may_meet_gives_what_the_cpu_gives(name: str, other: torch.device) -> None:
    here = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    there = ALLOWED[name](here.to(other), here)
    assert there.device.type == other.type
    assert torch.equal(there.cpu(), ALLOWED[name](here, here))


def test_slopes_do_not_leave_the_device(other: torch.device) -> None:
    x = torch.tensor([1.0, 2.0], device=other).requires_grad_()
    (x**3).sum().backward()
    assert x.grad is not None
    assert x.grad.device.type == other.type
    assert x.grad.tolist() == [3.0, 12.0]


# ---------------------------------------------------------------- devices, tables and random numbers


@pytest.mark.parametrize(
    ("n_gpus", "name"),
    [(0, "cpu"), (1, "cuda"), (1, "cuda:0"), (2, "cuda:1")],
)
def test_devices_are_found_by_name(n_gpus: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    assert find_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("n_gpus", "name", "complaint"),
    [
        (0, "cuda", r"finds here \(cpu\), got 'cuda'; choose one of these"),
        (1, "cuda:1", r"finds here \(cpu, cuda, cuda:0\), got 'cuda:1'"),
        (1, "gpu", r"got 'gpu'; choose"),
        (0, "", r"got ''; choose"),
        (0, "mps", "has neither float64 nor a matrix exponential; use cpu"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    n_gpus: int, name: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    with pytest.raises(DeviceError, match=complaint):
        find_device(name)


def test_tables_are_made_once_and_copied_once_to_each_device(other: torch.device) -> None:
    made: list[int] = []

    @per_device
    def table() -> tuple[Tensor, Tensor]:
        made.append(1)
        return torch.arange(3), torch.ones(2)

    device = torch.ones(1, device=other).device
    assert table(device) is table(device)
    assert table() is table(torch.device("cpu"))
    assert [part.device for part in table(device)] == [device] * 2
    assert [part.tolist() for part in table(device)] == [part.tolist() for part in table()]
    assert made == [1]
    assert wyckoff_table(device).letter.device == descriptors(device).device == device


@dataclass(frozen=True)
class _Nested:
    numbers: Tensor
    parts: tuple[Tensor, dict[str, Tensor]]
    name: str = "n"


def test_whatever_holds_tensors_moves_with_them(other: torch.device) -> None:
    ones = torch.ones(2)
    moved = placed(_Nested(ones, (2 * ones, {"three": 3 * ones})), other)
    assert {x.device.type for x in (moved.numbers, moved.parts[0], moved.parts[1]["three"])} == {other.type}
    back = placed(moved, "cpu")
    assert [x.tolist() for x in (back.numbers, back.parts[0], back.parts[1]["three"])] == [
        [1.0] * 2,
        [2.0] * 2,
        [3.0] * 2,
    ]
    assert back.name == "n"


def test_one_seed_draws_the_same_numbers_everywhere(other: torch.device) -> None:
    here = torch.rand(4, 5, generator=torch.Generator().manual_seed(1))
    for sample in (
        lambda like, rng: uniform((3,), rng, like),
        lambda like, rng: normal((3,), rng, like),
        choice,
    ):
        sampled = [sample(x, torch.Generator().manual_seed(0)) for x in (here, here.to(other))]
        assert sampled[1].device.type == other.type
        assert sampled[0].tolist() == sampled[1].tolist()


# ---------------------------------------------------------------- structures


@pytest.fixture(scope="module")
def crystals(textbook: tuple[TextbookEntry, ...]) -> tuple[TemplateBatch, Geometry]:
    pairs = [described(entry.structure) for entry in textbook[:12]]
    return concatenated([(TemplateBatch.of([template]), geometry) for template, geometry in pairs])


def test_atoms_and_neighbours_stand_where_they_stand_on_the_cpu(
    crystals: tuple[TemplateBatch, Geometry], other: torch.device
) -> None:
    here, there = states = expand(*crystals), expand(crystals[0].to(other), crystals[1].to(other))
    assert {x.device.type for x in (there.positions, there.cell, there.orbits.rotations)} == {other.type}
    torch.testing.assert_close(there.positions.cpu(), here.positions)
    edges = [neighbors(state, 4.0) for state in states]
    assert edges[1].offset.device.type == other.type
    lengths = [
        found.vectors(state).norm(dim=1).sort().values for found, state in zip(edges, (here, there), strict=True)
    ]
    torch.testing.assert_close(lengths[1].cpu(), lengths[0])


# ---------------------------------------------------------------- training


def trained(kind: str, table: Path, folder: Path, device: torch.device, steps: int) -> tuple[list[dict], Path, dict]:
    """Log, weights and figures of a short training without dropout, whose masks a GPU samples by itself."""
    schedule = {"steps": steps, "batch_size": 8, "warmup": 1, "log_every": 1, "validate_every": steps, "seed": 3}
    still = {"graph_energy": {}, "geometry_density": {"dropout": 0.0, "layout_dropout": 0.0}}
    size = SMALL_MOLECULES.get(kind) or SMALL_MODELS[kind] | still.get(kind, {"dropout": 0.0})
    raw = {"kind": kind, "model": size, "data": str(table), "folder": str(folder), "schedule": schedule}
    config: TrainConfig = replace(train_config(raw), device=str(device))
    heard: list[dict] = []
    found = train(config, report=heard.append)
    return [line for line in heard if "loss" in line], found.path, found.figures


@pytest.mark.parametrize("kind", SMALL_MODELS)
def test_training_elsewhere_is_training(kind: str, prepared_table: Path, tmp_path: Path, other: torch.device) -> None:
    runs = [trained(kind, prepared_table, tmp_path / d.type, d, 2) for d in (torch.device("cpu"), other)]
    (first, second), (there_first, there_second) = (log for log, _, _ in runs)
    # Another order of sums in float32; AdamW's first steps are as long for a slope of rounding as for a true one.
    for name in ("loss", "grad_norm"):
        assert there_first[name] == pytest.approx(first[name], rel=1e-4), name
        assert there_second[name] == pytest.approx(second[name], rel=1e-2), name
    for name, value in runs[0][2].items():
        assert runs[1][2][name] == pytest.approx(value, rel=0.02, abs=0.02), name
    shapes = [{name: value.shape for name, value in load_file(path).items()} for _, path, _ in runs]
    assert shapes[0] == shapes[1]
    assert load(kind, runs[1][1]).training is False


@needs_rdkit
@pytest.mark.parametrize("kind", SMALL_MOLECULES)
def test_molecules_are_trained_on_elsewhere(kind: str, tmp_path: Path, other: torch.device) -> None:
    molecules().save(tmp_path / "molecules.npz")
    runs = [trained(kind, tmp_path / "molecules.npz", tmp_path / d.type, d, 2) for d in (torch.device("cpu"), other)]
    (first, second), (there_first, there_second) = (log for log, _, _ in runs)
    for name in ("loss", "grad_norm"):
        assert there_first[name] == pytest.approx(first[name], rel=1e-4), name
        assert there_second[name] == pytest.approx(second[name], rel=1e-2), name


@needs_rdkit
@pytest.mark.parametrize("name", MOLECULE_NEGATIVES)
def test_negatives_of_molecules_are_made_elsewhere(name: str, other: torch.device) -> None:
    table = molecules()
    found = []
    for device in (torch.device("cpu"), other):
        there = table.to(device)
        found.append(MOLECULE_NEGATIVES[name](there.templates, there.geometry, torch.Generator().manual_seed(2)))
    (_, here, possible), (_, there_geometry, possible_there) = found
    assert there_geometry.coords.device.type == possible_there.device.type == other.type
    assert possible_there.tolist() == possible.tolist()
    assert possible.any()
    torch.testing.assert_close(there_geometry.coords.cpu(), here.coords)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")  # no true meta tensor: it holds numbers
def test_a_checkpoint_goes_on_on_another_device(prepared_table: Path, tmp_path: Path, other: torch.device) -> None:
    cpu, kind = torch.device("cpu"), "geometry_density"
    whole = [trained(kind, prepared_table, tmp_path / "whole", cpu, steps)[0] for steps in (2, 4)][1]
    for first, then in ((cpu, other), (other, cpu)):
        folder = tmp_path / first.type
        trained(kind, prepared_table, folder, first, 2)
        log, _, _ = trained(kind, prepared_table, folder, then, 4)
        assert [line["step"] for line in log] == [3, 4]
        assert log[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-2)


# ---------------------------------------------------------------- sampling


SMALL = Request.of(
    targets={"band_gap": 1.5},
    elements=("Na", "Cl", "O", "Ti"),
    max_atoms=8,
    n=1,
    over_generation=2,
    relax="none",
    sampler=SamplerConfig(pool=2, move_steps=4, geometries=2, levels=2, refine_rounds=1, refine_steps=2),
)


def sampled(device: torch.device, request: Request) -> list[Proposed]:
    return generate(request, Crystals(request, load_models(device)), torch.Generator().manual_seed(1), Silence())


@needs_weights
@pytest.mark.parametrize("changed", [{}, pytest.param({"formula": "TiO2"}, marks=pytest.mark.slow)])
def test_sampling_elsewhere_is_sampling(changed: dict, other: torch.device) -> None:
    request = SMALL.updated(**changed)
    here, there = sampled(torch.device("cpu"), request), sampled(other, request)
    assert here
    assert [p.template for p in there] == [p.template for p in here]
    for one, two in zip(here, there, strict=True):
        assert one.energies.keys() == two.energies.keys()
        for name, value in one.energies.items():
            # Rounding grows along a chain of some twenty moves in float32.
            assert two.energies[name] == pytest.approx(value, rel=1e-2, abs=1e-2), name
        assert two.geometry.lattice.device.type == "cpu"
        torch.testing.assert_close(two.geometry.lattice, one.geometry.lattice, rtol=1e-2, atol=1e-3)
        gaps = [p.properties["band_gap"].value for p in (one, two)]
        assert gaps[1] == pytest.approx(gaps[0], rel=1e-2, abs=1e-2)


@needs_weights
def test_structures_are_read_elsewhere_as_on_the_cpu(textbook: tuple[TextbookEntry, ...], other: torch.device) -> None:
    structure = textbook[0].structure

    def opinions(device: torch.device) -> dict[str, float]:
        predictor = Predictor(load("graph_energy").to(device), by_structure(load("structure_properties").to(device)))
        evaluated = predictions(load("evaluator").to(device), structure, str(device))
        predicted = predictor.of_structure(structure)
        return {f"predictor {k}": float(p.value) for k, p in predicted.items()} | {
            k: p.value for k, p in evaluated.items()
        }

    assert opinions(other) == pytest.approx(opinions(torch.device("cpu")), rel=1e-3, abs=1e-4)
    assert not math.isnan(sum(opinions(other).values()))
    assert state_of([structure]).to(other).cell.device.type == other.type
