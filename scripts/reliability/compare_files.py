"""CIFs read by matgen and by gemmi, ASE and pymatgen: each disagreement with its explanation.

    python scripts/reliability/compare_files.py --table cache/crystals.npz --n 250 --out compared.jsonl folder ...

Rows of the prepared table (test split, seed 0) are written in eight dialects of CIF (`compare_readers.py`), and must
read back to what was written; files are compared with the other readers alone. A line of JSON for each; a call goes on
where the last one stopped.
"""

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from pymatgen.core import Structure

from compare_readers import DIALECTS, SAME
from fuzz.compared_crystals import of_structure
from fuzz.explanations import explained
from fuzz.independent_readers import CIF_READERS, by_others
from matgen.structures.broken import BrokenStructureError
from matgen.structures.files import found
from matgen.structures.formats import Piece
from matgen.structures.reading import read_piece
from shared.crystals import crystals, sample_rows, true_structures


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="files and folders of CIFs")
    parser.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    parser.add_argument("--n", type=int, default=250, help="rows of the table, at most 500; 0 for none")
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON, appended")
    return parser.parse_args()


def compared(text: str, truth: Structure | None = None) -> dict[str, Any]:
    """Return how matgen and the other readers see a CIF."""
    try:
        reading = read_piece(Piece("", "cif", text), "crystal", contradictory=True)
    except BrokenStructureError as error:
        return {"outcome": "refused", "reason": str(error)}
    if not reading.faithful.passed:
        return {"outcome": "unfaithful", "reason": reading.faithful.reason}
    structure: Any = reading.structure
    own = of_structure(structure)
    others = by_others(text, CIF_READERS)
    differing = explained(own, others, text)
    faults = [name for name, why in differing.items() if why.startswith("unexplained")]
    alone = all(isinstance(one, str) for one in others.values())
    outcomes = {"unexplained": faults, "differs, explained": differing, "read by matgen alone": alone, "agrees": True}
    record = {"outcome": next(name for name, true in outcomes.items() if true)}
    record |= {"formula": structure.formula, "volume": round(structure.volume, 3), "groups": own.groups}
    record |= {"explained": differing, "refused by": [name for name, one in others.items() if isinstance(one, str)]}
    if faults:
        record["others"] = {name: repr(one) for name, one in others.items()}
    if truth is not None and not SAME.fit(structure, truth):
        record["outcome"] = "not as written"
    return record


def inputs(asked: argparse.Namespace) -> Iterator[tuple[str, Any, Structure | None]]:
    """Yield name, text (or what makes it) and truth of each CIF."""
    if asked.n:
        table = crystals(asked.table)
        for index, truth in enumerate(true_structures(table, sample_rows(table, asked.n).tolist())):
            for name, dialect in DIALECTS.items():
                yield f"row {index}, {name}", (lambda made=dialect, one=truth: made(one)), truth
    for one in found(asked.files) if asked.files else ():
        if one.piece.form == "cif":
            yield one.path + one.piece.label, (lambda text=one.piece.content: text), None
        else:
            yield one.path + one.piece.label, None, None


def main() -> None:
    """Compare, append, and print the counts."""
    warnings.simplefilter("ignore")
    asked = options()
    lines = asked.out.read_text(encoding="utf-8").splitlines() if asked.out.exists() else []
    records = [json.loads(line) for line in lines]
    done = {one["name"] for one in records}
    with asked.out.open("a", encoding="utf-8") as stream:
        for name, made, truth in inputs(asked):
            if name in done:
                continue
            started = time.process_time()
            record = {"outcome": "no CIF"} if made is None else compared(made(), truth)
            record = {"name": name, "seconds": round(time.process_time() - started, 2)} | record
            stream.write(json.dumps(record) + "\n")
            stream.flush()
            records.append(record)
    for part, rows in (("written", True), ("files", False)):
        some = [one for one in records if one["name"].startswith("row ") is rows]
        print(part, len(some), dict(Counter(one["outcome"] for one in some)))
        why = Counter(why for one in some for why in one.get("explained", {}).values())
        print(*(f"  {n} {text}" for text, n in why.most_common()), sep="\n")


if __name__ == "__main__":
    main()
