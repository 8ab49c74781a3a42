"""Ablation of the graph energy by short trainings of equal duration, one after the other.

`python scripts/benchmarks/compare_graph_energies.py cache/crystals.npz --minutes 4`: prints a Markdown table.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from matgen.datasets.crystals import CrystalTable
from matgen.nn.graph_energy import GraphEnergy, GraphEnergyConfig
from matgen.nn.trunk import TrunkConfig
from matgen.training.graph_energy import GraphObjective
from matgen.training.graph_loss import GraphLoss
from matgen.training.loop import Schedule, fit
from matgen.training.properties import PropertyTargets, trainable

BASE = TrunkConfig(channels=64, layers=3)
VARIANTS: dict[str, tuple[TrunkConfig, GraphLoss]] = {
    "direct + contrast, l ≤ 2": (BASE, GraphLoss()),
    "l ≤ 1": (replace(BASE, highest_degree=1), GraphLoss()),
    "conservative + contrast": (BASE, GraphLoss(direct=0.0, conservative=1.0)),
    "direct + conservative": (BASE, GraphLoss(conservative=0.5)),
    "32 channels": (replace(BASE, channels=32), GraphLoss()),
    "2 layers": (replace(BASE, layers=2), GraphLoss()),
    "σ median 0.6 Å": (BASE, GraphLoss(median_sigma=0.6)),
    "no contrast": (BASE, GraphLoss(contrast=0.0)),
}
SHOWN = (
    "dsm_sites_0.05",
    "dsm_sites_0.2",
    "dsm_sites_0.5",
    "dsm_lattice_0.5",
    "auroc",
    "mae_band_gap",
    "mae_formation_energy",
)


def main() -> None:
    """Train and validate each variant, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = CrystalTable.load(options.table)
    rows, val_rows = trainable(table).nonzero().ravel(), (table.split == 1).nonzero().ravel()[::36]
    objective = GraphObjective(table, rows, val_rows, PropertyTargets.of(table, rows))
    schedule = Schedule(steps=10**6, minutes=options.minutes, batch_size=48, learning_rate=2e-3, validate_every=10**6)
    print("| variant | steps |", " | ".join(SHOWN), "|\n|" + "---|" * (len(SHOWN) + 2))
    for name in options.only:
        trunk, loss = VARIANTS[name]
        objective.weights = loss
        torch.manual_seed(0)
        with TemporaryDirectory() as folder:
            model = fit(GraphEnergy(GraphEnergyConfig(trunk)), objective, schedule, Path(folder))
            steps = json.loads((Path(folder) / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        figures = objective.validate(model.eval())
        print(f"| {name} | {steps} |", " | ".join(f"{figures[key]:.3f}" for key in SHOWN), "|", flush=True)


if __name__ == "__main__":
    main()
