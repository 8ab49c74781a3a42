"""Throughput of a screening, and whether it loses rows when it, or one of its workers, is killed.

`python scripts/benchmarks/measure_screen.py`: crystals of the prepared table as CIF files, or molecules of QM9 as SDF,
one in a hundred broken.

    python scripts/benchmarks/measure_screen.py throughput --n 500      # structures per second, with and without a hull
    python scripts/benchmarks/measure_screen.py throughput --n 500 --table cache/molecules.npz --kind molecule
    python scripts/benchmarks/measure_screen.py durability --n 10000    # kill it, call it again, count rows
    python scripts/benchmarks/measure_screen.py kill --n 300            # two Parsl workers, one of them killed
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pymatgen.core import Structure

from matgen.datasets.molecules import MoleculeTable
from matgen.structures.cif import cif_text
from matgen.structures.sdf import sdf_text
from matgen.templates.molecule import MoleculeTemplate
from shared.crystals import crystals, true_structures
from shared.page import fill_page, table

PER_FOLDER = 1000
SUFFIX = {"crystal": "cif", "molecule": "sdf"}
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "crystal": {"without a hull": ("--reference", "none"), "with the hull": ()},
    "molecule": {
        "without GFN2-xTB": ("--reference", "none"),
        "with its energy and gap": (),
        "relaxed by it": ("--relax", "xtb"),
    },
}
"""Sets of options that are measured, by kind."""

WARM_UP = 64
"""Structures of a first run, whose time is subtracted to exclude loading."""


def broken(structure: Structure, how: int) -> str:
    """Return the text of a file that cannot be read."""
    text = cif_text(structure)
    halves = structure.copy()
    halves[0] = {structure[0].specie: 0.5}
    flat = text.replace(f"_cell_length_c   {structure.lattice.c:.8f}", "_cell_length_c   0.00000000")
    ways = ("", text[: len(text) // 3], "no crystal at all\n", halves.to(fmt="cif"), flat)
    return ways[how % len(ways)]


def make_folder(place: Path, options: argparse.Namespace, n: int, seed: int) -> set[str]:
    """Write n files, one in a hundred broken; return the names of the broken ones."""
    bad = set(random.Random(seed).sample(range(n), max(1, n // 100)))
    texts = {"crystal": crystal_texts, "molecule": molecule_texts}[options.kind](options.table, n, seed, bad)
    names = set()
    for index, text in enumerate(texts):
        file = place / f"part{index // PER_FOLDER}" / f"{index:05d}.{SUFFIX[options.kind]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        if index in bad:
            names.add(f"{place.name}/{file.relative_to(place).as_posix()}")
    return names


def crystal_texts(table_file: Path, n: int, seed: int, bad: set[int]) -> Iterator[str]:
    """Yield crystals of any split as CIF."""
    whole = crystals(table_file)
    rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:n].tolist()
    for start in range(0, n, PER_FOLDER):
        for index, structure in enumerate(true_structures(whole, rows[start : start + PER_FOLDER]), start):
            yield broken(structure, index) if index in bad else cif_text(structure)


def molecule_texts(table_file: Path, n: int, seed: int, bad: set[int]) -> Iterator[str]:
    """Yield molecules of any split as SDF; broken ones are truncated."""
    whole = MoleculeTable.load(table_file)
    some = whole.select(torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:n])
    positions = some.geometry.coords.split(some.templates.n_atoms.tolist())
    for index, (smiles, x) in enumerate(zip(some.templates.smiles, positions, strict=True)):
        text = sdf_text(MoleculeTemplate(smiles), x.double().numpy(), str(index), {})
        yield text[: len(text) // 3] if index in bad else text


def started(folder: Path, out: Path, *options: str) -> subprocess.Popen:
    """Start `matgen screen` in a session of its own."""
    command = [sys.executable, "-m", "matgen.cli", "screen", str(folder), "--out", str(out), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603 (our own command)
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen) -> str:
    """Wait, and return the last line of its messages."""
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)
    return errors.strip().splitlines()[-1]


def rows_on_disk(out: Path) -> list[dict[str, Any]]:
    """Return the complete rows on disk."""
    path = out / "rows.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def wait_for(out: Path, least: int, process: subprocess.Popen) -> None:
    """Wait until this many rows are on disk."""
    path = out / "rows.jsonl"
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < least):
        time.sleep(1.0)


def cost(work: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and processor seconds of a call, with its child processes."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - clock, cpu


def throughput(options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Return structures per second after the first `WARM_UP`, for each set of options."""
    make_folder(place / "small", options, WARM_UP, options.seed + 1)
    make_folder(place / "large", options, WARM_UP + options.n, options.seed)
    found = {}
    for name, more in OPTIONS[options.kind].items():
        arguments = ("--jobs", str(options.jobs), "--known", options.known, "--bandgap", "1.5", *more)

        def call(size: str, name: str = name, arguments: Sequence[str] = arguments) -> None:
            ended(started(place / size, place / f"out-{size}-{name.split(maxsplit=1)[0]}", *arguments))

        (wall0, cpu0), (wall, cpu) = (cost(lambda size=size: call(size)) for size in ("small", "large"))
        found[name] = {
            "structures": options.n,
            "per_second": round(options.n / (wall - wall0), 1),
            "ms_of_a_core": round(1000 * (cpu - cpu0) / options.n, 1),
            "loading_s": round(wall0, 1),
        }
    return found


