"""Calibration of predicted distributions on validation rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from matgen.nn.ensemble import Ensemble, mixture_of
from matgen.runtime.devices import placed
from matgen.targets.calibration import Calibration, calibrated, coverage
from matgen.targets.distributions import Distribution, Hurdle
from matgen.targets.properties import PROPERTIES
from matgen.training.likelihood import known_rows
from matgen.training.plan import Predict
from matgen.training.properties import PropertyTargets


@torch.no_grad()
def calibrate(model: nn.Module, predict: Predict, targets: PropertyTargets, rows: Tensor) -> None:
    """Calibrate property heads on these rows, in place; all members of an ensemble alike, for their mixture."""
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    parts = [placed(predict(member, rows), "cpu") for member in members]
    found = calibration_table(parts, placed(targets.rows(rows), "cpu"))
    for member in members:
        member.heads.calibration.copy_(found)  # type: ignore[union-attr,operator]


def calibration_table(predictions: Sequence[Mapping[str, Distribution]], targets: Mapping[str, Tensor]) -> Tensor:
    """Return calibrations (n_properties, 3) in the order of `PROPERTIES`, for `PropertyHeads.calibration`.

    Args:
        predictions: uncalibrated, by property, of each member.
        targets: labels by property, NaN where unknown.
    """
    found = []
    for name in (name for name in PROPERTIES if name in targets):
        known = torch.isfinite(targets[name])
        fit = fit_calibration([known_rows(one[name], known) for one in predictions], targets[name][known])
        found.append([fit.temperature, fit.slope, fit.bias])
    return torch.tensor(found)


def fit_calibration(parts: Sequence[Distribution], value: Tensor, level: float = 0.9) -> Calibration:
    """Fit a temperature at which central intervals of non-zero labels cover `level`, and Platt scaling of zeros.

    All members of an ensemble share one correction, fitted to their mixture: if each was calibrated alone, the mixture
    would be too wide.

    Args:
        parts: uncalibrated distributions of labelled rows, by each member.
        value: their labels (n,).
        level: coverage of the intervals.
    """
    zero = getattr(parts[0], "zero", None)
    if zero is None:
        return Calibration(_temperature(parts, value, level))
    positive = value > zero
    certain = [replace(p, zero_logit=torch.full_like(p.zero_logit, -40.0)) for p in parts if isinstance(p, Hurdle)]
    above_zero = [known_rows(part, positive) for part in certain]
    logits = torch.stack([part.zero_logit for part in parts if isinstance(part, Hurdle)])
    slope, bias = _platt(logits, (~positive).float())
    return Calibration(_temperature(above_zero, value[positive], level), slope, bias)


def _temperature(parts: Sequence[Distribution], value: Tensor, level: float) -> float:
    # The lowest of those that come close: where labels are a selection (MP-20 stops at 0.08 eV/atom above the hull),
    # wider intervals need not cover more.
    temperatures = torch.logspace(math.log10(0.3), math.log10(3.0), 101).tolist()
    covered = []
    for t in temperatures:
        mixture = mixture_of([calibrated(part, Calibration(t)) for part in parts])
        covered.append(coverage(mixture, value, level).mean().item())
    misses = [abs(share - level) for share in covered]
    return next(t for t, miss in zip(temperatures, misses, strict=True) if miss <= min(misses) + 0.003)


def _platt(logits: Tensor, zero: Tensor) -> tuple[float, float]:
    """Return the most likely slope and bias of log odds (n_members, n), with averaged probabilities (Platt 1999)."""
    numbers = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=100, line_search_fn="strong_wolfe")
    sign = torch.where(zero > 0, 1.0, -1.0).double()

    def closure() -> Tensor:
        optimizer.zero_grad()
        of_members = nn.functional.logsigmoid(sign * (logits.double() * numbers[0] + numbers[1]))
        loss = math.log(len(logits)) - of_members.logsumexp(0).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    slope, bias = numbers.tolist()
    return slope, bias
