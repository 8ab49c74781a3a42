"""Write matgen/screening/domain.json: quantiles of the graph energy per atom over real crystals.

`python scripts/build/build_domain.py`: all crystals of the validation split of the prepared table (`matgen data
prepare`).
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.nn.graph_energy import energy_per_atom
from matgen.screening.domain import FILE, Domain
from matgen.templates.expand import expand
from matgen.templates.noise import CLEAN
from matgen.weights.files import info
from matgen.weights.models import load

LEVELS = (0.0, 0.001, 0.005, *(i / 100 for i in range(1, 100)), 0.995, 0.999, 1.0)
BATCH = 64


@torch.no_grad()
def energies(table: CrystalTable) -> torch.Tensor:
    """Return the graph energy per atom (n,) of each crystal."""
    model, found = load("graph_energy"), []
    for rows in torch.arange(len(table)).split(BATCH):
        some = table.select(rows)
        state = expand(some.templates, some.geometry)
        sigma = torch.full((len(rows),), CLEAN)
        found.append(energy_per_atom(model(state, sigma), state, sigma))
    return torch.cat(found)


def main() -> None:
    """Compute and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    table = CrystalTable.load(options.parse_args().table)
    some = table.select((table.split == SPLITS.index("val")).nonzero().ravel())
    values = energies(some).double()
    quantiles = torch.quantile(values, torch.tensor(LEVELS, dtype=torch.float64))
    domain = Domain(
        weights=info("graph_energy").sha256,
        source="Materials Project crystals of up to 20 atoms, validation split",
        rows=len(some),
        sigma=CLEAN,
        levels=LEVELS,
        energies=tuple(round(value, 5) for value in quantiles.tolist()),
    )
    FILE.write_text(json.dumps(asdict(domain), indent=1) + "\n", encoding="utf-8")
    print(f"{len(some)} crystals; out of domain above {domain.limit:.3f}; median {domain.energies[52]:.3f}")


if __name__ == "__main__":
    main()
