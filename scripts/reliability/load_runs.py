"""Measure large designs, and more processes than cores: processor time and wall time, memory, size on disk.

    python scripts/reliability/load_runs.py --n 1000 --processes 2 --budget 10
    python scripts/reliability/load_runs.py --n 20 --processes 8 --budget 10

`matgen design --relax none --fast` runs as a program of its own. Memory is the sum over its processes of what each
holds, shared pages divided among those that share them (PSS), looked at every second; processor time is that of all
processes. Each call appends a line to `--out`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

LOOK_EVERY = 1.0
"""Seconds."""


def processes(pid: int) -> list[int]:
    """Return a process and those that it started, and so on."""
    with suppress(FileNotFoundError, ProcessLookupError):
        children = [
            int(word)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text(encoding="ascii").split()
        ]
        return [pid, *(below for child in children for below in processes(child))]
    return []


def memory(pids: list[int]) -> float:
    """Return what processes hold together, MiB."""
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def lines(path: Path) -> int:
    """Return the number of lines of a file, 0 if there is none."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def measured(options: argparse.Namespace, folder: Path) -> dict[str, float | int | str]:
    """Run a design into a folder."""
    words = ["design", "-n", str(options.n), "--relax", "none", "--fast", "--processes", str(options.processes)]
    words += ["--budget", str(options.budget), "--seed", str(options.seed), "--out", str(folder)]
    began, most, at_most = time.perf_counter(), 0.0, 0
    with (folder.parent / "said").open("wb") as said:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "matgen", *words],
            stdout=said,
            stderr=said,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        while (waited := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            pids = processes(process.pid)
            most, at_most = max(most, memory(pids)), max(at_most, len(pids))
            time.sleep(LOOK_EVERY)
    wall, used = time.perf_counter() - began, waited[2]
    files = [path for path in folder.rglob("*") if path.is_file()]
    last = (folder.parent / "said").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
    return {
        "n": options.n,
        "processes": options.processes,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[1], 1),
        "code": os.waitstatus_to_exitcode(waited[1]),
        "found": lines(folder / "candidates.jsonl"),
        "rejected": lines(folder / "rejected.jsonl"),
        "units": len(list((folder / "units").glob("*.jsonl"))),
        "wall_s": round(wall, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(most),
        "most_processes": at_most,
        "disk_mib": round(sum(path.stat().st_size for path in files) / 2**20, 2),
        "units_mib": round(sum(p.stat().st_size for p in (folder / "units").glob("*.jsonl")) / 2**20, 2),
        "files": len(files),
        "last": last,
    }


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="candidates")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--budget", type=float, default=10.0, help="minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results") / "load_runs.jsonl", help="a line for each call")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        found = measured(options, Path(scratch) / "out")
    print(json.dumps(found, indent=1))
    with options.out.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
