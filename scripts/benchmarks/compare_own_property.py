"""Error of a property that a few rows teach, beside two simple baselines.

`python scripts/benchmarks/compare_own_property.py FOLDER cache/crystals.npz`: three published properties are held back
from the hidden layer of the property heads, and learned from 50, 200 and 1,000 rows of the split `train`, as `matgen
train property` learns a column. Errors are means over draws of those rows, on all rows of the split `test`, which
shares no formula with the others. The baselines are the mean of the rows, and a random forest on the composition.
Enrichment is how many times as often as at random the highest 5 % by label are among the highest 5 % by prediction.
"""

import argparse
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor

from matgen.learning.own_property import TREES
from matgen.nn.embedding_heads import EmbeddingHeads, HeadsConfig
from matgen.targets.learned import LEARNED
from matgen.training.embedding_heads import fit_ridge, fit_together, ridge_features
from shared.page import table

BUILD = Path(__file__).resolve().parents[1] / "build" / "build_property_heads.py"
HELD_BACK, SIZES, DRAWS = ("debye_temperature", "refractive_index", "phonon_peak"), (50, 200, 1000), 5
HITS = 0.05
READS = "structure_properties"


def main() -> None:
    """Fit, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the training tables")
    parser.add_argument("table", type=Path, help="the prepared one")
    parser.add_argument("--cache", type=Path, help="file that keeps the embeddings")
    asked = parser.parse_args()
    build = runpy.run_path(str(BUILD))
    rows = build["labelled_rows"](asked.folder, asked.table, asked.cache)
    base = without_held_back(rows, build["HIDDEN"], build["EPOCHS"])
    lines = []
    for name in HELD_BACK:
        for line in compared(rows, base, name):
            print(*line, flush=True)
            lines.append(line)
    errors_of = ("MAE of log10: heads", "forest", "mean", "draws where heads are best")
    heads = ("property", "rows", "test rows", *errors_of, "enrichment: heads", "forest")
    print(table(heads, lines))


def without_held_back(rows: Any, hidden: int, epochs: int) -> EmbeddingHeads:
    """Return heads whose hidden layer is trained for the other properties."""
    names = [name for name in LEARNED if name not in HELD_BACK]
    embedded, train = rows.embedded[READS], rows.split == 0
    known = rows.labels[:, [list(LEARNED).index(name) for name in names]].log10()
    seen = [column[train & column.isfinite()] for column in known.T]
    centre, spread = torch.stack([y.mean() for y in seen]), torch.stack([y.std() for y in seen])
    torch.manual_seed(0)
    n = len(names)
    size = HeadsConfig(len(embedded), embedded.shape[2], hidden, tuple(names), (True,) * n, (0.0,) * n, (1.0,) * n)
    base, some = EmbeddingHeads(size), train & known.isfinite().any(1)
    fit_together(base, embedded[:, some], ((known - centre) / spread)[some].float(), epochs)
    return base


def compared(rows: Any, base: EmbeddingHeads, name: str) -> Iterator[tuple[str, ...]]:
    """Yield a line of the table for each number of rows."""
    labels = rows.labels[:, list(LEARNED).index(name)].log10().double()
    teach, test = (((rows.split == split) & labels.isfinite()).nonzero().ravel() for split in (0, 2))
    for n in dict.fromkeys(min(n, len(teach)) for n in SIZES):
        guesses = torch.stack([predicted(rows, base, labels, drawn(teach, n, seed), test) for seed in range(DRAWS)])
        found = (guesses - labels[test]).abs().mean(2)
        best = int((found[:, 0] < found[:, 1:].amin(1)).sum())
        hits = [enrichment(guesses[:, place], labels[test]) for place in (0, 1)]
        means = (f"{one:.3f}" for one in found.mean(0).tolist())
        yield name, f"{n:,}", f"{len(test):,}", *means, f"{best} of {DRAWS}", *(f"{one:.1f}" for one in hits)


def enrichment(guesses: Tensor, labels: Tensor) -> float:
    """Return how many times as often as at random the highest labels (n,) are among the highest guesses (draws, n)."""
    n = round(HITS * len(labels))
    highest = set(labels.topk(n).indices.tolist())
    shares = [len(highest & set(guess.topk(n).indices.tolist())) / n for guess in guesses]
    return sum(shares) / len(shares) / (n / len(labels))


def drawn(rows: Tensor, n: int, seed: int) -> Tensor:
    """Return n of the rows at random."""
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:n]]


def predicted(rows: Any, base: EmbeddingHeads, labels: Tensor, seen: Tensor, test: Tensor) -> Tensor:
    """Return what heads, forest and mean say of test rows (3, n_test)."""
    embedded, own = rows.embedded[READS], labels[seen]
    mean, spread = own.mean(), own.std()
    groups = [rows.formulas[row] for row in seen.tolist()]
    ridge = fit_ridge(ridge_features(base, embedded[:, seen]), (own - mean) / spread, groups)
    by_heads = ridge.predict(ridge_features(base, embedded[:, test])).mean(0) * spread + mean
    forest = RandomForestRegressor(TREES, max_features=1 / 3, random_state=0).fit(rows.composition[seen], own)
    by_forest = torch.from_numpy(forest.predict(rows.composition[test]))
    return torch.stack([by_heads, by_forest, mean.expand(len(test))])


if __name__ == "__main__":
    main()
