"""Training by several processes: the same weights as by one, resumption by another number, errors that end all."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL_MODELS
from safetensors.torch import load_file
from test_molecule_training import SMALL, table
from torch import Tensor, nn

from matgen.runtime.config import to_toml
from matgen.training.config import TrainConfig, load_train_config, train_config
from matgen.training.gradients import averaged, part_generator, split, summed
from matgen.training.loop import Schedule
from matgen.training.parallel import ALONE, ParallelError, Processes, joined, own_parts, shared_parts
from matgen.training.run import train
from matgen.workflows import train_processes
from matgen.workflows.train_processes import DiedError, in_processes, is_one_of_several

KINDS = {
    "template_prior": SMALL_MODELS["template_prior"] | {"dropout": 0.2},
    "template_properties": SMALL_MODELS["template_properties"] | {"members": 2},
    "graph_energy": SMALL_MODELS["graph_energy"],
    "structure_properties": SMALL_MODELS["structure_properties"],
    "evaluator": SMALL_MODELS["evaluator"],
    "molecule_energy": SMALL["molecule_energy"],
}
"""Kinds whose losses differ most: dropout, ensembles, a second derivative and own samples, files made for all."""

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

BY_ALL = """
import sys
from pathlib import Path
from matgen.training.config import load_train_config
from matgen.training.parallel import joined
from matgen.training.run import train

with joined() as processes:
    for file in sys.argv[1:]:
        train(load_train_config(Path(file)), processes=processes)
