"""How well the graph energy per atom separates real crystals from wrong ones, by kind of error (AUROC).

`python scripts/benchmarks/evaluate_graph_energy.py`: rows of MP-20 validation and test against the classes of
`matgen.training.negatives`, quick samples of the network, and full diffusions from noise that match nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch

from matgen.generation.sampler_settings import SamplerConfig
from matgen.nn.graph_energy import energy_per_atom
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.training.denoising import noised, own_samples
from matgen.training.graph_energy import auroc
from matgen.training.negatives import NEGATIVES, Wrong
from shared.crystals import as_structures, chunks, crystals, match, shipped
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table
from shared.shaping import from_noise

CLASSES = {
    "volume": "volume 15–25 % off",
    "shape": "cell shape off",
    "displaced": "atoms displaced by 0.3–0.7 Å",
    "swapped": "two elements exchanged",
    "substituted": "an element replaced by an unlike one",
    "sample": "own samples, three steps, off by > 0.15 Å",
    "diffused": "own samples, full diffusion from noise, no match",
}
Levels = tuple[float, float]
"""E / N of a crystal as it is, and with noise."""

LEVEL = SamplerConfig().choose_sigma  # Å; the noise level at which `design` compares
CHUNK = 50


def energies(task: Task) -> dict[str, list[Levels | None]]:
    """Return graph energies of real rows and of each wrong version; None where it could not be made wrong."""
    whole, generator = crystals(task.table), task.generator()
    some = whole.select(torch.tensor(task.rows))
    found: dict[str, list[Levels | None]] = {"real": list(_levels(some.templates, some.geometry, generator))}
    for name in CLASSES:
        templates, geometry, wrong = _made(name)(some.templates, some.geometry, generator)
        values = _levels(templates, geometry, generator)
        found[name] = [value if yes else None for value, yes in zip(values, wrong.tolist(), strict=True)]
    return found


def _made(name: str) -> Callable[[TemplateBatch, Geometry, torch.Generator], Wrong]:
    if name == "diffused":
        return diffused
    if name == "sample":
        return lambda templates, geometry, generator: own_samples(shipped().graph, templates, geometry, generator)
    return NEGATIVES[name]


def diffused(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Return samples from pure noise, and which of them do not match the truth."""
    batch, found = from_noise(templates.unbatch(), generator)
    pairs = zip(as_structures(templates, geometry), as_structures(batch, found), strict=True)
    return batch, found, torch.tensor([match(truth, sample) is None for truth, sample in pairs])


@torch.no_grad()
def _levels(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> list[Levels]:
    """Return E / N of each system as it is, and with noise added, as in training."""
    sigma = torch.full((templates.n_systems,), LEVEL)
    both = []
    for dirty in (geometry, noised(templates, geometry, sigma, generator)[0]):
        state = expand(templates, dirty)
        both.append(energy_per_atom(shipped().graph(state, sigma), state, sigma).tolist())
    return [(round(clean, 5), round(noisy, 5)) for clean, noisy in zip(*both, strict=True)]


def scores(parts: Sequence[Mapping[str, Sequence[Levels | None]]]) -> dict[str, dict[str, float]]:
    """Return AUROC of each class against all real rows, and the share of it with energies above their originals."""
    real = [value for part in parts for value in part["real"]]
    found = {}
    for name in CLASSES:
        pairs = zip(real, (value for part in parts for value in part[name]), strict=True)
        wrong = [(own, value) for own, value in pairs if value is not None]
        if not wrong:
            continue
        clean, noisy = (
            auroc(torch.tensor([value[i] for value in real]), torch.tensor([value[i] for _, value in wrong]))
            for i in range(2)
        )
        above = fmean(value[0] > own[0] for own, value in wrong)
        found[name] = {"rows": len(wrong), "auroc": clean, "auroc_noised": noisy, "above_own": above}
    return found


def markdown(found: Mapping[str, Mapping[str, float]], n: int) -> str:
    """Return a table with one line per class, and the means."""
    rows = [
        (CLASSES[name], f["rows"], f"{f['auroc']:.3f}", percent(f["above_own"], 1), f"{f['auroc_noised']:.3f}")
        for name, f in found.items()
    ]
    means = [fmean(f[kind] for f in found.values()) for kind in ("auroc", "above_own", "auroc_noised")]
    rows.append(("mean", "", f"{means[0]:.3f}", percent(means[1], 1), f"{means[2]:.3f}"))
    header = (f"what is wrong (against {n:,} real rows)", "rows", "AUROC", "above its own original", "AUROC, noised")
    return table(header, rows)


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "evaluator", 1000).parse_args()
    whole = crystals(options.table)
    rows = ((whole.mp20_split == 1) | (whole.mp20_split == 2)).nonzero().ravel()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(options.seed))
    parts = chunks(rows[order[: options.n].sort().values], CHUNK)
    n = sum(map(len, parts))
    tasks = [Task(f"part {i}", options.table, options.seed, part) for i, part in enumerate(parts)]
    measurement = Measurement(options, {"level": LEVEL})
    found = scores(list(measurement.run(energies, tasks).values()))
    means = [fmean(f["auroc"] for name, f in found.items() if name in some) for some in (found, NEGATIVES)]
    hardest = min(found, key=lambda name: found[name]["auroc"])
    line = f"mean {means[0]:.3f} ({means[1]:.3f} without own samples); hardest: {CLASSES[hardest]}, "
    line += f"{found[hardest]['auroc']:.3f}"
    measurement.finish({"real_rows": n, "classes": found}, {"evaluator": markdown(found, n), "bar evaluator": line})


if __name__ == "__main__":
    main()
