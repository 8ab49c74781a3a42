"""Stability, uniqueness and novelty of unselected samples with one geometry each.

`python scripts/benchmarks/evaluate_samples.py --data FOLDER`: 500 samples of the template prior, and 500 of the sum of
prior, charge balance, stability and novelty, each with a geometry by the hybrid sampler, relaxed by CHGNet with fixed
symmetry. Every share is of the number requested; a sample that fails at any stage counts as a failure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from matgen.checks.contacts import closest_contact
from matgen.checks.pair_distances import OF_RADII
from matgen.chemistry.charges import is_valid
from matgen.energies.template_sampling import TemplateSampler
from matgen.generation.kinds.crystals import Crystals, sampled_conditions
from matgen.generation.propose import propose
from matgen.generation.rank import rank
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig
from matgen.generation.shape import shape
from matgen.hull.hull import ReferenceHull, UnknownChemistryError, is_stable
from matgen.novelty.duplicates import SeenStructures
from matgen.novelty.fingerprint import NoFingerprintError
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.runtime.config import to_mapping
from matgen.runtime.progress import Silence
from matgen.structures.symmetry import contains, space_group
from matgen.templates.crystal import CrystalTemplate
from matgen.workflows.data import data_folder
from shared.crystals import known_crystals, shipped
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

WAYS = {"prior": "the prior alone", "sum": "the sum"}
CHUNK = 25
LIMITS = (0.0, 0.1)  # eV/atom
UNSCALED = StructureMatcher(scale=False)
SINGLE = Request.of(
    n=CHUNK, over_generation=1, sampler=replace(SamplerConfig(), shaped=1, burn_in=SamplerConfig().move_steps)
)

surface = cache(CHGNetSurface)
hull = cache(ReferenceHull.load)


def sampled(task: Task) -> list[dict[str, Any]]:
    """Return the outcome of each sample of a chunk; a repeated sample has no row."""
    generator = task.generator()
    models = shipped()
    templates = _templates(task.how["way"], generator)
    request = SINGLE.updated(n=len(templates))
    batch, geometry = shape(templates, request, Crystals(request, models), generator, Silence())
    proposals = rank(batch, geometry, SINGLE, Crystals(SINGLE, models), Silence())
    initial_geometries: list[Structure] = [proposal.structure for proposal in proposals]
    rows: list[dict[str, Any]] = [
        {"start": start.as_dict(verbosity=0), "smact": _smact(start)} for start in initial_geometries
    ]
    for index, final, report in relax_batch(((i, s, math.inf) for i, s in enumerate(initial_geometries)), surface()):
        before, after = space_group(initial_geometries[index]).number, space_group(final).number
        moved = UNSCALED.get_rms_dist(initial_geometries[index], final)
        rows[index] |= {
            "final": final.as_dict(verbosity=0),
            "converged": report.converged,
            "sound": closest_contact(final).ratio >= OF_RADII,
            "above": _above(final, report.energy),
            "new": _new(final, task.how["data"]),
            "kept": after != 1 and contains(after, before),
            "rmsd": None if moved is None else float(moved[0]) * (final.volume / len(final)) ** (1 / 3),
        }
    return rows


def _templates(way: str, generator: Any) -> list[CrystalTemplate]:
    if way == "sum":
        return propose(SINGLE, Crystals(SINGLE, shipped()), generator, Silence())
    return TemplateSampler(shipped().prior, SINGLE.rules).sample(
        sampled_conditions(SINGLE, CHUNK, generator), generator
    )


def _smact(structure: Structure) -> bool:
    return is_valid(structure.composition)


def _above(structure: Structure, energy: float) -> float | None:
    try:
        return hull().above_hull(structure.composition, energy, surface().name).above_hull
    except UnknownChemistryError:
        return None


def _new(structure: Structure, data: Path) -> bool:
    try:
        return known_crystals(data).find(structure) is None
    except NoFingerprintError:
        return False


def summary(rows: Sequence[Mapping[str, Any]], requested: int) -> dict[str, Any]:
    """Return counts over all samples of one method; `requested` is the denominator of all."""
    seen = SeenStructures()
    counts: dict[str, Any] = {"requested": requested, "sampled": len(rows)}
    counts["smact"] = sum(row["smact"] for row in rows)
    ended = [row for row in rows if row.get("converged") and row["sound"]]
    unique = [seen.add(Structure.from_dict(row["final"])) is None for row in ended]
    counts |= {"relaxed": len(ended), "unique": sum(unique), "novel": sum(row["new"] for row in ended)}
    counts["symmetry"] = sum(row["kept"] for row in ended)
    for limit in LIMITS:
        stable = [row["above"] is not None and is_stable(row["above"], limit) for row in ended]
        counts[f"stable_{limit:g}"] = sum(stable)
        counts[f"sun_{limit:g}"] = sum(s and u and row["new"] for s, u, row in zip(stable, unique, ended, strict=True))
    heights = [row["above"] for row in ended if row["above"] is not None]
    moved = [row["rmsd"] for row in ended if row["rmsd"] is not None]
    return counts | {
        "mean_above_hull": fmean(heights) if heights else None,
        "median_above_hull": median(heights) if heights else None,
        "mean_rmsd": fmean(moved) if moved else None,
        "median_rmsd": median(moved) if moved else None,
        "comparable": len(moved),
    }


def markdown(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table with one line per method."""
    kinds = ("smact", "relaxed", "symmetry", "unique", "novel", "stable_0", "stable_0.1", "sun_0", "sun_0.1")
    rows = [
        (
            WAYS[way],
            f["requested"],
            *(percent(f[kind], f["requested"]) for kind in kinds),
            f"{f['mean_above_hull']:.3f} / {f['median_above_hull']:.3f}",
            f"{f['mean_rmsd']:.3f} / {f['median_rmsd']:.3f} ({f['comparable']})",
        )
        for way, f in figures.items()
    ]
    words = (
        "samples of",
        "requested",
        "SMACT",
        "relaxed, no overlap",
        "symmetry kept",
        "unique",
        "novel",
        "≤ 0",
        "≤ 0.1",
    )
    words += ("S.U.N. ≤ 0", "S.U.N. ≤ 0.1", "mean / median above hull, eV/atom", "RMSD to relaxed, Å (of)")
    return table(words, rows)


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "samples", 500).parse_args()
    settings = {"request": to_mapping(SINGLE), "relaxation": to_mapping(RelaxConfig()), "limits": LIMITS}
    measurement = Measurement(options, settings)
    data = data_folder(options.data)
    tasks = [
        Task(f"{way} {i}", options.table, options.seed, how={"way": way, "data": data})
        for way in WAYS
        for i in range(options.n // CHUNK)
    ]
    results = measurement.run(sampled, tasks)
    figures = {}
    for way in WAYS:
        parts = [results[task.key] for task in tasks if task.how["way"] == way]
        figures[way] = summary([row for part in parts for row in part], CHUNK * len(parts))
    bars = [f"{WAYS[way]}: {percent(f['sun_0.1'], f['requested'])}" for way, f in figures.items()]
    bar = f"{'; '.join(bars)} (of {figures['sum']['requested']} each)"
    measurement.finish({"ways": figures}, {"samples": markdown(figures), "bar samples": bar})


if __name__ == "__main__":
    main()
