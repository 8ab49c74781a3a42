"""Cost of `screen` and `evaluate` at 1,000 to 100,000 crystals: processor time per structure and memory, by stage.

    python scripts/benchmarks/measure_growth.py screen --sizes 1000 10000
    python scripts/benchmarks/measure_growth.py screen --sizes 1000 100000 --without networks
    python scripts/benchmarks/measure_growth.py screen --sizes 1000 100000 --without checks
    python scripts/benchmarks/measure_growth.py evaluate --sizes 1000 10000 100000

The crystals are rows of the prepared table, half of them with every element replaced by one of the same group, rescaled
by a few per cent; one in ten is a displaced copy of the one before, so that a set of any size has the same share of
duplicates. They are written as one extxyz, or with `--files` as one CIF each. Every size runs in a process of its
own, with one thread; memory is that of the whole process, of which loading the models takes most. What each worker
does alone depends on no other structure: `--without networks` leaves out networks and CHGNet, `--without checks` all
of that but the reading, so that comparison, ranking and tables remain.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from pymatgen.core import Element, Structure

from matgen.evaluation.findings import EvaluationConfig
from matgen.screening import assess, workers
from matgen.screening.config import NONE, ScreenConfig
from matgen.screening.row import Row
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.cif import cif_text
from matgen.structures.files import Found, digest, read
from matgen.structures.symmetry import NO_SYMMETRY
from matgen.workflows.evaluate import evaluate
from matgen.workflows.screen import run
from shared.crystals import crystals, true_structures
from shared.measurement import single_thread
from shared.page import fill_page, table

AT_ONCE = 500
ONE_COPY_IN = 10

DISPLACEMENT = 0.02
"""Standard deviation of the displacements of a copy, Å."""

RESCALED = 0.03
"""Standard deviation of the logarithm of the factor by which cells are stretched."""


def structures(table_file: Path, n: int, seed: int) -> Iterator[Structure]:
    """Yield n crystals; the first of a longer sequence are those of a shorter one."""
    whole, random = crystals(table_file), np.random.default_rng(seed)
    last: Structure | None = None
    for start in range(0, n, AT_ONCE):
        rows = random.integers(len(whole), size=AT_ONCE)
        for index, structure in enumerate(true_structures(whole, rows.tolist())[: n - start], start):
            copied = last if index % ONE_COPY_IN == ONE_COPY_IN - 1 else None
            last = varied(structure, random) if copied is None else displaced(copied, random)
            yield last


def displaced(structure: Structure, random: np.random.Generator) -> Structure:
    """Return a copy whose atoms are displaced."""
    coords = structure.cart_coords + random.normal(scale=DISPLACEMENT, size=(len(structure), 3))
    return Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True)


def varied(structure: Structure, random: np.random.Generator) -> Structure:
    """Return a rescaled crystal, every other time with elements replaced by others of their groups."""
    species = [site.specie.symbol for site in structure]
    if random.random() < 0.5:
        replaced = {symbol: str(random.choice(group_of(symbol))) for symbol in sorted(set(species))}
        species = [replaced[symbol] for symbol in species]
    matrix = structure.lattice.matrix * np.exp(random.normal(scale=RESCALED))
    return Structure(matrix, species, structure.frac_coords)


@cache
def group_of(symbol: str) -> tuple[str, ...]:
    """Return the elements up to bismuth in the same group of the periodic table."""
    group = Element(symbol).group
    return tuple(sorted(e.symbol for e in Element if e.Z <= 83 and e.group == group)) or (symbol,)


def frame(structure: Structure) -> str:
    """Return an extxyz frame."""
    cell = " ".join(f"{x:.8f}" for x in structure.lattice.matrix.ravel())
    atoms = (f"{s.specie.symbol} {s.coords[0]:.8f} {s.coords[1]:.8f} {s.coords[2]:.8f}" for s in structure)
    head = f'{len(structure)}\nLattice="{cell}" Properties=species:S:1:pos:R:3 pbc="T T T"'
    return "\n".join([head, *atoms]) + "\n"


def written(options: argparse.Namespace, n: int, place: Path) -> Path:
    """Write the crystals, and return the file or the folder."""
    if not options.files:
        with (place / "many.extxyz").open("w", encoding="utf-8") as stream:
            stream.writelines(map(frame, structures(options.table, n, options.seed)))
        return place / "many.extxyz"
    (place / "many").mkdir()
    for index, structure in enumerate(structures(options.table, n, options.seed)):
        (place / "many" / f"{index:06d}.cif").write_text(cif_text(structure), encoding="utf-8")
    return place / "many"


@dataclass
class Clock:
    """A progress report that notes processor time and memory at the beginning of each stage, and at tenths of it."""

    marks: list[tuple[str, int, float, float]] = field(default_factory=list)
    _last: tuple[str, int] = ("", -1)

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:  # noqa: ARG002
        """Note where the run is."""
        tenth = 10 * done // total if total and stage not in {"screen", "read"} else done // 1000
        if (stage, tenth) != self._last:
            self._last = (stage, tenth)
            self.mark(stage, done)

    def mark(self, stage: str, done: int) -> None:
        """Note processor time, s, and peak memory, MiB."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.marks.append((stage, done, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))


