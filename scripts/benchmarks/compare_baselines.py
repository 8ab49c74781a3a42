"""Stable, unique and novel crystals per CPU-hour by four methods, with the same evaluator.

`python scripts/benchmarks/compare_baselines.py --minutes 20`: random symmetric crystals, element substitution, the
template prior with random geometry, and `matgen design`, without a target and for a gap of 1.5 ± 0.25 eV. Each runs in
one process with one thread until its CPU time for generating, relaxing and evaluating is spent. `--methods random,ours`
and `--races gap` select methods and targets; a later call continues from the disk, and reports everything that is
complete. `--n` is the number of candidates per round of design. Writes docs/figures/baselines.png.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from baselines.designed import Designed
from baselines.figures import WORDS, advantage, counted, markdown, plot
from baselines.prior_alone import PriorAlone
from baselines.proposals import GAP_TOLERANCE, Setting, Source
from baselines.race import MAX_EHULL, Race, Record, Tools, cpu_seconds, within
from baselines.random_symmetric import RandomSymmetric
from baselines.substitution import Substitution
from matgen.relaxation.config import RelaxConfig
from matgen.workflows.data import data_folder
from shared.measurement import Measurement, read_lines, single_thread
from shared.options import parser

SOURCES: dict[str, Callable[[Setting], Source]] = {
    "random": RandomSymmetric,
    "substitution": Substitution,
    "prior": PriorAlone,
    "ours": Designed,
    "fast": partial(Designed, fast=True),
}
OURS = ("ours", "fast")

RACES: dict[str, float | None] = {"any": None, "gap": 1.5}
"""Target band gap, eV; None without a target."""

FOUND = {
    "any": "stable, unique, novel",
    "gap": f"stable, unique, novel, gap 1.5 ± {GAP_TOLERANCE:g} eV by the evaluator",
}


@dataclass(frozen=True)
class Run:
    """One method for one target."""

    method: str
    race: str
    setting: Setting
    file: Path
    budget: float
    data: Path

    def go(self) -> None:
        """Run until the budget is spent."""
        single_thread()
        race = Race(self.setting, Tools.loaded(self.data), self.file)
        race.run(SOURCES[self.method](self.setting), self.budget, self._tell)

    def records(self) -> list[Record]:
        """Return the records on disk up to the budget; none if it is not spent yet."""
        records = list(within(read_lines(self.file), self.budget))
        return records if sum(map(cpu_seconds, records)) >= self.budget else []

    def _tell(self, record: Record, spent: float) -> None:
        outcome = record["objection"] or f"{record['reason']}, above hull {record.get('above_hull', float('nan')):.3f}"
        words = f"{self.method} {self.race} {spent:.0f} s {record['formula']} ({record['space_group']}): {outcome}"
        print(words + (", S.U.N." if record.get("sun") else ""), flush=True)


def source_of_scripts() -> str:
    """Return the SHA-256 of the source that makes and evaluates the proposals."""
    files = sorted((Path(__file__).parent / "baselines").glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files if path.name != "figures.py")).hexdigest()


def runs_of(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, Run]]:
    """Return the runs of all methods, by target."""
    data = data_folder(options.data)
    settings = {name: Setting(options.table, options.seed, gap, options.n) for name, gap in RACES.items()}
    return {
        race: {
            method: Run(method, race, settings[race], folder / f"{method}-{race}.jsonl", 60 * options.minutes, data)
            for method in SOURCES
        }
        for race in RACES
    }


def report(found: Mapping[str, Mapping[str, list[Record]]], picture: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return figures, and Markdown by place, of all methods with records."""
    figures: dict[str, Any] = {}
    text, bars = [], []
    for race, by_method in found.items():
        gap = RACES[race]
        figures[race] = {name: counted(records, gap) for name, records in by_method.items()}
        title = "No target" if gap is None else f"Gap of {gap:g} ± {GAP_TOLERANCE:g} eV"
        text.append(f"**{title}**\n\n{markdown(figures[race], gap)}")
        others = {name: records for name, records in by_method.items() if name not in OURS}
        for method in OURS:
            if not (others and by_method.get(method)):
                continue
            key = "sun_per_hour" if gap is None else "on_target_per_hour"
            best = max(others, key=lambda name, race=race, key=key: figures[race][name][key]["value"])
            times = advantage(by_method[method], by_method[best], gap)
            figures[race][method]["advantage"] = {"over": best, **asdict(times)}
            bars.append(f"{FOUND[race]}: {WORDS[method]} {times.shown(1, 1)} × {WORDS[best]}")
    plot({FOUND[race]: by_method for race, by_method in figures.items()}, picture)
    text.append(f"![Hits of each method per CPU-hour](../figures/{picture.name})\n")
    return figures, {"baselines": "\n\n".join(text), "bar baselines": "; ".join(bars) or "–"}


def main() -> None:
    """Run the selected methods, then report everything that is complete."""
    options = parser(__doc__, "baselines", 10)
    options.add_argument("--minutes", type=float, default=20.0, help="CPU-minutes per method and target")
    options.add_argument("--methods", default=",".join(SOURCES), help="methods to run, separated by commas")
    options.add_argument("--races", default=",".join(RACES), help="targets to run, separated by commas")
    options.add_argument("--figure", type=Path, default=Path("docs/figures/baselines.png"))
    options = options.parse_args()
    settings = {"scripts": source_of_scripts(), "relaxation": asdict(RelaxConfig()), "max_ehull": MAX_EHULL}
    measurement = Measurement(options, settings)
    runs = runs_of(options, options.out.parent / "baselines" / measurement.fingerprint)
    selected = [runs[race][method] for race in options.races.split(",") for method in options.methods.split(",")]
    if options.processes == 1:
        for run in selected:
            run.go()
    else:
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
            for done in [pool.submit(run.go) for run in selected]:
                done.result()
    found = {race: {m: r for m, run in by.items() if (r := run.records())} for race, by in runs.items()}
    found = {race: by_method for race, by_method in found.items() if by_method}
    figures, places = report(found, options.figure)
    measurement.core_seconds = sum(cpu_seconds(r) for by in found.values() for rs in by.values() for r in rs)
    figures["minutes"] = options.minutes
    measurement.finish(figures, places)
    print(json.dumps({race: sorted(by_method) for race, by_method in found.items()}))


if __name__ == "__main__":
    main()
