"""Gap heads fitted to labels; held-out gaps decide the strength of the penalty towards the previous heads."""

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from matgen.learning.calibration import cross_calibration, joined_hurdles
from matgen.learning.gap_errors import Errors
from matgen.runtime.progress import Report, Silence
from matgen.targets.calibration import Calibration
from matgen.training.refit import GapHeads, GapLabels

PENALTIES = (1e5, 3e4, 1e4, 3e3, 1e3, 3e2, 1e2)
"""Strengths of the penalty towards the initial parameters that are tried; at some thousands, the gradients of one label
and of the penalty are alike in size."""

UNTESTED_PENALTY = 1e4
"""Used where nothing can be held out."""

FEW = 40
"""Labels up to which more and smaller parts are held out."""

FOLDS, INNER_FOLDS = (10, 5), (5, 3)
"""Parts that are held out for errors, and for the choice of the penalty: with few labels, and with more."""

CHOICE_STEPS, CHOICE_SHOWN = 40, 250
"""Steps of a fit, and replayed training rows, that are enough to compare penalties: each row then counts as several."""

PATIENCE = 2
"""Weaker penalties in a row without improvement after which still weaker ones, which are expensive, are left out."""


@dataclass(frozen=True)
class GapFit:
    """Fitted gap heads and their errors.

    Attributes:
        parameters: of the heads.
        calibration: of gaps.
        penalty: its strength, towards the initial parameters; infinite where nothing better was found and the heads are
            unchanged.
        before: errors on held-out gaps of the initial heads.
        after: the same of heads fitted to the other gaps; equal to `before` where the heads are unchanged.
        seen_before: errors on all gaps of the initial heads.
        seen_after: errors of the fitted heads on the gaps that they were fitted to.
    """

    parameters: Mapping[str, Tensor]
    calibration: Calibration
    penalty: float
    before: Errors = field(default_factory=Errors)
    after: Errors = field(default_factory=Errors)
    seen_before: Errors = field(default_factory=Errors)
    seen_after: Errors = field(default_factory=Errors)


def learn(
    heads: GapHeads, labels: GapLabels, groups: Sequence[str], shown: GapLabels, report: Report | None = None
) -> GapFit:
    """Choose the strength of the penalty by held-out gaps, fit to all gaps, calibrate by held-out gaps.

    Each part is held out once, with all rows of its groups. The penalty for it is chosen by nested cross-validation
    over the other parts, so that no error is counted on a gap that took part in the choice. If held-out gaps do not
    become more likely, heads and calibration stay as they are.

    Args:
        heads: to begin from.
        labels: n gaps.
        groups: of each gap (n), such as formulas; those of one group are held out together.
        shown: replayed training rows, which are never held out; may be empty.
        report: receives the progress.
    """
    tell, parts = report or Silence(), folds(groups, FOLDS[len(groups) > FEW])
    shipped, n_folds = heads.calibration, int(parts.max()) + 1
    if n_folds < 2:
        parameters = _fitted(heads, labels.joined(shown), UNTESTED_PENALTY)
        return _with_seen(heads, labels, GapFit(parameters, shipped, UNTESTED_PENALTY))
    held, rows = [], []
    for part in range(n_folds):
        tell("hold out", part, n_folds + 1)
        rest = (parts != part).nonzero().ravel()
        penalty = best_penalty(heads, labels.select(rest), [groups[i] for i in rest.tolist()], shown)
        out = (parts == part).nonzero().ravel()
        held.append(heads.raw(_fitted(heads, labels.select(rest).joined(shown), penalty), labels.select(out).read))
        rows.append(out)
    order = torch.cat(rows)
    whole, gap, of_part = joined_hurdles(held), labels.gap[order], parts[order]
    before = Errors.of(heads.mixture(heads.begun, labels.read, shipped), labels.gap)
    after, better = cross_calibration(whole, gap, of_part, shipped)
    penalty = best_penalty(heads, labels, groups, shown)
    if not after.nll < before.nll:  # also where it is NaN
        penalty, better, after = math.inf, shipped, before
    parameters = _fitted(heads, labels.joined(shown), penalty)
    tell("hold out", n_folds + 1, n_folds + 1)
    return _with_seen(heads, labels, GapFit(parameters, better, penalty, before, after))


def best_penalty(heads: GapHeads, labels: GapLabels, groups: Sequence[str], shown: GapLabels) -> float:
    """Return the penalty that makes held-out gaps most likely; infinite if no fit is better than the initial heads.

    Penalties are tried from the strongest on, each fit continuing the one before, until `PATIENCE` weaker ones in a row
    bring no improvement.
    """
    parts = folds(groups, INNER_FOLDS[len(groups) > FEW])
    if int(parts.max()) < 1:
        return UNTESTED_PENALTY
    fewer = _fewer(shown, CHOICE_SHOWN)
    taught = [labels.select(parts != part).joined(fewer) for part in range(int(parts.max()) + 1)]
    held = [labels.select(parts == part) for part in range(len(taught))]
    fits: list[Mapping[str, Tensor]] = [heads.begun] * len(taught)
    best, least, worse = math.inf, _held_out_nll(heads, fits, held), 0
    for penalty in PENALTIES:
        fits = [heads.fitted(one, penalty, CHOICE_STEPS, fit) for one, fit in zip(taught, fits, strict=True)]
        found = _held_out_nll(heads, fits, held)
        best, least, worse = (penalty, found, 0) if found < least else (best, least, worse + 1)
        if worse == PATIENCE:
            break
    return best


def folds(groups: Sequence[str], most: int) -> Tensor:
    """Return the number of the part of each row (n,): at most so many parts of similar size, no group split."""
    sizes = Counter(groups)
    load_of = [0] * min(most, len(sizes))
    where = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], zlib.crc32(name.encode()), name)):
        where[group] = load_of.index(min(load_of))
        load_of[where[group]] += sizes[group]
    return torch.tensor([where[group] for group in groups])


def _held_out_nll(heads: GapHeads, fits: Sequence[Mapping[str, Tensor]], held: Sequence[GapLabels]) -> float:
    """Return the negative log-likelihood of the gaps of each part by heads fitted to the others, summed."""
    predicted = (heads.mixture(fit, out.read, heads.calibration) for fit, out in zip(fits, held, strict=True))
    return -sum(one.log_prob(out.gap).sum().item() for one, out in zip(predicted, held, strict=True))


def _fewer(shown: GapLabels, most: int) -> GapLabels:
    """Return the first of the rows, which are in random order, with the weight of all."""
    few = shown.select(torch.arange(min(most, len(shown))))
    return replace(few, weight=few.weight * (len(shown) / max(1, len(few))))


def _fitted(heads: GapHeads, labels: GapLabels, penalty: float) -> Mapping[str, Tensor]:
    return heads.begun if math.isinf(penalty) else heads.fitted(labels, penalty)


def _with_seen(heads: GapHeads, labels: GapLabels, fit: GapFit) -> GapFit:
    """Add the errors on all gaps."""
    before = Errors.of(heads.mixture(heads.begun, labels.read, heads.calibration), labels.gap)
    after = Errors.of(heads.mixture(fit.parameters, labels.read, fit.calibration), labels.gap)
    return replace(fit, seen_before=before, seen_after=after)
