"""Training rows that are shown again while heads are refitted, and validation rows that show what was forgotten."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from matgen.datasets.crystals import CrystalTable
from matgen.nn.ensemble import Ensemble
from matgen.runtime.progress import Report
from matgen.training.properties import trainable
from matgen.training.refit import GapLabels, read_by_heads
from matgen.training.structure_properties import Neighbourhoods
from matgen.training.tables import read_table


@dataclass(frozen=True)
class LearnConfig:
    """Settings of learning.

    Attributes:
        weights: folder of weights to begin from; the shipped ones if left out.
        data: prepared table whose training rows are shown again; none if left out.
        replay: number of these rows.
        weight: weight of a verified gap, in training rows.
        seed: of the choice among them.
    """

    weights: Path | None = None
    data: Path | None = None
    replay: int = 1000
    weight: float = 10.0
    seed: int = 0


def training_rows(model: Ensemble, config: LearnConfig, report: Report) -> tuple[GapLabels, GapLabels]:
    """Return training rows to show again, and validation rows for comparison; both empty without a table."""
    width = model.config.hidden
    nothing = torch.zeros(0, dtype=torch.float64)
    empty = GapLabels(torch.zeros(len(model.members), 0, width), nothing, nothing)
    if config.data is None:
        return empty, empty
    table = read_table(config.data, CrystalTable)
    known = torch.isfinite(table.label("band_gap"))
    generator = torch.Generator().manual_seed(config.seed)
    train = _sample((trainable(table) & known).nonzero().ravel(), config.replay, generator)
    val = _sample(((table.mp20_split == 1) & known).nonzero().ravel(), config.replay, generator)
    found = []
    for name, rows in (("show again", train), ("compare", val)):
        if not len(rows):
            found.append(empty)
            continue
        neighbourhoods = Neighbourhoods.of(table, rows, model.config.trunk.cutoff)
        parts = []
        for chunk in torch.arange(len(rows)).split(64):
            parts.append(read_by_heads(model, neighbourhoods.select(chunk)))
            report(name, int(chunk[-1]) + 1, len(rows))
        gap = table.label("band_gap")[rows].double()
        found.append(GapLabels(torch.cat(parts, dim=1), gap, torch.full_like(gap, 1 / config.weight)))
    return found[0], found[1]


def _sample(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:n]]
