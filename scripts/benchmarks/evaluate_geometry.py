"""How often each method recovers the geometry of a crystal of MP-20 test from its true template.

`python scripts/benchmarks/evaluate_geometry.py`: 500 rows of MP-20 test, one answer each, compared by StructureMatcher
with ltol 0.3, stol 0.5 and 10°; and ten diverse candidates each, which show how much the ranking by energy gains.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from matgen.chemistry.charges import is_valid
from matgen.generation.sampler_settings import Stages
from matgen.runtime.config import to_mapping
from matgen.samplers.initial_geometry import initial_geometries
from matgen.samplers.initial_noise import renoise
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.noise import karras_levels
from matgen.templates.prototypes import PrototypeLibrary
from matgen.training.properties import trainable
from shared.crystals import as_structures, chunks, crystals, match, sample_rows, shipped, true_structures
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table
from shared.shaping import (
    BEST_START,
    CONFIG,
    NOISE,
    NOISE_LEVELS,
    ONE_START,
    Shaped,
    default_energy,
    diffused,
    from_noise,
    piped,
)

CHUNK = 25

Shaper = Callable[[Task, list[CrystalTemplate], torch.Generator], Shaped]
"""Returns one geometry for each template, in the same order."""

WAYS = {
    "floor": "nearest single crystal of the training split",
    "prototype": "nearest shipped prototype (averages)",
    "density": "geometry density alone",
    "diffusion": "initial geometry + diffusion, one sample",
    "chosen": "the best of three initial geometries by energy, diffused",
    "design": "hybrid: three initial geometries, diffused, refined, lowest energy",
    "own data": "the same, prototypes of the whole training split",
    "noise": "diffusion from pure noise, one sample",
}
FREE = {"0": (0, 0), "1–3": (1, 3), "4–8": (4, 8), "≥ 9": (9, 10**6)}
SOURCES = ("prototype", "density", "noise")


@cache
def training_library(path: Path) -> PrototypeLibrary:
    """Return a library with every training crystal as a prototype."""
    whole = crystals(path)
    some = whole.select(trainable(whole))
    return PrototypeLibrary.of_crystals(some.templates, some.geometry)


@cache
def training_tensors(path: Path) -> dict[str, Tensor]:
    """Return the same library as the tensors of a weight file."""
    return training_library(path).tensors()


@cache
def shipped_library() -> PrototypeLibrary:
    """Return the shipped prototypes."""
    return shipped().library


def nearest(library: PrototypeLibrary, templates: Sequence[CrystalTemplate]) -> Shaped:
    """Return the nearest prototype of each template; NaN where its Wyckoff layout is unknown."""
    found = []
    for template in templates:
        nothing = Geometry(torch.full((1, 6), torch.nan), torch.full((len(template.sites), 3), torch.nan))
        geometry = next((known.geometry for known in library.nearest(template, 1)), nothing)
        found.append((TemplateBatch.of([template]), geometry))
    return concatenated(found)


def from_density(templates: list[CrystalTemplate], generator: torch.Generator) -> Shaped:
    """Return samples of the geometry density, as in `matgen design`."""
    batch = TemplateBatch.of(templates)
    return batch, sample(batch, generator)


def sample(batch: TemplateBatch, generator: torch.Generator) -> Geometry:
    """Return samples of the geometry density at the temperature of the sampler."""
    return shipped().geometry.sample(batch, generator, CONFIG.sampling_temperature)


SHAPERS: dict[str, Shaper] = {
    "floor": lambda task, t, _: nearest(training_library(task.table), t),
    "prototype": lambda _, t, __: nearest(shipped_library(), t),
    "density": lambda _, t, g: from_density(t, g),
    "diffusion": lambda _, t, g: piped(t, g, ONE_START, Stages(moves=False, mala=False)),
    "chosen": lambda _, t, g: piped(t, g, BEST_START, Stages(moves=False, mala=False)),
    "design": lambda _, t, g: piped(t, g, CONFIG, Stages(moves=False)),
    "own data": lambda task, t, g: piped(t, g, CONFIG, Stages(moves=False), prototypes=training_tensors(task.table)),
    "noise": lambda _, t, g: from_noise(t, g),
}


def one_each(task: Task) -> list[dict[str, Any]]:
    """Return one answer per row: its distance to the truth, None without a match."""
    whole = crystals(task.table)
    templates = whole.templates.select(torch.tensor(task.rows)).unbatch()
    batch, geometry = SHAPERS[task.how["way"]](task, templates, task.generator())
    answered = geometry.lattice.isfinite().all(1)
    some = answered.nonzero().ravel()
    answers = iter(as_structures(batch.select(some), geometry.select(batch, some)))
    rows = zip(task.rows, templates, true_structures(whole, task.rows), answered.tolist(), strict=True)
    return [
        {
            "row": row,
            "free": n_free_coords(template),
            "smact": is_valid(truth.composition),
            "answered": yes,
            "rms": match(truth, next(answers)) if yes else None,
        }
        for row, template, truth, yes in rows
    ]


def n_free_coords(template: CrystalTemplate) -> int:
    """Return the number of free site coordinates of a template."""
    return int(TemplateBatch.of([template]).free_coords.sum())


def ten_each(task: Task) -> list[list[dict[str, Any]]]:
    """Return ten diverse diffused candidates per row: source, energies, and distance to the truth."""
    whole, generator = crystals(task.table), task.generator()
    templates = whole.templates.select(torch.tensor(task.rows)).unbatch()
    parts = [_diffused_geometries(templates, generator), _noises(templates, generator)]
    batch, geometry = concatenated([(batch, geometry) for batch, geometry, _, _ in parts])
    owners = [owner for _, _, owner, _ in parts for owner in owner]
    sources = [source for _, _, _, source in parts for source in source]
    level = torch.full((batch.n_systems,), CONFIG.choose_sigma)
    with torch.no_grad():
        terms = default_energy().breakdown(expand(batch, geometry), level)
    total = torch.stack(list(terms.values())).sum(0)
    found = as_structures(batch, geometry)
    truths = true_structures(whole, task.rows)
    candidates: list[list[dict[str, Any]]] = [[] for _ in task.rows]
    for i, (owner, source) in enumerate(zip(owners, sources, strict=True)):
        energies = {"total": float(total[i]), "graph": float(terms["graph"][i])}
        candidates[owner].append({"source": source, **energies, "rms": match(truths[owner], found[i])})
    return candidates


def _diffused_geometries(
    templates: list[CrystalTemplate], generator: torch.Generator
) -> tuple[TemplateBatch, Geometry, list[int], list[str]]:
    """Return seven geometries per template: up to three from prototypes, the rest from the density."""
    begun = initial_geometries(templates, shipped_library(), sample, generator, per_template=7, prototypes=3)
    sigma = torch.where(begun.from_prototype, CONFIG.prototype_noise, CONFIG.sampled_noise)
    ramp = karras_levels(1.0, CONFIG.lowest / CONFIG.sampled_noise, CONFIG.levels)
    noised = renoise(begun.templates, begun.geometry, sigma, generator)
    geometry = diffused(begun.templates, noised, ramp[:, None] * sigma, generator)
    sources = ["prototype" if known else "density" for known in begun.from_prototype.tolist()]
    return begun.templates, geometry, begun.owner.tolist(), sources


def _noises(
    templates: list[CrystalTemplate], generator: torch.Generator
) -> tuple[TemplateBatch, Geometry, list[int], list[str]]:
    """Return three geometries per template, from noise."""
    batch, geometry = from_noise([t for t in templates for _ in range(3)], generator)
    return batch, geometry, [i for i in range(len(templates)) for _ in range(3)], ["noise"] * batch.n_systems


def figures_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return match rate and distance of one method, overall and by number of free coordinates."""
    valid = [row for row in rows if row["smact"]]
    return {
        **_matches(rows),
        "answered": sum(row["answered"] for row in rows),
        "matched_and_smact": _matches(valid)["matched"],
        "by_free": {
            name: _matches([row for row in rows if low <= row["free"] <= high]) for name, (low, high) in FREE.items()
        },
    }


