"""Bad and odd inputs for every reader, option, request, folder, weights file and table, by seed.

    python scripts/reliability/fuzz_inputs.py --out fuzz.jsonl              # 10,500 inputs, seed 0
    python scripts/reliability/fuzz_inputs.py --out fuzz.jsonl --only options --n 100 --seed 1

Each input is damaged by its own random numbers, from the seed, its area and its number. Everything runs in this
process: no traceback, no hang, no lost row, and no structure that differs from those of gemmi, ASE, pymatgen and RDKit
without an explanation. A line of JSON for each input; a call goes on where the last one stopped. Inputs with a fault
are kept beside the lines.
"""

import argparse
import faulthandler
import json
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fuzz.damaged_files import folders, weights
from fuzz.odd_commands import options as odd_options
from fuzz.odd_commands import requests
from fuzz.odd_structures import crystals, molecules
from fuzz.odd_tables import tables

Record = dict[str, Any]
Area = Callable[[Sequence[random.Random], Path], Iterator[Record]]

AREAS: dict[str, tuple[Area, int, int]] = {
    "crystals": (crystals, 6000, 100),
    "molecules": (molecules, 1500, 100),
    "options": (odd_options, 1500, 50),
    "requests": (requests, 600, 50),
    "folders": (folders, 300, 100),
    "weights": (weights, 200, 10),
    "tables": (tables, 400, 25),
}
"""What makes and tries the inputs of an area, their number, and how many share a call or a folder."""


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON, appended")
    parser.add_argument("--only", choices=tuple(AREAS), action="append", help="area; may be given several times")
    parser.add_argument("--n", type=int, help="inputs of each area (default: as published)")
    parser.add_argument("--share", type=float, default=1.0, help="of the published number of each area")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def tried(area: str, seed: int, first: int, last: int) -> Iterator[Record]:
    """Yield the records of the inputs of an area with numbers from `first` to before `last`."""
    make = AREAS[area][0]
    rngs = [random.Random(f"{seed} {area} {number}") for number in range(first, last)]
    with TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, record in zip(range(first, last), make(rngs, Path(scratch)), strict=True):
            yield {"area": area, "seed": seed, "number": number} | record


def main() -> None:
    """Try all inputs, append their records, and print the counts."""
    faulthandler.enable()
    asked = options()
    lines = asked.out.read_text(encoding="utf-8").splitlines() if asked.out.exists() else []
    records = [json.loads(line) for line in lines]
    done = {(one["area"], one["seed"], one["number"]) for one in records}
    with asked.out.open("a", encoding="utf-8") as stream:
        for area in asked.only or AREAS:
            _, usual, size = AREAS[area]
            n = asked.n or round(asked.share * usual)
            for first in range(0, n, size):
                last = min(n, first + size)
                if all((area, asked.seed, number) in done for number in range(first, last)):
                    continue
                for record in tried(area, asked.seed, first, last):
                    if (area, asked.seed, record["number"]) not in done:
                        stream.write(json.dumps(record) + "\n")
                        stream.flush()
                        records.append(record)
    show(records)


def show(records: Sequence[Record]) -> None:
    """Print the outcomes of each area, and each fault."""
    for area in AREAS:
        some = [one for one in records if one["area"] == area]
        outcomes = dict(Counter(one["outcome"] for one in some).most_common())
        print(f"{area}: {len(some)} inputs, {sum(one['seconds'] for one in some):.0f} s; {outcomes}")
        for why, n in Counter(why for one in some for why in one.get("explained", {}).values()).most_common():
            print(f"  {n} {why}")
    for one in records:
        if one.get("fault"):
            print(f"{one['area']} {one['seed']} {one['number']}: {one['fault']}: {one.get('input')}")


if __name__ == "__main__":
    main()
