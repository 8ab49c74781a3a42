"""Forms of the contrast of the graph energy, each trained from the shipped weights for the same number of steps.

`python scripts/benchmarks/compare_contrasts.py --table cache/crystals.npz --folder runs/contrast`: the head of the
scalar alone, trunk and denoiser fixed, so that own samples stay the same and each row of a table is compared with
itself. Pools of systems are computed once and kept in the folder. Prints AUROC by class of negatives as a Markdown
table, and the difference to the logistic contrast with 95 % intervals.
"""

import argparse
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn

from evaluate_geometry import ten_candidates
from matgen.datasets.crystals import CrystalTable
from matgen.runtime.random import uniform
from matgen.training.contrast import Levels, contrast_loss, reality
from matgen.training.graph_energy import auroc
from matgen.weights.models import load
from shared.contrasts import (
    COMPARED,
    LOW,
    SAMPLE,
    SPLITS,
    VARIANTS,
    Variant,
    above_own,
    areas,
    energies,
    intervals,
    rows_of,
    show,
)
from shared.crystals import as_structures, match
from shared.frozen import Candidates, Pool, Systems, makers, pool, read
from shared.page import table as page_table

BATCH, LEARNING_RATE = 256, 1e-3
UNSTABLE = 0.02
"""Energy above the hull of the rows that are told from those on it, eV/atom."""


def kept_pool(folder: Path, table: CrystalTable, split: str, n: int) -> tuple[Pool, Tensor]:
    """Return the pool of a split and its rows, computed once; noised for training alone."""
    file = folder / f"{split}_{n}.pt"
    if not file.exists():
        rows = rows_of(table, split, n)
        rows = rows[table.n_atoms[rows].argsort()]
        generator = torch.Generator().manual_seed(SPLITS.index(split))
        training = split == "train"

        def levels(count: int, random: torch.Generator) -> Tensor:
            like = torch.zeros(1)
            low, high = LOW if training else (COMPARED, COMPARED)
            return low * (high / low) ** uniform((count,), random, like)

        found = pool(load("graph_energy"), table, rows, levels, generator, noise=training)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save((found, rows), file)
    found, rows = torch.load(file, weights_only=False)
    return found, rows


def kept_candidates(folder: Path, table: CrystalTable, split: str, n: int) -> Candidates:
    """Return ten candidates for each of n rows, as the ranking of `evaluate_geometry.py` has them, computed once."""
    file = folder / f"candidates_{split}_{n}.pt"
    if not file.exists():
        parts, owner, hit = [], [], []
        for number, chunk in enumerate(rows_of(table, split, n).split(25)):
            some = table.select(chunk)
            generator = torch.Generator().manual_seed(number)
            batch, geometry, owners, _ = ten_candidates(some.templates.unbatch(), generator)
            truths, found = as_structures(some.templates, some.geometry), as_structures(batch, geometry)
            parts.append(read(load("graph_energy"), batch, geometry, torch.full((batch.n_systems,), COMPARED)))
            owner += [25 * number + one for one in owners]
            hit += [match(truths[i], one) is not None for i, one in zip(owners, found, strict=True)]
        torch.save(Candidates(Systems.joined(parts), torch.tensor(owner), torch.tensor(hit)), file)
    candidates: Candidates = torch.load(file, weights_only=False)
    return candidates


def trained(head: nn.Module, some: Pool, above_hull: Tensor, variant: Variant, steps: int, seed: int) -> nn.Module:
    """Return the head after training on a pool; Adam, with a rate that falls to zero on a cosine.

    Args:
        head: from which training begins.
        some: real systems and negatives.
        above_hull: energies above the hull of the real systems, NaN where unknown (n_real,), eV/atom.
        variant: form of the contrast, and share of own samples.
        steps: of BATCH real systems each.
        seed: of the batches.
    """
    head, form = deepcopy(head).requires_grad_(requires_grad=True), variant.form
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator, n = torch.Generator().manual_seed(seed), len(some.real.counts)
    shares = torch.tensor([(1 - variant.sample_share - form.adversarial_share) / 5] * 5)
    shares = torch.cat([shares, torch.tensor([variant.sample_share, form.adversarial_share])])
    past, queue = torch.zeros(0), torch.zeros(0, dtype=torch.long)
    for _ in range(steps):
        rows = torch.randint(n, (BATCH,), generator=generator)
        owner = torch.arange(BATCH).repeat(form.negatives)
        kind = torch.multinomial(shares, len(owner), replacement=True, generator=generator)
        yes = some.possible[kind, rows[owner]]
        owner, kind = owner[yes], kind[yes]
        wrong = kind * n + rows[owner]
        real, false = some.real.levels(head, rows), some.false.levels(head, wrong)
        past = some.false.levels(head, queue) if variant.scored_again else past
        apart = (false - some.false.residual[wrong]) - (real - some.real.residual[rows])[owner]
        loss = contrast_loss(Levels(real, false, owner, apart, reality(above_hull[rows], form.soft), past), form)
        if form.queue:
            past, queue = torch.cat([past, false.detach()])[-form.queue :], torch.cat([queue, wrong])[-form.queue :]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return head.requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class Held:
    """What the heads are evaluated on.

    Attributes:
        pool: real systems and negatives, none with noise.
        above_hull: energies above the hull of the real systems (n_real,), eV/atom.
        candidates: for the ranking.
    """

    pool: Pool
    above_hull: Tensor
    candidates: Candidates


