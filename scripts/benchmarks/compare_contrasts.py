"""Forms of the contrast of the graph energy, each trained from the shipped weights for the same number of steps.

`python scripts/benchmarks/compare_contrasts.py --table cache/crystals.npz --folder runs/contrast`: the head of the
scalar alone, trunk and denoiser fixed, so that own samples stay the same and each row of a table is compared with
itself. Pools of systems are computed once and kept in the folder. Prints AUROC by class of negatives as a Markdown
table, and the difference to the logistic contrast with 95 % intervals.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn

from matgen.datasets.crystals import CrystalTable
from matgen.runtime.random import uniform
from matgen.training.contrast import ContrastForm, Levels, contrast_loss, reality
from matgen.training.graph_energy import auroc
from matgen.training.properties import trainable
from matgen.weights.models import load
from shared.frozen import Pool, makers, pool
from shared.page import table as page_table

LOW, COMPARED = (0.02, 0.1), 0.1
"""Noise of training, and the level at which `design` compares, Å."""

SPLITS = ("train", "val", "test")
BATCH, LEARNING_RATE = 256, 1e-3
REPLICAS = 400


@dataclass(frozen=True)
class Variant:
    """A form of the contrast, and the share of own samples among the negatives."""

    form: ContrastForm = field(default_factory=ContrastForm)
    sample_share: float = 0.25


VARIANTS = {
    "logistic (ships)": Variant(),
    "logistic, 4 negatives": Variant(ContrastForm(negatives=4)),
    "logistic, 60 % own samples": Variant(sample_share=0.6),
    "InfoNCE, 1 negative, T = 1": Variant(ContrastForm("infonce")),
    "InfoNCE, 4 negatives, T = 1": Variant(ContrastForm("infonce", negatives=4)),
    "InfoNCE, 4 negatives, T = 0.5": Variant(ContrastForm("infonce", temperature=0.5, negatives=4)),
    "InfoNCE, 4 negatives, T = 2": Variant(ContrastForm("infonce", temperature=2.0, negatives=4)),
    "InfoNCE, 1 negative, queue of 1,024": Variant(ContrastForm("infonce", queue=1024)),
    "InfoNCE, 4 negatives, queue of 1,024": Variant(ContrastForm("infonce", negatives=4, queue=1024)),
    "soft labels, 0.1 eV/atom": Variant(ContrastForm(soft=0.1)),
    "soft labels, 0.5 eV/atom": Variant(ContrastForm(soft=0.5)),
    "25 % adversarial": Variant(ContrastForm(adversarial_share=0.25)),
    "bound 2": Variant(ContrastForm(bound=2.0)),
    "bound 5": Variant(ContrastForm(bound=5.0)),
}


def rows_of(table: CrystalTable, split: str, n: int) -> Tensor:
    """Return random rows: training rows, or rows of MP-20 validation or test (n,)."""
    masks = {"train": trainable(table), "val": table.mp20_split == 1, "test": table.mp20_split == 2}
    rows = masks[split].nonzero().ravel()
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:n]]


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
    past = torch.zeros(0)
    for _ in range(steps):
        rows = torch.randint(n, (BATCH,), generator=generator)
        owner = torch.arange(BATCH).repeat(form.negatives)
        kind = torch.multinomial(shares, len(owner), replacement=True, generator=generator)
        yes = some.possible[kind, rows[owner]]
        owner, kind = owner[yes], kind[yes]
        real, false = some.real.levels(head, rows), some.false.levels(head, kind * n + rows[owner])
        loss = contrast_loss(Levels(real, false, owner, reality(above_hull[rows], form.soft), past), form)
        past = torch.cat([past, false.detach()])[-form.queue :] if form.queue else past
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return head.requires_grad_(requires_grad=False)


def energies(head: nn.Module, some: Pool) -> tuple[Tensor, Tensor]:
    """Return E / N of real systems (n_real,), and of negatives, NaN where impossible (n_classes, n_real)."""
    n = len(some.real.counts)
    real = some.real.levels(head, torch.arange(n))
    false = some.false.levels(head, torch.arange(len(some.false.counts))).reshape(-1, n)
    return real, false.where(some.possible, torch.nan)


def areas(real: Tensor, false: Tensor) -> Tensor:
    """Return the AUROC of each class of negatives (n_classes,)."""
    return torch.tensor([auroc(real, some[~some.isnan()]) for some in false], dtype=torch.float64)


def intervals(found: Sequence[tuple[Tensor, Tensor]], base: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return mean and 95 % interval of the difference in AUROC (3, n_classes) over rows and seeds by the bootstrap.

    Args:
        found: energies of a variant by seed.
        base: of the variant that it is compared with, likewise.
    """
    generator, n = torch.Generator().manual_seed(0), len(found[0][0])
    replicas = []
    for _ in range(REPLICAS):
        rows, seeds = (torch.randint(k, (k,), generator=generator) for k in (n, len(found)))
        seed = int(seeds[0])
        replicas.append(areas(*(e[..., rows] for e in found[seed])) - areas(*(e[..., rows] for e in base[seed])))
    values = torch.stack(replicas)
    mean = torch.stack([areas(*a) - areas(*b) for a, b in zip(found, base, strict=True)]).mean(0)
    return torch.stack([mean, *values.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)])


def main() -> None:
    """Train all variants, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    parser.add_argument("--folder", type=Path, default=Path("runs/contrast"))
    parser.add_argument("--split", choices=SPLITS[1:], default="val")
    parser.add_argument("--rows", type=int, nargs=2, default=(2000, 500), help="for training, for evaluation")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = CrystalTable.load(options.table)
    train, train_rows = kept_pool(options.folder, table, "train", options.rows[0])
    held, _ = kept_pool(options.folder, table, options.split, options.rows[1])
    head = load("graph_energy").site_energy
    above = table.label("energy_above_hull")[train_rows]
    found = {"shipped, no training": [energies(head, held)] * options.seeds}
    for name in options.only:
        heads = (trained(head, train, above, VARIANTS[name], options.steps, s) for s in range(options.seeds))
        found[name] = [energies(one, held) for one in heads]
    print(markdown(found, options.only[0], held.possible.sum(1).tolist()))


def markdown(found: Mapping[str, Sequence[tuple[Tensor, Tensor]]], base: str, counts: Iterable[int]) -> str:
    """Return the table of all variants."""
    names = [f"{name} ({n})" for name, n in zip(makers(load("graph_energy")), counts, strict=True)]
    rows = []
    for name, some in found.items():
        scores = torch.stack([areas(*one) for one in some])
        change = intervals(some, found[base])[:, 5]
        spread = scores[:, 5].std().item() if len(some) > 1 else 0.0
        shown = [f"{value:.3f}" for value in scores.mean(0).tolist()]
        mean = f"{fmean(scores.mean(0).tolist()):.3f}"
        rows.append((name, *shown, mean, f"{spread:.4f}", f"{change[0]:+.4f} ({change[1]:+.4f} to {change[2]:+.4f})"))
    header = ("contrast", *names, "mean", "own samples: spread over seeds", f"own samples: change from {base}")
    return page_table(header, rows)


if __name__ == "__main__":
    main()
