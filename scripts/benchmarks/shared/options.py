"""Command-line options that every benchmark has."""

import argparse
import os
from pathlib import Path


def parser(description: str | None, name: str, n: int, processes: int = 2) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark.

    Args:
        description: text of `--help`, usually `__doc__`.
        name: stem of the record, results/NAME.json.
        n: default sample size, which gives the published figures.
        processes: default number of processes.
    """
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("MATGEN_DATA")
    found.add_argument(
        "--data",
        type=Path,
        default=folder and Path(folder),
        help="folder of the training tables (default: MATGEN_DATA)",
    )
    found.add_argument(
        "--table", type=Path, default=Path("cache/crystals.npz"), help="table written by `matgen data prepare`"
    )
    found.add_argument("--out", type=Path, default=Path("results") / f"{name}.json", help="record to write")
    found.add_argument("--document", type=Path, help="page or folder whose marked places are filled: docs/results")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--n", type=int, default=n, help=f"sample size; the published figures use {n}")
    found.add_argument("--processes", type=int, default=processes, help="number of processes, each with one thread")
    return found
