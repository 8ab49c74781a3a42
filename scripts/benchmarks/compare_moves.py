"""Moves on templates at equal time: acceptance, energy, and number of distinct templates and Wyckoff layouts.

`python scripts/benchmarks/compare_moves.py`: the templates of `matgen design --property band_gap=1.5 --n 10 --seed 0`
before any move; then every set of moves runs on them for the same processor time, on one thread. `--formula SrTiO3`
requests a composition instead.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import torch

from matgen.generation.kinds.crystals import Crystals
from matgen.generation.propose import propose
from matgen.generation.request import Request
from matgen.generation.sampler_settings import Stages
from matgen.generation.total_energy import template_energy
from matgen.runtime.progress import Silence
from matgen.samplers.metropolis import Move, metropolis
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import layout
from shared.crystals import shipped
from shared.page import percent, table

BLOCK = 4
"""Steps between two checks of the time."""


def moved(
    start: Sequence[CrystalTemplate], request: Request, moves: Mapping[str, Move], seconds: float
) -> tuple[list[CrystalTemplate], int, float, dict[str, list[float]]]:
    """Return templates after this processor time, steps, seconds, and acceptances at the target temperature."""
    energy, generator = (
        template_energy(request, Crystals(request, shipped())),
        torch.Generator().manual_seed(request.search.seed),
    )
    accepted: dict[str, list[float]] = {name: [] for name in moves}
    found, steps, took, began = list(start), 0, 0.0, time.process_time()
    while took * (1 + BLOCK / max(2 * steps, 1)) < seconds:  # to the nearest block
        found, report = metropolis(
            energy, found, moves, steps=BLOCK, temperatures=request.sampler.temperatures, generator=generator
        )
        steps += BLOCK
        for name, values in report.acceptance.items():
            accepted[name] += values[:1][~values[:1].isnan()].tolist()
        took = time.process_time() - began
    return found, steps, took, accepted


def line(
    name: str, start: Sequence[CrystalTemplate], request: Request, moves: Mapping[str, Move], seconds: float
) -> tuple[str, ...]:
    """Return one row of the table."""
    found, steps, took, accepted = moved(start, request, moves, seconds) if moves else (list(start), 0, 0.0, {})
    energies = template_energy(request, Crystals(request, shipped()))(TemplateBatch.of(found)).double()
    layouts = set(map(layout, found))
    return (
        name,
        str(steps),
        f"{took:.0f}",
        ", ".join(percent(fmean(shares), 1) if shares else "–" for shares in accepted.values()) or "–",
        f"{energies.mean():.2f} / {energies.median():.2f}",
        str(len(set(found))),
        f"{len(layouts)} ({len(layouts - set(map(layout, start)))})",
    )


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=20.0, help="processor time per set of moves")
    options.add_argument("--formula", default="", help="composition, instead of a band gap of 1.5 eV")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    torch.set_num_threads(1)
    targets: dict[str, float | str] = {} if given.formula else {"band_gap": 1.5}
    request = Request.of(
        targets=targets, formula=given.formula, n=10, seed=given.seed, relax="none", stages=Stages(regrowth="always")
    )
    unmoved = replace(request, stages=Stages(moves=False))
    start = propose(
        unmoved, Crystals(unmoved, shipped()), torch.Generator().manual_seed(request.search.seed), Silence()
    )
    moves = Crystals(request, shipped()).moves()
    elements = [name for name in moves if not name.startswith("regrow")]
    regrowth = [name for name in moves if name not in elements]
    sets = [[], elements, *([name] for name in regrowth), [*elements, "regrow_site"], regrowth, list(moves)]
    header = ("moves", "steps", "s", "accepted", "energy, mean / median", "distinct", "layouts (new)")
    print(table(header, []))
    for names in sets:
        cells = line(", ".join(names) or "none", start, request, {name: moves[name] for name in names}, given.seconds)
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
