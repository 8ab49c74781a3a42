"""Disturb runs of the command line by signals, a full or read-only disk, and little memory; resume them, and compare.

    python scripts/reliability/limit_runs.py --runs 10 --modes term hup int --only design screen evaluate
    python scripts/reliability/limit_runs.py --runs 10 --modes full read-only memory --only screen verify train
    python scripts/reliability/limit_runs.py --runs 3 --modes worker-killed worker-stopped --only design-two screen-two

Each run begins in a fresh folder and is disturbed once, at a moment or with a limit drawn from `--seed`:

* `term`, `hup`, `int`: SIGTERM, SIGHUP, SIGINT to its main process or to all, at a moment of its duration;
* `full`: it writes to a file system of its own that is a part of what it needs in size;
* `read-only`: that file system becomes read-only at a moment;
* `memory`: it may take up to 24 MiB of address space more than it has when it starts;
* `worker-killed`, `worker-stopped`: SIGKILL or SIGSTOP to one of its own processes, at a moment.

It must then end within `LONGEST` seconds by itself, without a traceback, and with an exit code other than 1 and a last
line `matgen: …` that says why, unless it ended well; the same command without the disturbance must give what an
undisturbed run gives, as `kill_runs.py` compares it. File systems of its own need the right to mount; without it, these
modes are left out with a word.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

from interrupted.cases import Case, cases
from interrupted.content import content, differences
from interrupted.processes import Ended, Run
from kill_runs import clear, recorded, undisturbed

LONGEST = 120.0
"""Seconds after which a run counts as hung."""

MIB = 2**20

Mode = Callable[[Case, random.Random, float, Path], Ended]
"""Runs a case into a folder `out` of a place, disturbed; given its undisturbed duration, s."""


def by_signal(number: int) -> Mode:
    """Return the mode that sends a signal to the main process, or to all as terminals and queues do."""

    def disturbed(case: Case, draw: random.Random, took: float, place: Path) -> Ended:
        run = Run(case.command(place / "out"), place / "log")
        if run.runs_after(draw.random() * took):
            if draw.random() < 0.5:
                os.kill(run.pid, number)
            else:
                run.signal(number)
        return run.end(LONGEST)

    return disturbed


def full(case: Case, draw: random.Random, took: float, place: Path) -> Ended:  # noqa: ARG001 (a mode)
    """Run on a file system that is too small; what it left is on a larger one afterwards."""
    pages = draw.randint(1, 20)
    _mount(place / "out", f"size={4 * pages}k")
    ended = Run(case.command(place / "out"), place / "log").end(LONGEST)
    _mount(place / "out", "remount,size=1g")
    return ended


def read_only(case: Case, draw: random.Random, took: float, place: Path) -> Ended:
    """Run on a file system that becomes read-only, and can be written again afterwards."""
    _mount(place / "out", "size=1g")
    run = Run(case.command(place / "out"), place / "log")
    if run.runs_after(draw.random() * took):
        while run.runs_after(0.0) and not _mount(place / "out", "remount,ro", check=False):
            time.sleep(0.001)  # a file is open for writing
    ended = run.end(LONGEST)
    _mount(place / "out", "remount,rw")
    return ended


def memory(case: Case, draw: random.Random, took: float, place: Path) -> Ended:  # noqa: ARG001 (a mode)
    """Run with a limit of address space."""
    more = draw.randint(0, 24) * MIB

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))

    return Run(case.command(place / "out"), place / "log", limit).end(LONGEST)


def to_worker(number: int) -> Mode:
    """Return the mode that sends a signal to one of the processes that a run has started."""

    def disturbed(case: Case, draw: random.Random, took: float, place: Path) -> Ended:
        run = Run(case.command(place / "out"), place / "log")
        if run.runs_after(draw.random() * took) and (workers := _workers(run.pid)):
            os.kill(draw.choice(workers), number)
        return run.end(LONGEST)

    return disturbed


def _workers(pid: int) -> list[int]:
    """Return the processes that work for another one, and those that work for them."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    own = [int(word) for word in found if b"tracker" not in Path(f"/proc/{word}/cmdline").read_bytes()]
    return [*own, *(below for one in own for below in _workers(one))]