def measure(options: argparse.Namespace, n: int, path: Path, out: Path) -> dict[str, Any]:
    """Run one command in this process; return its marks."""
    single_thread()
    clock = Clock()
    clock.mark("load", 0)
    if options.command == "evaluate":
        config = EvaluationConfig(relax="none", bootstrap=options.bootstrap)
        evaluate([path], config, folder=out, report=clock)
    else:
        config = ScreenConfig(properties={"band_gap": "1:2"}, reference=NONE if options.without else "shipped")
        with ExitStack() as stack:
            if options.without == "networks":
                stack.enter_context(patch.object(assess, "_predicted", lambda rows, *_: rows))
            elif options.without == "checks":
                stack.enter_context(patch.object(workers, "assess", read_only))
            run([path], config, out, report=clock)
    clock.mark("end", n)
    return {"n": n, "marks": clock.marks, "bytes": sum(p.stat().st_size for p in out.iterdir())}


def read_only(chunk: Sequence[Found], config: ScreenConfig) -> list[Row]:
    """Return rows with the structures as read, and no verdict but that they were."""
    rows = []
    for found in chunk:
        entry = read(found, config.kind)
        if entry.structure is None:
            raise RuntimeError(f"expected readable crystals, got {entry.name}: {entry.error}")
        readable = Verdict("reads", passed=True, value=float(len(entry.structure)), unit="atoms", reason="read")
        candidate = Candidate(entry.name, entry.structure, entry.structure, NO_SYMMETRY)
        rows.append(
            Row(entry.name, entry.path, entry.index, digest(found), candidate=candidate).with_verdicts(readable)
        )
    return rows


def in_own_process(options: argparse.Namespace, n: int) -> dict[str, Any]:
    """Write crystals, and measure in a new process."""
    with tempfile.TemporaryDirectory() as place:
        path = written(options, n, Path(place))
        command = [sys.executable, __file__, *sys.argv[1:], "--one", str(path), "--sizes", str(n)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])


def stages(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return processor time, s, and peak memory at its end, MiB, of each stage."""
    result: dict[str, tuple[float, float]] = {}
    for (stage, _, begin, _), (_, _, end, memory) in zip(found["marks"], found["marks"][1:], strict=False):
        result[stage] = (result.get(stage, (0.0, 0.0))[0] + end - begin, memory)
    return result


def main() -> None:
    """Measure every size, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("screen", "evaluate"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap", type=int, default=1000, help="resampled sets of evaluate")
    parser.add_argument("--files", action="store_true", help="a CIF each in place of one extxyz")
    parser.add_argument("--without", choices=("networks", "checks"), help="leave out this part of screen")
    parser.add_argument("--document", type=Path, help="page whose marked place growth-COMMAND is filled")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as out:
            print(json.dumps(measure(options, options.sizes[0], options.one, Path(out))))
        return
    rows = []
    for n in options.sizes:
        began = time.perf_counter()
        found = in_own_process(options, n)
        print(json.dumps(found["marks"]), f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
        for stage, (seconds, memory) in stages(found).items():
            rows.append([f"{n:,}", stage, f"{1000 * seconds / n:.2f}", f"{memory:,.0f}"])
    text = table(["structures", "stage", "ms of a core per structure", "peak memory by its end, MiB"], rows)
    print(text)
    if options.document:
        fill_page(options.document, {f"growth-{options.command}": text})


if __name__ == "__main__":
    main()
