"""Command-line options that every benchmark has."""

import argparse
import os
from pathlib import Path


def parser(description: str | None, name: str, n: int, processes: int = 2) -> argparse.ArgumentParser:
    """The options that every measurement has; the record goes to results/NAME.json by default."""
    found = argparse.ArgumentParser(description=description)
    folder = os.environ.get("MATGEN_DATA")
    found.add_argument("--data", type=Path, default=folder and Path(folder), help="training tables; or MATGEN_DATA")
    found.add_argument("--table", type=Path, default=Path("cache/crystals.npz"), help="by `matgen data prepare`")
    found.add_argument("--out", type=Path, default=Path("results") / f"{name}.json", help="record to write")
    found.add_argument("--document", type=Path, help="page whose marked places are to be filled: docs/results.md")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--n", type=int, default=n, help=f"how many; {n} for the published figure")
    found.add_argument("--processes", type=int, default=processes, help="of one thread each")
    return found