"""
"""Trains by the configurations that are named."""


def configured(kind: str, tables: dict[str, Path], folder: Path, **changed: int) -> TrainConfig:
    schedule = {
        "steps": 4,
        "batch_size": 9,
        "parts": 2,
        "warmup": 1,
        "final_rate": 1.0,
        "log_every": 2,
        "validate_every": 4,
    } | changed
    raw = {
        "kind": kind,
        "model": KINDS[kind],
        "data": str(tables["molecule" if kind in SMALL else "crystal"]),
        "folder": str(folder / kind),
        "schedule": schedule,
    }
    if kind == "graph_energy":
        raw["loss"] = {"conservative": 0.5, "own_share": 0.3}
    return train_config(raw)


def written(config: TrainConfig, path: Path) -> Path:
    path.write_text(to_toml(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tables(prepared_table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    molecules = tmp_path_factory.mktemp("molecules") / "molecules.npz"
    table().save(molecules)
    return {"crystal": prepared_table, "molecule": molecules}


def by_two(configs: list[TrainConfig], folder: Path) -> None:
    """Train by two processes."""
    files = [str(written(config, folder / f"{i}.toml")) for i, config in enumerate(configs)]
    assert in_processes([sys.executable, "-c", BY_ALL, *files], 2) == 0


@pytest.fixture(scope="module")
def two(tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all kinds, trained by two processes, and two that are to be resumed."""
    folder = tmp_path_factory.mktemp("two")
    first = [train(configured("template_prior", tables, folder / "one_then_two", steps=2)).path.parent]
    configs = [configured(kind, tables, folder) for kind in KINDS]
    more = [
        configured("template_prior", tables, first[0].parent),
        configured("template_prior", tables, folder / "two_then_one", steps=2),
    ]
    by_two([*configs, *more], folder)
    return folder


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def check_alike(one: Path, other: Path) -> None:
    """Compare checkpoints: sums in another order, some 1e-7 of a gradient, which AdamW's first steps can enlarge."""
    saved = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (one, other)]
    assert saved[0]["parts"] == saved[1]["parts"]
    assert saved[0]["progress"]["step"] == saved[1]["progress"]["step"]
    for part in ("model", "average"):
        for name, value in saved[0][part].items():
            torch.testing.assert_close(saved[1][part][name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_weights_of_one(kind: str, tables: dict[str, Path], two: Path, tmp_path: Path) -> None:
    config = configured(kind, tables, tmp_path)
    begun = train(replace(config, schedule=replace(config.schedule, steps=1))).path.parent
    start = {n: v.clone() for n, v in torch.load(begun / "checkpoint.pt", weights_only=True)["model"].items()}
    train(config)
    check_alike(config.run_folder, two / kind)
    end = torch.load(two / kind / "checkpoint.pt", weights_only=True)["model"]
    assert any(not torch.allclose(end[name], value, rtol=1e-3, atol=1e-5) for name, value in start.items())
    logs = [[line for line in log(folder) if line["step"] > 2] for folder in (config.run_folder, two / kind)]
    assert [line.keys() for line in logs[0]] == [line.keys() for line in logs[1]]
    assert logs[0][0]["loss"] == pytest.approx(logs[1][0]["loss"], rel=1e-4)
    assert len(log(two / kind)) == 3, "one process writes"
    files = [load_file(folder / f"{kind}.safetensors") for folder in (config.run_folder, two / kind)]
    assert files[0].keys() == files[1].keys()


@pytest.mark.parametrize("how", ["one_then_two", "two_then_one"])
def test_another_number_of_processes_goes_on(how: str, tables: dict[str, Path], two: Path) -> None:
    if how == "two_then_one":
        train(configured("template_prior", tables, two / how))
    check_alike(two / "template_prior", two / how / "template_prior")


def test_parts_are_kept_by_a_checkpoint_unless_they_are_given(tables: dict[str, Path], tmp_path: Path) -> None:
    train(configured("template_prior", tables, tmp_path, parts=4, steps=1))
    train(configured("template_prior", tables, tmp_path, parts=0, steps=2))
    assert torch.load(tmp_path / "template_prior" / "checkpoint.pt", weights_only=True)["parts"] == 4
    assert shared_parts(0, 0, 3) == shared_parts(0, 2, 3) == 3
    assert shared_parts(0, 6, 3) == shared_parts(6, 1, 3) == 6
    with pytest.raises(ParallelError, match="expected parts as a multiple of 2 processes, got 3"):
        shared_parts(3, 0, 2)
    shares = [list(own_parts(4, Processes(rank, 2))) for rank in range(2)]
    assert sorted(part for share in shares for part in share) == [0, 1, 2, 3]


def test_parts_hold_each_row_once_and_have_numbers_of_their_own() -> None:
    rows = torch.randperm(10)
    assert torch.equal(torch.cat([split(rows, 3, part) for part in range(3)]).sort().values, torch.arange(10))
    drawn = {
        key: torch.rand(3, generator=part_generator(*key)).tolist() + torch.rand(3).tolist()
        for key in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
    }
    assert len({str(numbers) for numbers in drawn.values()}) == 4
    again = torch.rand(3, generator=part_generator(0, 1, 0)).tolist() + torch.rand(3).tolist()
    assert again == drawn[0, 1, 0]


def test_a_batch_in_parts_has_the_gradient_of_the_batch() -> None:
    # Of a loss that is a mean over rows and holds no random numbers; parts of 5 and 4 rows weigh 5 and 4.
    def slope(parts: int) -> tuple[float, list[Tensor]]:
        torch.manual_seed(0)
        model, x = nn.Linear(3, 1), torch.arange(27.0).reshape(9, 3)
        total = 0.0
        for part in range(parts):
            some = split(x, parts, part)
            loss = model(some).square().mean() * (len(some) / 9)
            loss.backward()
            total += loss.item()
        return total, [p.grad for p in model.parameters()]

    (one, whole), (other, divided) = slope(1), slope(2)
    assert one == pytest.approx(other, rel=1e-6)
    for a, b in zip(whole, divided, strict=True):
        torch.testing.assert_close(a, b)


def test_a_single_process_sums_nothing() -> None:
    model = nn.Linear(2, 1)
    loss = model(torch.ones(1, 2)).sum()
    loss.backward()
    assert summed(list(model.parameters()), loss, ALONE) is loss
    assert averaged([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0, "b": 2.0}
    assert Schedule().parts == 0
    with joined({}) as found:
        assert found is ALONE


def test_the_launcher_tells_how_many_processes_there_are() -> None:
    assert not is_one_of_several(2, {})
    assert not is_one_of_several(2, {"WORLD_SIZE": "1"}), "a launcher of one process leaves --processes in force"
    assert is_one_of_several(2, {"WORLD_SIZE": "2"})
    assert is_one_of_several(1, {"WORLD_SIZE": "4"})
    with pytest.raises(ParallelError, match="expected --processes 4, which the launcher started, got 2"):
        is_one_of_several(2, {"WORLD_SIZE": "4"})


def test_variables_that_are_missing_and_devices_that_are_too_few_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(ParallelError, match="expected MASTER_ADDR, MASTER_PORT in the environment"),
        joined({"WORLD_SIZE": "2", "RANK": "0"}),
    ):
        pass
    with (
        pytest.raises(ParallelError, match="whole number as WORLD_SIZE in the environment, got 'two'"),
        joined({"WORLD_SIZE": "two"}),
    ):
        pass
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Processes(1, 2, 0).device("cuda") == "cuda:0"
    assert Processes(1, 2, 1).device("cpu") == "cpu"
    with pytest.raises(ParallelError, match="at most 1 processes here, one for each GPU"):
        Processes(1, 2, 1).device("cuda")
    with pytest.raises(ParallelError, match="expected --device cuda for 2 processes"):
        Processes(1, 2, 1).device("cuda:1")


# ---------------------------------------------------------------- errors and interrupts

FAILING = """
import os, signal, sys
from matgen.cli import main
from matgen.errors import UserError
from matgen.training.template_prior import PriorObjective

how, file = sys.argv[1:]
loss, steps = PriorObjective.loss, []

def failing(self, model, rows, generator):
    steps.append(1)
    if len(steps) == 3 and os.environ["RANK"] == "1":
        if how == "error":
            raise UserError("expected no fault, got one")
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, model, rows, generator)

PriorObjective.loss = failing
sys.argv = ["matgen", "train", file]
main()
"""
"""The command, of which the second process fails in its third step."""

LAUNCH = """
import sys
from matgen.cli.common import to_stderr
from matgen.errors import UserError
from matgen.workflows import train_processes
from matgen.workflows.train_processes import in_processes
try:
    sys.exit(in_processes([sys.executable, "-c", *sys.argv[1:]], 2))
except UserError as error:
    to_stderr(str(error))
    sys.exit(2)
"""


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("error", "matgen: expected no fault, got one"),
        pytest.param("death", "matgen: process 1 of 2 was ended by SIGKILL", marks=pytest.mark.slow),
    ],
)
def test_a_fault_of_one_process_ends_all_with_one_line(
    how: str, line: str, tables: dict[str, Path], tmp_path: Path
) -> None:
    file = written(configured("template_prior", tables, tmp_path, steps=1000), tmp_path / "config.toml")
    command = [sys.executable, "-c", LAUNCH, FAILING, how, str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert told.returncode == 2
    shown = [one for one in told.stderr.splitlines() if not one.startswith("train template_prior")]  # its progress
    assert len(shown) == 1, told.stderr
    assert shown[0].startswith(line)


def matgen(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "matgen", *arguments]


@pytest.mark.slow
def test_an_error_of_all_processes_is_told_once(tmp_path: Path) -> None:
    command = matgen("train", "template_prior", "--data", str(tmp_path / "none.npz"), "--processes", "2")
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=tmp_path)
    assert told.returncode == 2
    assert told.stderr.startswith("matgen: expected a prepared table at")
    assert len(told.stderr.splitlines()) == 1, told.stderr


