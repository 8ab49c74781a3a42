"""Throughput on a GPU, or on the CPU, one step at a time.

`python scripts/benchmarks/measure_gpu.py STEP --device cuda`: neighbours, shape, relax, train, train_tf32 or design;
`table` prints the Markdown table of what the steps appended to rows.jsonl in the output folder. `scripts/gpu_check.sh`
runs all steps, each in a process of its own. Structures are the textbook crystals with random changes of their free
parameters, so that no training table is needed. A first, shorter run of each step is not part of its time. With
`--after FILE` a step waits for this file once all is imported.
"""

import argparse
import json
import math
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
import torch
from pymatgen.core import Structure

import shared.stand_ins  # noqa: F401 (before matgen: it may import what is absent)
from matgen.batch.neighbors import by_images, by_vesin
from matgen.batch.state import State
from matgen.datasets.crystals import CrystalTable
from matgen.generation.generate import generate
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.request import Request
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.pool import batching, surface_on
from matgen.structures.conversion import described, structures
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand, unit_directions
from matgen.training.config import train_config
from matgen.training.run import train
from matgen.weights.models import load_models
from matgen.workflows.design import design

TEXTBOOK = Path(__file__).resolve().parents[2] / "data" / "textbook"
STRAIN, MOVE = 0.03, 0.1
"""Standard deviations of the changes of lattice parameters, and of each free coordinate in Å."""

MOST_ATOMS = 20


def perturbed(n: int, seed: int = 0) -> tuple[TemplateBatch, Geometry]:
    """Return n textbook crystals with randomly changed free parameters, in float64."""
    known = []
    for path in sorted(TEXTBOOK.glob("*.cif")):
        template, geometry = described(Structure.from_file(path))
        if (batch := TemplateBatch.of([template])).n_atoms[0] <= MOST_ATOMS:
            known.append((batch, Geometry(geometry.lattice.double(), geometry.coords.double())))
    batch, geometry = concatenated([known[i % len(known)] for i in range(n)])
    generator = torch.Generator().manual_seed(seed)
    _, length = unit_directions(batch, geometry)
    strain = STRAIN * batch.free_lattice * torch.randn(geometry.lattice.shape, generator=generator)
    move = MOVE * batch.free_coords * torch.randn(geometry.coords.shape, generator=generator) / length
    return batch, Geometry(geometry.lattice + strain, geometry.coords + move)


class Clock:
    """Seconds of the wall, once the device has finished."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, math.nan

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure a block."""
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self.seconds = time.perf_counter() - began

    def _wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)


class Stages:
    """Hears the progress of a run and adds up the wall time of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._began = "", time.perf_counter()

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Count the time since the last report for this stage."""
        del done, total, counts
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._began
        self._began = now

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())


# ---------------------------------------------------------------- steps

Row = dict[str, Any]
"""What was measured: figure with unit, and how."""

Size = Literal["full", "short", "quick"]
"""For a published figure, for one in less time, or to try the script."""


def neighbours(device: str, size: Size) -> Row:
    """Neighbour lists per second, on the device and by vesin."""
    n = {"full": 1024, "short": 512, "quick": 64}[size]
    state = expand(*perturbed(n))
    there: State = expand(*(part.to(device) for part in perturbed(n)))
    by_images(there, 6.0)
    clock, plain = Clock(device), Clock("cpu")
    with clock.running():
        edges = by_images(there, 6.0)
    with plain.running():
        expected = by_vesin(state, 6.0)
    if len(edges.centre) != len(expected.centre):
        raise ValueError(f"expected {len(expected.centre)} edges, as vesin finds, got {len(edges.centre)}")
    how = f"cutoff 6 Å, {n} crystals at once, {len(edges.centre)} edges; vesin on one core {n / plain.seconds:.0f}/s"
    return {"figure": f"{n / clock.seconds:.0f} lists/s", "how": how}


def shape(device: str, size: Size) -> Row:
    """Crystals per second from the prior to ranked proposals."""
    n = {"full": 50, "short": 16, "quick": 2}[size]
    request = Request.of(targets={"band_gap": 1.5}, n=n)
    kind = Crystals(request, load_models(device))
    small = Request.of(targets={"band_gap": 1.5}, n=1, over_generation=1)
    generate(small, Crystals(small, kind.models), torch.Generator().manual_seed(1), Stages())
    clock, stages = Clock(device), Stages()
    with clock.running():
        found = generate(request, kind, torch.Generator().manual_seed(0), stages)
    return {
        "figure": f"{len(found) / clock.seconds:.2f} crystals/s",
        "how": f"{len(found)} proposals with a target, all stages, in {clock.seconds:.1f} s: {stages}",
    }


