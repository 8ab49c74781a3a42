"""A property of the user's own: held-out error, learning curve, baselines, and heads fitted to all rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor

from matgen.training.embedding_heads import (
    FOLDS,
    TEMPERATURES,
    Ridge,
    covered,
    fit_ridge,
    folds,
    mixture,
)

SHARES = (0.25, 0.5)
"""Of the rows that are seen, for the learning curve, beside all of them."""

TREES = 200

Done = Callable[[int], None]
"""Hears how many fits are done."""


@dataclass(frozen=True)
class Errors:
    """Errors on held-out rows, each of which was held out once, with all rows of its formula.

    Attributes:
        mae: mean absolute error; of logarithms in decades.
        mean: of the mean of the rows that were seen.
        forest: of a random forest on statistics of the composition.
        coverage: share of the rows within the interval of 90 %.
        curve: number of rows that were seen, and error.
    """

    mae: float
    mean: float
    forest: float
    coverage: float
    curve: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Fit:
    """A regression on the embeddings by one kind of network.

    Attributes:
        ridge: fitted to all rows.
        scale: of the standardised property, by the held-out rows.
        predicted: for the held-out rows, by each member (members, n_rows).
        curve: number of rows that were seen, and error of the standardised property.
    """

    ridge: Ridge
    scale: float
    predicted: Tensor
    curve: tuple[tuple[int, float], ...]


def fits(features: Tensor, labels: Tensor, groups: Sequence[str], done: Done = lambda _: None) -> Fit:
    """Fit a regression, and measure it on rows that it does not see.

    Args:
        features: of the rows by each member (members, n_rows, n_features).
        labels: standardised (n_rows,).
        groups: formulas of the rows.
        done: hears of each fit.
    """
    fold = folds(groups, FOLDS)
    curve = []
    predicted = torch.zeros(features.shape[:2], dtype=features.dtype)
    for share in (*SHARES, 1.0):
        seen_rows = []
        for held in fold.unique():
            seen = _some((fold != held).nonzero().ravel(), groups, share)
            own = [groups[i] for i in seen.tolist()]
            ridge = fit_ridge(features[:, seen], labels[seen], own)
            predicted[:, fold == held] = ridge.predict(features[:, fold == held])
            seen_rows.append(len(seen))
            done(1)
        error = float((predicted.mean(0) - labels).abs().mean())
        curve.append((round(sum(seen_rows) / len(seen_rows)), error))
    ridge = fit_ridge(features, labels, groups)
    done(1)
    return Fit(ridge, scale_of(predicted, labels), predicted, tuple(curve))


def _some(rows: Tensor, groups: Sequence[str], share: float) -> Tensor:
    """Return the rows of a random share of the groups, of at least three of them."""
    names = sorted({groups[i] for i in rows.tolist()})
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(1))
    kept = {names[i] for i in order[: max(3, math.ceil(share * len(names)))].tolist()}
    return rows[torch.tensor([groups[i] in kept for i in rows.tolist()])]


def scale_of(predicted: Tensor, labels: Tensor) -> float:
    """Return the scale of the members at which held-out labels are likeliest.

    Args:
        predicted: by each member (members, n_rows).
        labels: (n_rows,).
    """
    candidates = TEMPERATURES.to(predicted)
    found = [
        float(mixture(predicted, torch.full_like(predicted, float(s))).log_prob(labels).mean()) for s in candidates
    ]
    return float(candidates[int(np.argmax(found))])


def errors(fit: Fit, labels: Tensor, spread: float, baselines: tuple[float, float]) -> Errors:
    """Return the errors of a fit in the unit of the property, or in decades.

    Args:
        fit: of the standardised property.
        labels: standardised (n_rows,).
        spread: standard deviation of the property, or of its logarithm.
        baselines: errors of mean and forest, standardised.
    """
    scale = torch.full_like(fit.predicted, fit.scale)
    curve = tuple((n, spread * error) for n, error in fit.curve)
    return Errors(
        mae=curve[-1][1],
        mean=spread * baselines[0],
        forest=spread * baselines[1],
        coverage=covered(fit.predicted, scale, labels),
        curve=curve,
    )


def baselines(composition: Tensor, labels: Tensor, groups: Sequence[str]) -> tuple[float, float]:
    """Return the mean absolute errors, on the same held-out rows, of the mean and of a random forest.

    Args:
        composition: statistics of the composition (n_rows, n_statistics).
        labels: (n_rows,).
        groups: formulas of the rows.
    """
    fold = folds(groups, FOLDS)
    by_mean, by_forest = torch.zeros_like(labels), torch.zeros_like(labels)
    for held in fold.unique():
        seen = fold != held
        by_mean[~seen] = labels[seen].mean()
        forest = RandomForestRegressor(TREES, max_features=1 / 3, random_state=0, n_jobs=1)
        forest.fit(composition[seen].numpy(), labels[seen].numpy())
        by_forest[~seen] = torch.from_numpy(forest.predict(composition[~seen].numpy())).to(labels)
    return float((by_mean - labels).abs().mean()), float((by_forest - labels).abs().mean())
