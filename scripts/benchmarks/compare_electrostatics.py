"""Whether the electrostatic energy of formal charges helps to tell the true geometry of a composition from wrong ones.

`python scripts/benchmarks/compare_electrostatics.py --data FOLDER --n 400`: rows of the MP-20 test split whose formal
charges balance, against wrong versions of each. A pair is won if the true crystal has the lower sum of the graph energy
per atom, weighted as in ranking, and the weighted electrostatic energy per atom over 0.1 eV.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from matgen.chemistry.elements import reduced
from matgen.chemistry.formal_charges import formal_charges
from matgen.energies.electrostatic import Electrostatic
from matgen.generation.potential_term import POTENTIAL_KT
from matgen.generation.sampler_settings import SamplerConfig
from matgen.nn.graph_energy import energy_per_atom
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.training.denoising import own_samples
from matgen.training.negatives import NEGATIVES, Wrong
from shared.crystals import chunks, crystals, shipped
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

CLASSES = {
    "volume": "volume 15–25 % off",
    "shape": "cell shape off",
    "displaced": "atoms displaced",
    "swapped": "two elements exchanged",
    "sample": "own samples",
}
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
TEST, CHUNK = 2, 50


def pairs(task: Task) -> dict[str, list[tuple[float, float, float, float]]]:
    """Return graph and electrostatic energies per atom of the true and of the wrong crystal, by class."""
    whole, generator = crystals(task.table), task.generator()
    some = whole.select(torch.tensor(task.rows))
    true = _energies(some.templates, some.geometry)
    found = {}
    for name in CLASSES:
        templates, geometry, wrong = _made(name)(some.templates, some.geometry, generator)
        false = _energies(templates, geometry)
        rows = torch.cat([true, false], dim=1)[wrong & true.isfinite().all(1) & false.isfinite().all(1)]
        found[name] = [tuple(round(x, 5) for x in row) for row in rows.tolist()]
    return found


def _made(name: str) -> Callable[[TemplateBatch, Geometry, torch.Generator], Wrong]:
    if name == "sample":
        return lambda templates, geometry, generator: own_samples(shipped().graph, templates, geometry, generator)
    return NEGATIVES[name]


@torch.no_grad()
def _energies(templates: TemplateBatch, geometry: Geometry) -> Tensor:
    """Graph energy and electrostatic energy over kT, per atom (n_systems, 2)."""
    sigma = torch.full((templates.n_systems,), SamplerConfig().choose_sigma)
    state = expand(templates, geometry)
    graph = energy_per_atom(shipped().graph(state, sigma), state, sigma)
    return torch.stack([graph, Electrostatic(POTENTIAL_KT)(state, sigma)], dim=1)


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "electrostatics", n=400).parse_args()
    whole = crystals(options.table)
    rows = (whole.mp20_split == TEST).nonzero().ravel()
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(options.seed))]
    charged = [
        row
        for row, template in zip(rows.tolist(), whole.batch(rows)[0].unbatch(), strict=True)
        if formal_charges(reduced(template.composition)) is not None
    ]
    tasks = [
        Task(f"part {i}", options.table, options.seed, part)
        for i, part in enumerate(chunks(torch.tensor(charged[: options.n]), CHUNK))
    ]
    measurement = Measurement(options, {"weights": WEIGHTS})
    parts = list(measurement.run(pairs, tasks).values())
    lines, figures = [], {}
    for weight in WEIGHTS:
        won = {name: _won([row for part in parts for row in part[name]], weight) for name in CLASSES}
        figures[str(weight)] = won
        lines.append((f"{weight:g}", *(percent(*won[name]) for name in CLASSES)))
    counts = ", ".join(f"{CLASSES[name]} {figures['0.0'][name][1]}" for name in CLASSES)
    print(f"pairs: {counts}")
    measurement.finish(figures, {"electrostatics": table(("weight", *CLASSES.values()), lines)})


def _won(rows: list[tuple[float, float, float, float]], weight: float) -> tuple[int, int]:
    """Pairs in which the true crystal has the lower energy, and all pairs."""
    scale = SamplerConfig().rank_graph
    won = sum(scale * g + weight * e < scale * wrong_g + weight * wrong_e for g, e, wrong_g, wrong_e in rows)
    return won, len(rows)


if __name__ == "__main__":
    main()
