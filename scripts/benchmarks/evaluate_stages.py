"""Ablation of diffusion and Langevin refinement: energy, match rate and time of each combination.

`python scripts/benchmarks/evaluate_stages.py`: 100 of the 500 rows of MP-20 test with their true templates, one
geometry each, from the sampler's initial geometries and from pure noise, which all combinations share.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from matgen.checks.contacts import closest_contact
from matgen.checks.pair_distances import OF_RADII
from matgen.generation.sampler_settings import Stages
from matgen.runtime.config import to_mapping
from matgen.samplers.hybrid import RefineSchedule, refine
from matgen.samplers.initial_noise import pure_noise
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from shared.crystals import as_structures, chunks, crystals, match, sample_rows, true_structures
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import mean, percent, table
from shared.shaping import CONFIG, NOISE, ONE_START, Shaped, default_energy, from_noise, piped

WAYS = {
    ("start", False, False): "the initial geometry",
    ("start", True, False): "diffusion only",
    ("start", False, True): "MALA only",
    ("start", True, True): "diffusion, then MALA",
    ("design", True, False): "hybrid, three initial geometries",
    ("noise", False, False): "pure noise",
    ("noise", True, False): "noise, diffusion only",
    ("noise", False, True): "noise, MALA only",
    ("noise", True, True): "noise, diffusion, then MALA",
}
CHUNK = 25


def staged(task: Task) -> dict[str, list[dict[str, Any]]]:
    """Return figures per row before and after refinement, for one origin, with or without diffusion."""
    whole = crystals(task.table)
    templates = whole.templates.select(torch.tensor(task.rows)).unbatch()
    origin, diffusion = task.how["origin"], task.how["diffusion"]
    generator = replace(task, key=task.how["start"]).generator()
    began = time.perf_counter()
    batch, geometry = _begun(origin, templates, generator, diffusion=diffusion)
    first = (time.perf_counter() - began) / len(templates)
    began = time.perf_counter()
    refined, acceptance = _refined((batch, geometry), generator)
    second = first + (time.perf_counter() - began) / len(templates)
    before = _figures(task, (batch, geometry), first, torch.full_like(acceptance, torch.nan))
    return {"without": before, "with": _figures(task, refined, second, acceptance)}


def _begun(origin: str, templates: list[CrystalTemplate], generator: torch.Generator, *, diffusion: bool) -> Shaped:
    if origin in {"start", "design"}:
        stages = Stages(moves=False, diffusion=diffusion, mala=origin == "design")
        return piped(templates, generator, ONE_START, stages)
    if diffusion:
        return from_noise(templates, generator)
    batch = TemplateBatch.of(templates)
    return batch, pure_noise(batch, NOISE, generator)


def _refined(shaped: Shaped, generator: torch.Generator) -> tuple[Shaped, Tensor]:
    """Return geometries after the Langevin steps of `matgen design`, and their acceptance (n_systems,)."""
    batch, geometry = shaped
    batch, geometry, report = refine(
        default_energy(),
        batch,
        geometry,
        torch.full((batch.n_systems,), CONFIG.refine_sigma),
        schedule=RefineSchedule(CONFIG.refine_rounds, CONFIG.refine_steps),
        generator=generator,
    )
    return (batch, geometry), report.mala


def _figures(task: Task, shaped: Shaped, seconds: float, acceptance: Tensor) -> list[dict[str, Any]]:
    batch, geometry = shaped
    level = torch.full((batch.n_systems,), CONFIG.choose_sigma)
    with torch.no_grad():
        energy = default_energy()(expand(batch, geometry), level) / batch.n_atoms
    pairs = zip(true_structures(crystals(task.table), task.rows), as_structures(batch, geometry), strict=True)
    return [
        {
            "energy": round(value, 4),
            "contact": round(closest_contact(found).ratio, 4),
            "rms": match(truth, found),
            "acceptance": None if share != share else round(share, 4),  # noqa: PLR0124 (NaN)
            "seconds": seconds,
        }
        for (truth, found), value, share in zip(pairs, energy.tolist(), acceptance.tolist(), strict=True)
    ]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return means and counts over rows."""
    accepted = [row["acceptance"] for row in rows if row["acceptance"] is not None]
    distances = [row["rms"] for row in rows if row["rms"] is not None]
    return {
        "rows": len(rows),
        "energy_per_atom": fmean(row["energy"] for row in rows),
        "median_energy_per_atom": median(row["energy"] for row in rows),
        "valid": sum(row["contact"] >= OF_RADII for row in rows),
        "matched": len(distances),
        "rmse": fmean(distances) if distances else None,
        "acceptance": fmean(accepted) if accepted else None,
        "seconds": fmean(row["seconds"] for row in rows),
    }


def markdown(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table with one line per combination."""
    rows = [
        (
            name,
            f["rows"],
            f"{f['energy_per_atom']:.2f} / {f['median_energy_per_atom']:.2f}",
            percent(f["valid"], f["rows"]),
            percent(f["matched"], f["rows"]),
            mean([f["rmse"]] if f["rmse"] is not None else []),
            percent(f["acceptance"], 1) if f["acceptance"] is not None else "–",
            f"{f['seconds']:.2f}",
        )
        for name, f in figures.items()
    ]
    header = (
        "stages",
        "rows",
        "energy per atom",
        "no contact below 0.7",
        "match",
        "RMSE",
        "MALA acceptance",
        "s per row",
    )
    return table(header, rows)


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "stages", 100).parse_args()
    parts = chunks(sample_rows(crystals(options.table), options.n), CHUNK)
    measurement = Measurement(options, {"sampler": to_mapping(CONFIG)})
    tasks = [
        Task(
            f"{origin} {diffusion} {i}",
            options.table,
            options.seed,
            rows,
            {"origin": origin, "diffusion": diffusion, "start": f"{origin == 'noise'} {i}"},
        )
        for origin, diffusion, mala in WAYS
        if not mala
        for i, rows in enumerate(parts)
    ]
    found = measurement.run(staged, tasks)
    figures = {}
    for (origin, diffusion, mala), name in WAYS.items():
        keys = [f"{origin} {diffusion} {i}" for i in range(len(parts))]
        figures[name] = summary([row for key in keys for row in found[key]["with" if mala else "without"]])
    rates = {name: percent(f["matched"], f["rows"]) for name, f in figures.items()}
    line = "match " + ", ".join(f"{name} {rates[name]}" for name in list(WAYS.values())[:5]) + f" (of {options.n})"
    measurement.finish(figures, {"stages": markdown(figures), "bar stages": line})


if __name__ == "__main__":
    main()
