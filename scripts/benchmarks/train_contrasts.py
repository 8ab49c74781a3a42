"""Forms of the contrast of the graph energy, the whole network trained from the shipped weights for equal steps.

`python scripts/benchmarks/train_contrasts.py --folder runs/contrast --steps 250`: as `matgen train graph_energy` does,
with a lower rate. Prints AUROC by class of negatives as a Markdown table, own samples by the network's own denoiser,
with the change from the first variant, and the errors of denoising. See `compare_contrasts.py` for the scalar alone.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from compare_contrasts import COMPARED, SAMPLE, VARIANTS, areas, energies, intervals, rows_of, show
from matgen.datasets.crystals import CrystalTable
from matgen.nn.graph_energy import GraphEnergy
from matgen.templates.expand import expand
from matgen.training.denoising import denoising_loss, noised
from matgen.training.graph_energy import GraphObjective
from matgen.training.graph_loss import GraphLoss
from matgen.training.loop import Schedule, fit
from matgen.training.properties import PropertyTargets, trainable
from matgen.weights.models import load
from shared.frozen import makers, pool

LEVELS = (0.05, 0.2, 0.5)
"""Noise at which denoising is evaluated, Å."""


@torch.no_grad()
def denoising(model: GraphEnergy, table: CrystalTable, rows: Tensor) -> list[float]:
    """Return errors of denoising of the sites over the noise, at each level."""
    generator, found = torch.Generator().manual_seed(1), []
    templates, geometry = table.batch(rows)
    for level in LEVELS:
        sigma = geometry.lattice.new_full(rows.shape, level)
        dirty, back = noised(templates, geometry, sigma, generator)
        _, parts = denoising_loss(model(expand(templates, dirty), sigma), templates, dirty, back, sigma)
        found.append(parts["dsm_sites"])
    return found


def evaluated(model: GraphEnergy, table: CrystalTable, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return E / N of real systems (n,) and of negatives, NaN where impossible (n_classes, n)."""

    def levels(count: int, _: torch.Generator) -> Tensor:
        return torch.full((count,), COMPARED)

    held = pool(model, table, rows, levels, torch.Generator().manual_seed(1), noise=False)
    return energies(model.site_energy, held)


def main() -> None:
    """Train each variant, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    parser.add_argument("--folder", type=Path, default=Path("runs/contrast"))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=300, help="to evaluate")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = CrystalTable.load(options.table)
    rows, held = trainable(table).nonzero().ravel(), rows_of(table, "val", options.rows)
    targets = PropertyTargets.of(table, rows)
    schedule = Schedule(
        steps=options.steps, minutes=600, batch_size=48, learning_rate=3e-4, warmup=20, ema=0.98, seed=options.seed
    )
    base = evaluated(load("graph_energy"), table, held)
    titles = ["contrast", "CPU-s", *makers(load("graph_energy")), "mean", "own samples: change", *map(str, LEVELS)]
    show(titles)
    show(["---"] * len(titles))
    for name in ["as shipped, no training", *options.only]:
        model, started = load("graph_energy"), time.process_time()
        if name in VARIANTS:
            variant = VARIANTS[name]
            loss = GraphLoss(form=variant.form, sample_share=variant.sample_share)
            objective = GraphObjective(table, rows, held[:48], targets, loss)
            folder = options.folder / f"{options.steps}_{options.seed}" / name.replace(" ", "_")
            model = fit(model.requires_grad_(requires_grad=True), objective, schedule, folder).eval()
        seconds = time.process_time() - started
        found = evaluated(model, table, held)
        base = found if name == options.only[0] else base
        scores, (mean, low, high) = areas(*found), intervals([found], [base])[:, SAMPLE].tolist()
        show(
            [name, f"{seconds:.0f}", *(f"{value:.3f}" for value in scores.tolist()), f"{scores.mean():.3f}"]
            + [f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"]
            + [f"{value:.3f}" for value in denoising(model, table, held)]
        )


if __name__ == "__main__":
    main()
