"""Memory and time of training from shards on the disk against a table in memory, and of preparing tables.

    python scripts/benchmarks/measure_training_data.py training --rows 600000
    python scripts/benchmarks/measure_training_data.py formats --rows 600000
    python scripts/benchmarks/measure_training_data.py prepare "$MATGEN_DATA/crystals/mp24_le20.parquet" --rows 3000

Large tables are made of perturbed copies of the rows of cache/crystals.npz, in a temporary folder. Times are CPU time
of one thread. Peak memory is that of a process of its own: all of it (maxrss), which counts mapped pages of the disk
that the system can drop, and without these (anonymous).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import moyopy
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from matgen.datasets import described_rows as reading
from matgen.datasets.crystals import CrystalTable, cell_from_parameters
from matgen.datasets.prepare import Labels
from matgen.datasets.prepare_shards import prepare_shards
from matgen.datasets.shards import ROWS_OF_A_SHARD, ShardedCrystals, shard_name, write_manifest, write_shard
from matgen.templates.batch import Geometry
from matgen.training.run import PLANS
from matgen.training.tables import read_crystals
from matgen.workflows.train import planned

KINDS = ("template_prior", "graph_energy")


def make(table: CrystalTable, rows: int, folder: Path) -> None:
    """Write shards of perturbed copies of the rows of a table."""
    generator = torch.Generator().manual_seed(0)
    sizes = {}
    for number, start in enumerate(range(0, rows, ROWS_OF_A_SHARD)):
        n = min(ROWS_OF_A_SHARD, rows - start)
        some = table.select(torch.randint(len(table), (n,), generator=generator))
        lattice, coords = some.geometry.lattice, some.geometry.coords
        noise = [0.01 * torch.randn(x.shape, generator=generator) for x in (lattice, coords)]
        geometry = Geometry(
            lattice + noise[0] * some.templates.free_lattice, (coords + noise[1] * some.templates.free_coords) % 1.0
        )
        names = np.array([f"s{start + i}" for i in range(n)])
        write_shard(replace(some, geometry=geometry, material_id=names), folder / shard_name(number), {})
        sizes[shard_name(number)] = n
    write_manifest(folder, sizes, {})


def anonymous() -> float:
    """Return the memory of this process without mapped files, MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measured(path: Path, kind: str, steps: int) -> dict[str, Any]:
    """Train for some steps in this process."""
    torch.set_num_threads(1)
    bare = anonymous()
    began = time.process_time()
    table = read_crystals(path)
    torch.manual_seed(0)
    config = planned(kind)
    plan = PLANS[kind](table, config)
    ready = time.process_time()
    batches = plan.objective.batches(config.schedule.batch_size, torch.Generator().manual_seed(0))
    peak, of_steps, of_batches = anonymous(), [], []
    for step, rows in enumerate(islice(batches, steps)):
        times = [time.process_time()]
        table.batch(rows)
        times.append(time.process_time())
        loss, _ = plan.objective.loss(plan.model, rows, torch.Generator().manual_seed(step))
        loss.backward()
        times.append(time.process_time())
        of_batches.append(times[1] - times[0])
        of_steps.append(times[2] - times[1])
        peak = max(peak, anonymous())
    return {
        "rows": len(table),
        "read by": type(table).__name__,
        "kind": kind,
        "start CPU-s": round(ready - began, 1),
        "step CPU-ms, median": round(1000 * float(np.median(of_steps)), 1),
        "batch CPU-ms, median": round(1000 * float(np.median(of_batches)), 2),
        "maxrss MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "anonymous MB": round(peak),
        "anonymous MB before": round(bare),
    }


def training(table: Path, folder: Path, steps: int) -> None:
    """Measure each kind and table in a process of its own."""
    for kind in KINDS:
        for path in (table, folder):
            command = [sys.executable, __file__, "one", str(path), "--kind", kind, "--steps", str(steps)]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)  # noqa: S603


def formats(folder: Path, n_batches: int = 50, size: int = 128) -> None:
    """Time random batches from three formats on the disk."""
    table = ShardedCrystals.load(folder)
    with tempfile.TemporaryDirectory() as other:
        arrays, files = [], []
        for number, columns in enumerate(table.shards):
            for name, value in columns.items():
                np.save(Path(other) / f"{number}.{name}.npy", value.numpy())
            stored = {n: np.load(Path(other) / f"{number}.{n}.npy", mmap_mode="c") for n in columns}
            arrays.append({name: torch.from_numpy(value) for name, value in stored.items()})
            files.append(_as_parquet(columns, Path(other) / f"{number}.parquet"))
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randint(len(table), (size,), generator=generator) for _ in range(n_batches)]
        ways: dict[str, Callable[[torch.Tensor], Any]] = {
            "safetensors, mapped": table.batch,
            "npy, mapped": ShardedCrystals(tuple(arrays)).batch,
            "Parquet, row groups of 4096": lambda some: _from_parquet(files, some),
        }
        for name, read in ways.items():
            some = rows[: 3 if "Parquet" in name else n_batches]
            began = time.process_time()
            for one in some:
                read(one)
            print(f"{name}: {1000 * (time.process_time() - began) / len(some):.2f} CPU-ms per batch of {size} rows")


