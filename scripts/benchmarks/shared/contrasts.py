"""Forms of the contrast of the graph energy that are compared, and the figures of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from matgen.datasets.crystals import CrystalTable
from matgen.training.contrast import ContrastForm
from matgen.training.graph_energy import auroc
from matgen.training.properties import trainable
from shared.frozen import Pool

LOW, COMPARED = (0.02, 0.1), 0.1
"""Noise of training, and the level at which `design` compares, Å."""

SPLITS = ("train", "val", "test")
REPLICAS = 400
SAMPLE = 5
"""Place of own samples among the classes."""


@dataclass(frozen=True)
class Variant:
    """A form of the contrast.

    Attributes:
        form: of the loss.
        sample_share: share of own samples among the negatives.
        scored_again: score the negatives of a queue by the head as it is now, with gradients.
    """

    form: ContrastForm = field(default_factory=ContrastForm)
    sample_share: float = 0.25
    scored_again: bool = False


VARIANTS = {
    "logistic (ships)": Variant(),
    "logistic, 4 negatives": Variant(ContrastForm(negatives=4)),
    "logistic, 60 % own samples": Variant(sample_share=0.6),
    "logistic, 4 negatives, 60 % own samples": Variant(ContrastForm(negatives=4), sample_share=0.6),
    "InfoNCE, 1 negative, T = 1": Variant(ContrastForm("infonce")),
    "InfoNCE, 4 negatives, T = 1": Variant(ContrastForm("infonce", negatives=4)),
    "InfoNCE, 4 negatives, T = 0.5": Variant(ContrastForm("infonce", temperature=0.5, negatives=4)),
    "InfoNCE, 4 negatives, T = 2": Variant(ContrastForm("infonce", temperature=2.0, negatives=4)),
    "InfoNCE, 1 negative, queue of 1,024": Variant(ContrastForm("infonce", queue=1024)),
    "InfoNCE, 4 negatives, queue of 1,024": Variant(ContrastForm("infonce", negatives=4, queue=1024)),
    "InfoNCE, 1 negative, queue of 1,024 scored again": Variant(ContrastForm("infonce", queue=1024), scored_again=True),
    "InfoNCE, 4 negatives, queue of 1,024 scored again": Variant(
        ContrastForm("infonce", negatives=4, queue=1024), scored_again=True
    ),
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


def energies(head: nn.Module, some: Pool) -> tuple[Tensor, Tensor]:
    """Return E / N of real systems (n_real,), and of negatives, NaN where impossible (n_classes, n_real)."""
    counts, others = some.real.counts, some.false.counts
    real = some.real.levels(head, torch.arange(len(counts), device=counts.device))
    false = some.false.levels(head, torch.arange(len(others), device=others.device)).reshape(-1, len(counts))
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


def above_own(real: Tensor, false: Tensor) -> float:
    """Return the share of negatives of a class, NaN where impossible, that lie above the one they were made from."""
    possible = ~false.isnan()
    return float((false > real)[possible].double().mean())


def show(cells: Sequence[str]) -> None:
    """Print a row of the table."""
    print(f"| {' | '.join(cells)} |", flush=True)
