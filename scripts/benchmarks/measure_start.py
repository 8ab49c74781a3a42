"""CPU time until `matgen --help` answers, and the imports that take most of it.

`python scripts/benchmarks/measure_start.py --runs 10 --limit 0.5` runs `python -m matgen --help` so many times and
prints user and system time of the fastest and of the median run, then the slowest imports by `python -X importtime`. It
ends with 1 if the median is above the limit. `--words 'design --help'` measures another call.
"""

import argparse
import os
import shlex
import subprocess
import sys
from statistics import median

SHOWN = 8
"""Imports that are shown."""


def cpu_seconds(command: list[str]) -> float:
    """Run a command and return the CPU time that it takes, user and system."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (ours)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def slowest(command: list[str]) -> list[tuple[str, float]]:
    """Return the modules whose own import takes longest, and milliseconds of each."""
    answer = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603
    lines = [line.removeprefix("import time:").split("|") for line in answer.stderr.splitlines() if "|" in line]
    found = [(name.strip(), int(own) / 1000) for own, _, name in lines if own.strip().isdigit()]
    return sorted(found, key=lambda one: -one[1])[:SHOWN]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--words", default="--help", help="arguments of matgen")
    parser.add_argument("--limit", type=float, default=0.5, help="CPU seconds")
    options = parser.parse_args()
    words = ["-m", "matgen", *shlex.split(options.words)]
    times = [cpu_seconds([sys.executable, *words]) for _ in range(options.runs)]
    print(f"matgen {options.words}: fastest {min(times):.2f} s, median {median(times):.2f} s of CPU, {len(times)} runs")
    for name, milliseconds in slowest([sys.executable, "-X", "importtime", *words]):
        print(f"  {milliseconds:6.1f} ms  {name}")
    if median(times) > options.limit:
        raise SystemExit(f"expected at most {options.limit:g} s")


if __name__ == "__main__":
    main()