def _as_parquet(columns: Any, path: Path) -> pq.ParquetFile:
    """Write the geometry of a shard with one list of numbers for each row."""
    sites = np.append(columns["first_site"].numpy(), len(columns["site_element"])).astype(np.int32)
    lists = {
        "lattice": pa.ListArray.from_arrays(
            np.arange(0, 6 * len(sites) - 5, 6, dtype=np.int32), columns["lattice"].numpy().ravel()
        ),
        "coords": pa.ListArray.from_arrays(3 * sites, columns["coords"].numpy().ravel()),
        "element": pa.ListArray.from_arrays(sites, columns["site_element"].numpy()),
        "position": pa.ListArray.from_arrays(sites, columns["site_position"].numpy()),
    }
    pq.write_table(pa.table({"group": columns["space_group"].numpy(), **lists}), path, row_group_size=4096)
    return pq.ParquetFile(path)


def _from_parquet(files: list[pq.ParquetFile], rows: torch.Tensor) -> list[pa.Table]:
    """Read the row groups of some rows, and take these."""
    found = []
    for number in (rows // ROWS_OF_A_SHARD).unique().tolist():
        within = rows[rows // ROWS_OF_A_SHARD == number] % ROWS_OF_A_SHARD
        for group in (within // 4096).unique().tolist():
            read = files[number].read_row_group(group)
            found.append(read.take((within[within // 4096 == group] % 4096).tolist()))
    return found


def preparation(path: Path, rows: int, jobs: list[int]) -> None:
    """Time the preparation of evenly spaced rows of a table: as a whole, and its parts."""
    with tempfile.TemporaryDirectory() as folder:
        some = Path(folder) / "some.parquet"
        table = pq.read_table(path)
        pq.write_table(table.take(np.linspace(0, len(table) - 1, rows).astype(int)), some)
        parts = {"read": 0.0, "symmetry search (moyopy)": 0.0, "describe, with it": 0.0}
        crystals = list(_timed(parts, "read", lambda: reading._crystals(some, (), 0, {})))  # noqa: SLF001
        for one in crystals[:100]:
            reading.described(one)
        for _ in _timed(parts, "symmetry search (moyopy)", lambda: map(_symmetry, crystals)):
            pass
        for _ in _timed(parts, "describe, with it", lambda: map(reading.described, crystals)):
            pass
        for name, seconds in parts.items():
            print(f"{name}: {1e6 * seconds / rows:.0f} CPU-µs per row")
        for n in jobs:
            before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            began = time.monotonic()
            found = prepare_shards(some, Labels.none(), Path(folder) / f"shards{n}", jobs=n)
            wall = time.monotonic() - began
            after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            own = after[0].ru_utime + after[0].ru_stime - before[0].ru_utime - before[0].ru_stime
            print(
                f"{n} jobs: {found.rows} of {rows} rows, {rows / wall:.0f} per second of wall time; "
                f"{1e6 * own / rows:.0f} CPU-µs per row in the first process"
            )


def _symmetry(crystal: reading.Crystal) -> Any:
    cell = cell_from_parameters(np.array(crystal.cell)).tolist()
    atoms = moyopy.Cell(basis=cell, positions=crystal.frac.reshape(-1, 3).tolist(), numbers=crystal.elements.tolist())
    return moyopy.MoyoDataset(atoms, symprec=0.1, setting=moyopy.Setting.standard())


def _timed(parts: dict[str, float], name: str, make_iterator: Callable[[], Iterator]) -> Iterator:
    began = time.process_time()
    yield from make_iterator()
    parts[name] += time.process_time() - began


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("training", "formats", "prepare", "one"))
    parser.add_argument("table", nargs="?", type=Path, default=Path("cache/crystals.npz"))
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    given = parser.parse_args()
    if given.what == "one":
        print(json.dumps(measured(given.table, given.kind, given.steps)))
    elif given.what == "prepare":
        preparation(given.table, given.rows, given.jobs)
    else:
        with tempfile.TemporaryDirectory() as folder:
            make(CrystalTable.load(given.table), given.rows, Path(folder))
            if given.what == "formats":
                formats(Path(folder))
            else:
                training(given.table, Path(folder), given.steps)


if __name__ == "__main__":
    main()
