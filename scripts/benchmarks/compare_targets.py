"""How often the evaluator confirms a target gap, by the weights of chemical distance and of the target.

`python scripts/benchmarks/compare_targets.py`: for each pair of weights the templates that `matgen design --bandgap
1.5 -n 20` would propose, each with the geometry of its nearest shipped prototype (no diffusion, no refinement), by
predictor and evaluator.
"""

import argparse
import time

import torch
from torch import Tensor

from matgen.generation.kinds.crystals import Crystals
from matgen.generation.predictors import Predictor, by_structure
from matgen.generation.propose import propose
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig
from matgen.runtime.progress import Silence
from matgen.targets.distributions import median
from matgen.targets.properties import PROPERTIES
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.weights.models import load
from shared.crystals import shipped
from shared.page import percent, table

PAIRS = ((0.0, 3.0), (2.0, 3.0), (0.0, 1.5), (2.0, 1.5))
"""Weights of chemical distance and of the target."""

SUREST = 30
CHUNK = 48


def on_prototypes(request: Request) -> tuple[TemplateBatch, Geometry]:
    """Return proposed templates of a known Wyckoff layout, with the geometry of their nearest prototype."""
    library = shipped().library
    found = propose(
        request, Crystals(request, shipped()), torch.Generator().manual_seed(request.search.seed), Silence()
    )
    known = [(TemplateBatch.of([t]), matches[0].geometry) for t in found if (matches := library.nearest(t, 1))]
    return concatenated(known)


@torch.no_grad()
def predictions(templates: TemplateBatch, geometry: Geometry, gap: float, tolerance: float) -> tuple[Tensor, ...]:
    """Return gap by predictor, its probability within the tolerance, and gap by evaluator, each (n_systems,)."""
    predictor, evaluator = Predictor(shipped().graph, by_structure(shipped().structures)), load("evaluator")
    parts = []
    for some in torch.arange(templates.n_systems).split(CHUNK):
        batch = templates.select(some)
        state = expand(batch, geometry.select(templates, some))
        predicted = predictor.distributions(batch, state)["band_gap"]
        chance = predicted.log_between(torch.tensor(gap - tolerance), torch.tensor(gap + tolerance)).exp()
        parts.append((median(predicted), chance, median(evaluator(state)["band_gap"])))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gap", type=float, default=1.5, help="eV")
    options.add_argument("--seed", type=int, default=11)
    options.add_argument("--n", type=int, default=20, help="candidates of the request")
    given = options.parse_args()
    torch.set_num_threads(1)
    tolerance, rows = PROPERTIES["band_gap"].tolerance, []
    for chemical_distance, target in PAIRS:
        began = time.process_time()
        sampler = SamplerConfig(chemical_distance=chemical_distance, target=target)
        request = Request.of(targets={"band_gap": given.gap}, n=given.n, seed=given.seed, sampler=sampler)
        predictor, chance, evaluator = predictions(*on_prototypes(request), given.gap, tolerance)
        hit, met = (evaluator - given.gap).abs() <= tolerance, (predictor - given.gap).abs() <= tolerance
        surest = chance.argsort(descending=True)[:SUREST]
        groups = [torch.ones_like(hit).nonzero().ravel(), met.nonzero().ravel(), surest]
        cells = [f"{percent(int(hit[g].sum()), len(g))} of {len(g)}, {evaluator[g].mean():.2f} eV" for g in groups]
        rows.append((f"{chemical_distance:g}", f"{target:g}", *cells, f"{time.process_time() - began:.0f}"))
        print(rows[-1])
    words = ("all", "predictor within the tolerance", f"the {SUREST} of highest probability")
    print(table(("chemical distance", "target", *(f"evaluator agrees, its mean: {w}" for w in words), "s"), rows))


if __name__ == "__main__":
    main()