def _matches(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    distances = [row["rms"] for row in rows if row["rms"] is not None]
    return {"rows": len(rows), "matched": len(distances), "rmse": fmean(distances) if distances else None}


def ranking(rows: Iterable[Sequence[Mapping[str, Any]]], sources: Sequence[str] = SOURCES) -> dict[str, Any]:
    """Return the matches of a random candidate, of the one with the lowest energy, and of the best one.

    Args:
        rows: candidates per row.
        sources: sources whose candidates count.
    """
    sets = [[c for c in row if c["source"] in sources] for row in rows]
    sets = [candidates for candidates in sets if candidates]
    hits = [[c["rms"] is not None for c in candidates] for candidates in sets]
    chosen = {kind: [min(candidates, key=lambda c: c[kind]) for candidates in sets] for kind in ("total", "graph")}
    return {
        "rows": len(sets),
        "candidates": fmean(map(len, sets)) if sets else 0.0,
        "random": sum(map(fmean, hits)),
        **{kind: sum(c["rms"] is not None for c in found) for kind, found in chosen.items()},
        "oracle": sum(map(any, hits)),
    }


def markdown(one: Mapping[str, Mapping[str, Any]], ranked: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return both tables."""
    rows = []
    for way, f in one.items():
        parts = [f"{percent(p['matched'], p['rows'])}" for p in f["by_free"].values()]
        rmse = f"{f['rmse']:.3f}" if f["rmse"] is not None else "–"
        with_smact = percent(f["matched_and_smact"], f["rows"])
        rows.append((WAYS[way], percent(f["matched"], f["rows"]), rmse, *parts, with_smact, f["seconds"]))
    sizes = next(iter(one.values()))["by_free"] if one else {}
    header = ["method", "match", "RMSE"]
    header += [f"{name} free ({f['rows']})" for name, f in sizes.items()] + ["match, and SMACT-valid", "s per row"]
    lifts = [
        (
            name,
            f["rows"],
            f"{f['candidates']:.1f}",
            *(percent(f[k], f["rows"]) for k in ("random", "graph", "total", "oracle")),
            f"{100 * (f['total'] - f['random']) / max(f['rows'], 1):+.1f} points",
        )
        for name, f in ranked.items()
    ]
    chosen = ("a random one", "best by graph energy", "best by total energy", "oracle", "gain of the total")
    return {
        "geometry": table(header, rows),
        "ranking": table(("candidates from", "rows", "of each", *chosen), lifts),
    }


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "geometry", 500)
    options.add_argument("--ways", nargs="*", choices=[*WAYS, "ten"], default=[*WAYS, "ten"])
    options = options.parse_args()
    parts = chunks(sample_rows(crystals(options.table), options.n), CHUNK)

    def tasks(way: str) -> list[Task]:
        return [Task(f"{way} {i}", options.table, options.seed, rows, {"way": way}) for i, rows in enumerate(parts)]

    measurement = Measurement(options, {"sampler": to_mapping(CONFIG), "noise": NOISE, "noise_levels": NOISE_LEVELS})
    one = {}
    for way in (w for w in WAYS if w in options.ways):
        before = measurement.core_seconds
        found = [row for rows in measurement.run(one_each, tasks(way)).values() for row in rows]
        seconds = round((measurement.core_seconds - before) / len(found), 2)
        one[way] = figures_of(found) | {"seconds": seconds}
    ranked = {}
    if "ten" in options.ways:
        candidates = [row for rows in measurement.run(ten_each, tasks("ten")).values() for row in rows]
        ranked = {"prototypes, density, noise": ranking(candidates)}
        ranked |= {source: ranking(candidates, [source]) for source in SOURCES}
    measurement.finish({"one_each": one, "ten_each": ranked}, markdown(one, ranked) | bars(one, ranked))


def bars(one: Mapping[str, Mapping[str, Any]], ranked: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the lines of the summary."""
    found = {}
    if one.keys() == WAYS.keys():
        rate = {way: percent(f["matched"], f["rows"]) for way, f in one.items()}
        text = f"one sample {rate['diffusion']}; hybrid {rate['design']}"
        text += f", with own data {rate['own data']}"
        text += f"; floor {rate['floor']}; from noise {rate['noise']}"
        found["bar geometry"] = f"{text} (of {one['floor']['rows']})"
    if ranked:
        f = ranked["prototypes, density, noise"]
        lift = 100 * (f["total"] - f["random"]) / f["rows"]
        found["bar ranking"] = (
            f"{lift:+.1f} points ({percent(f['random'], f['rows'])} to {percent(f['total'], f['rows'])})"
        )
    return found


if __name__ == "__main__":
    main()