def _mount(folder: Path, options: str, *, check: bool = True) -> bool:
    """Mount a file system in memory on a folder, or change it; return whether that is allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603
    if check and done.returncode:
        raise SystemExit(f"expected the right to mount a file system, got {done.stderr.strip()}; leave these modes out")
    return not done.returncode


def _unmount(folder: Path) -> None:
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


MODES: dict[str, Mode] = {
    "term": by_signal(signal.SIGTERM),
    "hup": by_signal(signal.SIGHUP),
    "int": by_signal(signal.SIGINT),
    "full": full,
    "read-only": read_only,
    "memory": memory,
    "worker-killed": to_worker(signal.SIGKILL),
    "worker-stopped": to_worker(signal.SIGSTOP),
}


def attack(case: Case, modes: list[str], options: argparse.Namespace, place: Path) -> None:
    """Disturb a case so often as asked in each mode, and record every run."""
    known = {(one["mode"], one["case"], one["seed"], one["run"]) for one in recorded(options.out)}
    due = [(mode, run) for mode in modes for run in range(options.runs)]
    due = [(mode, run) for mode, run in due if (mode, case.name, options.seed, run) not in known]
    if not due:
        return
    expected, took = undisturbed(case, place)
    for mode, number in due:
        clear(place)
        draw = random.Random(f"{options.seed} {mode} {case.name} {number}")
        try:
            first = MODES[mode](case, draw, took, place)
            again = Run(case.command(place / "out"), place / "log").end(LONGEST)
            unequal = differences(expected, content(place / "out", ordered=case.ordered))
        finally:
            _unmount(place / "out")
        lines = first.said.strip().splitlines()
        found = {"mode": mode, "case": case.name, "seed": options.seed, "run": number, "code": first.code}
        found |= {"seconds": round(first.seconds, 2), "last": lines[-1] if lines else "", "again": again.code}
        found |= {"traceback": first.has_traceback or again.has_traceback, "unequal": unequal}
        found["fault"] = fault(first, found)
        if found["fault"]:
            found |= {"said": lines[-30:], "then": again.said.strip().splitlines()[-10:]}
            print(f"{mode} {case.name} {number}: {found['fault']}", file=sys.stderr, flush=True)
        with options.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(found) + "\n")


def fault(first: Ended, found: dict) -> str:
    """Return what is wrong with a run, empty if nothing is."""
    if first.code is None:
        return "hung"
    if found["traceback"]:
        return "traceback"
    if first.code < 0:
        return f"died by signal {-first.code}"
    if first.code and not found["last"].startswith("matgen: "):
        return f"exit code {first.code} without a reason"
    if found["again"] != 0:
        return f"exit code {found['again']} when resumed"
    return f"unequal: {', '.join(found['unequal'])}" if found["unequal"] else ""


def summary(found: list[dict]) -> str:
    """Return a table of runs and faults by mode and case."""
    lines = ["| mode | case | runs | ended well | ended with a line | faults |", "|---|---|---|---|---|---|"]
    for mode, case in dict.fromkeys((one["mode"], one["case"]) for one in found):
        some = [one for one in found if (one["mode"], one["case"]) == (mode, case)]
        well = sum(one["code"] == 0 and not one["fault"] for one in some)
        faults = sum(bool(one["fault"]) for one in some)
        lines.append(f"| {mode} | {case} | {len(some)} | {well} | {len(some) - well - faults} | {faults} |")
    return "\n".join(lines)


def main() -> None:
    """Disturb, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--only", nargs="+", help="cases; all if left out")
    parser.add_argument("--runs", type=int, default=10, help="of each case in each mode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=Path, help="folder that keeps the inputs; a temporary one if left out")
    parser.add_argument("--out", type=Path, default=Path("results") / "limit_runs.jsonl", help="a line for each run")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        every = cases(options.inputs or Path(scratch) / "inputs")
        for name in options.only or every:
            attack(every[name], options.modes, options, Path(scratch) / "run")
    print(summary(recorded(options.out)))
    if any(one["fault"] for one in recorded(options.out)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