@pytest.mark.slow
def test_an_interrupt_leaves_a_checkpoint_from_which_one_process_goes_on(
    tables: dict[str, Path], tmp_path: Path
) -> None:
    config = configured("template_prior", tables, tmp_path, steps=10**6, log_every=5, validate_every=10**6)
    file = written(config, tmp_path / "config.toml")
    running = subprocess.Popen(
        matgen("train", str(file), "--processes", "2"), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    metrics = config.run_folder / "metrics.jsonl"
    until = time.monotonic() + 600
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)  # to the launcher alone, as a batch system does
    _, told = running.communicate(timeout=600)
    assert running.returncode == 130
    assert "interrupted: the last checkpoint is in" in told
    assert "Traceback" not in told
    step = torch.load(config.run_folder / "checkpoint.pt", weights_only=True)["progress"]["step"]
    assert step >= 5
    train(replace(config, schedule=replace(config.schedule, steps=step + 2, log_every=1)))
    assert [line["step"] for line in log(config.run_folder) if "loss" in line][-2:] == [step + 1, step + 2]


@pytest.mark.slow
def test_torchrun_starts_the_command(tables: dict[str, Path], two: Path, tmp_path: Path) -> None:
    config = configured("template_prior", tables, tmp_path)
    file = written(config, tmp_path / "config.toml")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run([*command, "-m", "matgen", "train", str(file)], check=True, capture_output=True, env=ENVIRONMENT)
    check_alike(two / "template_prior", config.run_folder)
    assert load_train_config(config.run_folder / "config.toml") == config


def test_the_launcher_tells_of_a_process_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    dies = textwrap.dedent("""
        import os, signal, time
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    """)
    monkeypatch.setattr(train_processes, "GRACE", 0.5)
    began = time.monotonic()
    with pytest.raises(DiedError, match=r"process 1 of 2 was ended by SIGKILL, .*run the same command to resume"):
        in_processes([sys.executable, "-c", dies], 2)
    assert time.monotonic() - began < 40, "the other process does not run to its end"