def line(heads: Sequence[nn.Module], base: Sequence[nn.Module], held: Held) -> list[str]:
    """Return the figures of a variant, means over seeds: AUROC by class and their mean, change, hull, ranking."""
    found, others = ([energies(head, held.pool) for head in some] for some in (heads, base))
    scores = torch.stack([areas(*one) for one in found])
    change = intervals(found, others)[:, SAMPLE].tolist()
    unstable, stable = held.above_hull > UNSTABLE, held.above_hull <= 0
    hull = [auroc(real[stable], real[unstable]) for real, _ in found]
    hits = torch.stack([held.candidates.chosen(head) for head in heads]).double()
    gained = hits - torch.stack([held.candidates.chosen(head) for head in base]).double()
    error = gained.mean(0).std() / gained.shape[1] ** 0.5
    return [
        *(f"{value:.3f}" for value in scores.mean(0).tolist()),
        f"{scores.mean():.3f}",
        f"{change[0]:+.4f} ({change[1]:+.4f} to {change[2]:+.4f})",
        f"{scores[:, SAMPLE].std(correction=0):.4f}",
        f"{100 * fmean(above_own(real, false[SAMPLE]) for real, false in found):.1f} %",
        f"{fmean(hull):.3f}",
        f"{100 * hits.mean():.1f} % ({100 * gained.mean():+.1f} ± {196 * error:.1f})",
    ]


def header(held: Held) -> list[str]:
    """Return the titles of the columns, with denominators."""
    counts = held.pool.possible.sum(1).tolist()
    names = [f"{name} ({n})" for name, n in zip(makers(load("graph_energy")), counts, strict=True)]
    hull = f"hull ({int((held.above_hull <= 0).sum())}, {int((held.above_hull > UNSTABLE).sum())})"
    rows = len(held.candidates.owner.unique())
    return [
        "contrast",
        *names,
        "mean",
        "own samples: change",
        "spread over seeds",
        "above their originals",
        hull,
        f"best of ten ({rows})",
    ]


def main() -> None:
    """Train all variants, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    parser.add_argument("--folder", type=Path, default=Path("runs/contrast"))
    parser.add_argument("--split", choices=SPLITS[1:], default="val")
    parser.add_argument("--rows", type=int, nargs=3, default=(2000, 500, 100), help="to train, to evaluate, to rank")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table, above = CrystalTable.load(options.table), "energy_above_hull"
    n_train, n_held, n_ranked = options.rows
    train, train_rows = kept_pool(options.folder, table, "train", n_train)
    some, rows = kept_pool(options.folder, table, options.split, n_held)
    held = Held(some, table.label(above)[rows], kept_candidates(options.folder, table, options.split, n_ranked))
    shipped, labels = load("graph_energy").site_energy, table.label(above)[train_rows]
    base: list[nn.Module] = []
    print(page_table(header(held), []))
    for name in options.only:
        seconds, variant = time.process_time(), VARIANTS[name]
        heads = [trained(shipped, train, labels, variant, options.steps, seed) for seed in range(options.seeds)]
        seconds = (time.process_time() - seconds) / options.seeds
        if not base:
            base = heads
            show(["as shipped, no training", *line([shipped] * options.seeds, base, held)])
        show([f"{name}, {seconds:.0f} CPU-s", *line(heads, base, held)])


if __name__ == "__main__":
    main()
