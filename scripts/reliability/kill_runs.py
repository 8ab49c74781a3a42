"""Kill runs of the command line at random moments, resume them, and compare the result with an undisturbed one.

    python scripts/reliability/kill_runs.py --kills 200 --only design screen evaluate verify learn train
    python scripts/reliability/kill_runs.py --kills 20 --only design-two screen-two design-molecules

Each chain begins in a fresh folder: the command is started and killed by SIGKILL, with all processes of its group, at a
moment drawn uniformly from the duration of an undisturbed run; the same command is started again and killed again, up
to `--chain` times; then it runs to its end. Every file of the folder must then be that of an undisturbed run, but for
what `interrupted/content.py` leaves out, and the exit code 0. Two undisturbed runs are compared first.

To spend no time on imports, the command line runs in forks of this process, which has run every command once and so
holds its models. What is between a cold start and the first line of a command, imports, is therefore not killed here;
nothing is written then. The moments are functions of `--seed`, name of the case and number of the chain. A chain
appends a line to `--out` at once; a call with the same options goes on where an earlier one ended.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

from interrupted.cases import Case, cases
from interrupted.content import content, differences
from interrupted.processes import Ended, Run

LONGEST = 600.0
"""Seconds that a run may take."""

FAILED_LINES = 30


def undisturbed(case: Case, place: Path) -> tuple[dict[str, str], float]:
    """Run twice in forks, after once to load what is needed; return what both wrote, and the shorter duration."""
    clear(place)
    warm(case, place / "out")
    found, took = [], []
    for _ in range(2):
        clear(place)
        ended = Run(case.command(place / "out"), place / "log").end(LONGEST)
        if ended.code != 0:
            raise SystemExit(f"{case.name}: expected an undisturbed run to end well, got {ended.code}:\n{ended.said}")
        found.append(content(place / "out", ordered=case.ordered))
        took.append(ended.seconds)
    if unequal := differences(*found):
        raise SystemExit(f"{case.name}: expected two undisturbed runs to agree, they differ in {', '.join(unequal)}")
    return found[0], min(took)


def warm(case: Case, out: Path) -> None:
    """Run a command in this process, so that forks find models and tables loaded."""
    from matgen import cli

    words, sys.argv = sys.argv, ["matgen", *case.command(out)]
    streams = [os.dup(1), os.dup(2)]
    try:
        with (out.parent / "log").open("wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            try:
                cli.main()
            except SystemExit:
                sys.stdout.flush()
    finally:
        for own, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, own)
            os.close(stream)
        sys.argv = words


def chain(case: Case, fractions: list[float], took: float, place: Path) -> tuple[list[float], Ended]:
    """Kill a run at fractions of its duration, each time resumed; return those at which it ran, and its end."""
    clear(place)
    killed: list[float] = []
    for fraction in fractions:
        ended = Run(case.command(place / "out"), place / "log").end(fraction * took)
        if ended.code is not None:
            return killed, ended
        killed.append(round(fraction, 4))
    return killed, Run(case.command(place / "out"), place / "log").end(LONGEST)


def clear(place: Path) -> None:
    """Make a folder that holds nothing."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)


def attack(case: Case, options: argparse.Namespace, place: Path) -> None:
    """Kill a case so often as asked, and record every chain."""
    known = [one for one in recorded(options.out) if one["case"] == case.name and one["seed"] == options.seed]
    kills, number = sum(len(one["kills"]) for one in known), 1 + max((one["chain"] for one in known), default=-1)
    if kills >= options.kills:
        return
    expected, took = undisturbed(case, place)
    durations = [took]
    print(f"{case.name}: an undisturbed run takes {took:.2f} s", file=sys.stderr, flush=True)
    while kills < options.kills:
        draw = random.Random(f"{options.seed} {case.name} {number}")
        fractions = [draw.random() for _ in range(draw.randint(1, options.chain))]
        killed, ended = chain(case, fractions, statistics.median(durations[-9:]), place)
        unequal = (
            differences(expected, content(place / "out", ordered=case.ordered)) if (place / "out").exists() else []
        )
        found = {"case": case.name, "seed": options.seed, "chain": number, "kills": killed, "code": ended.code}
        found |= {"took": round(took, 3), "unequal": unequal, "traceback": ended.has_traceback}
        if ended.code != 0 or unequal or ended.has_traceback:
            found["said"] = ended.said.splitlines()[-FAILED_LINES:]
            print(f"{case.name} chain {number}: code {ended.code}, {unequal}, {killed}", file=sys.stderr, flush=True)
        with options.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(found) + "\n")
        if not killed:
            durations.append(ended.seconds)  # undisturbed, as it turned out
        kills, number = kills + len(killed), number + 1


def recorded(path: Path) -> list[dict]:
    """Return the chains of earlier calls."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def summary(chains: list[dict]) -> str:
    """Return a table of kills, chains and failures of each case."""
    lines = ["| case | kills | chains | unequal | tracebacks | other ends |", "|---|---|---|---|---|---|"]
    for name in dict.fromkeys(one["case"] for one in chains):
        some = [one for one in chains if one["case"] == name]
        counts = (
            sum(len(one["kills"]) for one in some),
            len(some),
            *(sum(bool(one[key]) for one in some) for key in ("unequal", "traceback", "code")),
        )
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def main() -> None:
    """Kill, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="cases; all if left out")
    parser.add_argument("--kills", type=int, default=200, help="of each case, those of earlier calls included")
    parser.add_argument("--chain", type=int, default=6, help="most kills of one folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=Path, help="folder that keeps the inputs; a temporary one if left out")
    parser.add_argument("--out", type=Path, default=Path("results") / "kill_runs.jsonl", help="a line for each chain")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        every = cases(options.inputs or Path(scratch) / "inputs")
        for name in options.only or every:
            attack(every[name], options, Path(scratch) / "run")
    print(summary(recorded(options.out)))
    if any(one["unequal"] or one["traceback"] or one["code"] for one in recorded(options.out)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