def relax(device: str, size: Size) -> Row:
    """Crystals per second relaxed by CHGNet in batches, and the largest difference in energy from the CPU."""
    n, compared = {"full": (2048, 16), "short": (512, 4), "quick": (24, 4)}[size]
    initial = structures(expand(*perturbed(n)))
    tasks = [(i, structure, math.inf) for i, structure in enumerate(initial)]
    slots = batching(device).slots
    list(relax_batch(tasks[: max(4, n // 16)], surface_on(device), slots=slots))
    clock, finding = Clock(device), Clock("cpu")
    with finding.running():
        for structure in initial[: min(n, 200)]:
            described(structure, 0.01)
    with clock.running():
        found = {index: report for index, _, report in relax_batch(tasks, surface_on(device), slots=slots)}
    steps = sum(report.steps for report in found.values())
    converged = sum(report.converged for report in found.values())
    plain = {i: report for i, _, report in relax_batch(tasks[:compared], surface_on("cpu"))}
    off = max(abs(report.energy - found[i].energy) for i, report in plain.items())
    symmetry = n * finding.seconds / min(n, 200)
    return {
        "figure": f"{len(found) / clock.seconds:.1f} crystals/s",
        "how": f"{converged} of {n} converged, {steps / len(found):.1f} steps each, {slots} at once, in "
        f"{clock.seconds:.1f} s, of which symmetry on one core {symmetry:.1f} s; energies of {compared} differ from "
        f"the CPU's by at most {1000 * off:.3f} meV/atom",
    }


def trained(device: str, size: Size) -> Row:
    """Crystals per second in the training of the graph energy."""
    sizes = {"full": (8192, 768, 40), "short": (3072, 768, 24), "quick": (256, 16, 3)}
    rows, batch_size, steps = sizes[size]
    batch, geometry = perturbed(rows)
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(rows, 4, generator=generator) * torch.tensor([3.0, -2.0, 0.1, -4.0])
    labels = dict(zip(("band_gap", "e_form", "energy_above_hull", "chgnet_energy"), values.T, strict=True))
    split, ones = (torch.arange(rows) % 16 == 0).long(), torch.ones(rows)
    name = np.array([f"p{i}" for i in range(rows)])
    source = np.full(rows, "made up")
    geometry = Geometry(geometry.lattice.float(), geometry.coords.float())
    table = CrystalTable(name, batch, geometry, split, split, labels, source, ones.bool(), ones, ones.bool())
    times: list[float] = []
    with TemporaryDirectory() as folder:
        table.save(Path(folder) / "crystals.npz")
        schedule = {"steps": steps, "batch_size": batch_size, "warmup": 1, "log_every": 1, "validate_every": 10**6}
        raw = {"kind": "graph_energy", "data": f"{folder}/crystals.npz", "folder": f"{folder}/run", "device": device}

        def heard(line: dict[str, Any]) -> None:
            if "loss" in line:
                times.append(time.perf_counter())

        train(train_config(raw | {"schedule": schedule}), report=heard)
    first = len(times) // 3  # the first steps warm up
    each = (times[-1] - times[first]) / (len(times) - 1 - first)
    return {
        "figure": f"{batch_size / each:.0f} crystals/s",
        "how": f"alone, {each:.3f} s per step of {batch_size}, mean of {len(times) - 1 - first} steps",
    }


def trained_in_tf32(device: str, size: Size) -> Row:
    """Return the same with matrix products in TF32."""
    torch.backends.cuda.matmul.allow_tf32 = True
    row = trained(device, size)
    return row | {"how": row["how"] + ("; a CPU has no TF32" if device == "cpu" else "")}


def designed(device: str, size: Size) -> Row:
    """Candidates of a whole design."""
    n, budget = {"full": (10, 1.5), "short": (10, 0.7), "quick": (1, 3.0)}[size]
    clock = Clock(device)
    small = {"sampler": {"pool": 2, "move_steps": 4, "levels": 4}, "formula": "NaCl", "allow_known": True}
    options: dict[str, Any] = small if size == "quick" else {"band_gap": 1.5}
    resources, stages = {"device": device, "processes": 1}, Stages()
    with TemporaryDirectory() as folder, clock.running():
        found = design(n=n, seed=9, budget=budget, out=f"{folder}/run", report=stages, resources=resources, **options)
    how = f"{len(found)} of {n} candidates found, at most {60 * budget:.0f} s of search: {stages}"
    return {"figure": f"{clock.seconds:.1f} s", "how": how}


STEPS: dict[str, tuple[str, Callable[..., Row]]] = {
    "neighbours": ("neighbour lists", neighbours),
    "shape": ("proposed and shaped", shape),
    "relax": ("relaxed by CHGNet", relax),
    "train": ("training of the graph energy", trained),
    "train_tf32": ("the same in TF32", trained_in_tf32),
    "design": ("a whole design", designed),
}


# ---------------------------------------------------------------- the table


def machine(device: str) -> str:
    """Name the device and the version of PyTorch."""
    name = torch.cuda.get_device_name(device) if device != "cpu" else f"CPU ({platform.machine()})"
    return f"{name}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads"


def markdown(rows: Path) -> str:
    """Return the table of all rows of a file."""
    lines = ["| step | figure | how |", "|---|---|---|"]
    for line in rows.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        lines.append(f"| {row['step']} | {row['figure']} | {row['how']} |".replace("\n", " "))
    return "\n".join(lines)


def main() -> int:
    """Measure a step and append its row, or print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("step", choices=[*STEPS, "table"])
    options.add_argument("--device", default="cuda")
    options.add_argument("--size", choices=get_args(Size), default="full", help="quick: to try the script")
    options.add_argument("--after", type=Path, help="wait for this file before measuring")
    options.add_argument("--out", type=Path, required=True, help="folder of rows.jsonl")
    given = options.parse_args()
    if given.step == "table":
        print(f"{machine(given.device)}\n\n{markdown(given.out / 'rows.jsonl')}")
        return 0
    warnings.simplefilter("ignore")
    title, step = STEPS[given.step]
    while given.after and not given.after.exists():
        time.sleep(0.1)
    row = {"step": title, **step(given.device, given.size)}
    with (given.out / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
