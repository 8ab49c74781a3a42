"""Bits that the shipped prior of templates and independent frequencies need for held-out crystals.

`python scripts/benchmarks/compare_priors.py --table cache/crystals.npz --n 4000`: random rows of the split `test`,
which share no formula with those of training. The shipped prior is given nothing. Errors are those of a bootstrap over
rows.
"""

import torch

from matgen.datasets.crystals import CrystalTable
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.nn.conditions import CRYSTAL_GRIDS, Conditions
from matgen.weights.models import load
from shared.frequency_prior import Frequencies, FrequencyPrior
from shared.options import parser
from shared.prior_bits import compared

TRAIN, TEST, AT_ONCE = 0, 2, 4096


def frequencies(table: CrystalTable) -> Frequencies:
    """Return the frequencies of the training split."""
    found = Frequencies.none()
    for rows in (table.split == TRAIN).nonzero().ravel().split(AT_ONCE):
        found = found.plus(table.batch(rows)[0])
    return found


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, "priors", n=4000).parse_args()
    table = CrystalTable.load(options.table)
    rows = (table.split == TEST).nonzero().ravel()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(options.seed))
    held_out, _ = table.batch(rows[order[: options.n]])
    priors = {
        "learned": LearnedTemplatePrior(load("template_prior"), Conditions.none(1, CRYSTAL_GRIDS)),
        "frequencies": FrequencyPrior(frequencies(table)),
    }
    found, differences = compared(priors, held_out)
    for name, one in found.items():
        print(f"{name:<12} {one.mean:6.2f} ± {one.error:.2f} bits per crystal ({one.n} of {len(rows)} test rows)")
    for name, one in differences.items():
        print(f"{name} − learned: {one.mean:.2f} ± {one.error:.2f}")


if __name__ == "__main__":
    main()