def durability(options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Kill the whole screening twice, call it again, and compare the rows with the files."""
    bad = make_folder(place / "files", options, options.n, options.seed)
    arguments = ("--jobs", str(options.jobs), "--reference", options.reference, "--known", options.known)
    out, killed_at = place / "out", []
    for share in (0.2, 0.6):
        process = started(place / "files", out, *arguments)
        wait_for(out, int(share * options.n), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed_at.append(len(rows_on_disk(out)))
    return compared(out, ended(started(place / "files", out, *arguments)), options.n, bad) | {"killed_at": killed_at}


def compared(out: Path, said: str, n: int, bad: set[str]) -> dict[str, Any]:
    """Compare rows with files: lost, doubled, broken but accepted, sound but refused."""
    rows = rows_on_disk(out)
    names = [row["name"] for row in rows]
    with_error = {row["name"] for row in rows if row["error"]}
    results = (out / "results.jsonl").read_text(encoding="utf-8").count("\n")
    return {
        "files": n,
        "rows": len(names),
        "lost": n - len(set(names)),
        "doubled": len(names) - len(set(names)),
        "broken_files": len(bad),
        "broken_missed": len(bad - with_error),
        "sound_refused": len(with_error - bad),
        "ranked": results,
        "said": said,
    }


def kill(options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Kill one of two Parsl workers."""
    bad = make_folder(place / "files", options, options.n, options.seed)
    arguments = ("--jobs", "2", "--executor", "local", "--reference", options.reference, "--known", options.known)
    process = started(place / "files", place / "out", *arguments)
    wait_for(place / "out", 1, process)
    workers = [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if "spawn_main" in _command(entry) and os.getsid(int(entry.name)) == process.pid
    ]
    before = len(rows_on_disk(place / "out"))
    os.kill(max(workers), signal.SIGKILL)  # the last process that a manager starts is its worker
    return compared(place / "out", ended(process), options.n, bad) | {"rows_when_killed": before}


def _command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


def markdown(name: str, figures: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    if name == "throughput":
        rows = [(kind, f["structures"], f["per_second"], f["ms_of_a_core"]) for kind, f in figures.items()]
        return table(("options", "structures", "structures per second", "ms of one core each"), rows)
    return table(("", ""), [(key.replace("_", " "), value) for key, value in figures.items() if key != "said"])


def main() -> None:
    """Measure, print, record."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=("throughput", "durability", "kill"))
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"), help="by `matgen data prepare`")
    options.add_argument("--kind", choices=tuple(SUFFIX), default="crystal", help="of the table")
    options.add_argument("--n", type=int, default=500)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--reference", default="shipped", help="reference of durability and kill")
    options.add_argument("--known", default="shipped")
    options.add_argument("--out", type=Path, help="record to write; results/screen-WHAT.json")
    options.add_argument("--document", type=Path, help="page whose marked place is filled: docs/screen.md")
    found = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = {"throughput": throughput, "durability": durability, "kill": kill}[found.what]
        figures = work(found, Path(place).resolve())
    record = {"figures": figures, "options": {k: str(v) for k, v in vars(found).items()}, "cores": os.cpu_count()}
    out = found.out or Path("results") / f"screen-{found.what}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))
    if page := found.document:
        fill_page(page, {found.what: markdown(found.what, figures)})


if __name__ == "__main__":
    main()
