"""Calibration of predicted gaps, fitted to held-out gaps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from matgen.learning.gap_errors import METAL, Errors
from matgen.nn.ensemble import mixture_of
from matgen.targets.calibration import Calibration, calibrated
from matgen.targets.distributions import Hurdle
from matgen.training.refit import members_of, together

PLATT_FROM, PLATT_EACH = 10, 3
"""Labels from which on P(metal) is corrected too, and the least number of metals and of others among them: results
without any metal would otherwise teach that nothing is a metal."""

SPREADS = (0.3, 0.2, 0.5)
"""Standard deviations of the prior of log temperature, slope and bias around the shipped ones."""


def cross_calibration(whole: Hurdle, gap: Tensor, parts: Tensor, shipped: Calibration) -> tuple[Errors, Calibration]:
    """Fit a calibration, and estimate its errors by cross-validation; keep the shipped one where that is no worse.

    Args:
        whole: uncalibrated held-out distributions (n_members, n).
        gap: eV (n,).
        parts: number of the part of each gap (n,).
        shipped: calibration to begin from.

    Returns:
        Errors on each part with a calibration fitted to the other parts, and the calibration fitted to all.
    """
    corrected = []
    order = []
    for part in range(int(parts.max()) + 1):
        rest, out = (parts != part).nonzero().ravel(), (parts == part).nonzero().ravel()
        calibration = fit_calibration(_rows(whole, rest), gap[rest], shipped)
        corrected.append(calibrated(_rows(whole, out), calibration))
        order.append(out)
    places = torch.cat(order)
    crossed = Errors.of(mixture_of(members_of(joined_hurdles(corrected))), gap[places])
    kept = Errors.of(together(whole, shipped), gap)
    if crossed.nll < kept.nll:
        return crossed, fit_calibration(whole, gap, shipped)
    return kept, shipped


def fit_calibration(raw: Hurdle, gap: Tensor, shipped: Calibration) -> Calibration:
    """Return the maximum a posteriori calibration of gaps.

    Args:
        raw: uncalibrated distributions of each member (n_members, n).
        gap: eV (n,).
        shipped: centre of the prior, whose spreads are `SPREADS`; with few gaps, slope and bias stay as they are.
    """
    metals = int((gap <= METAL).sum())
    free = 3 if len(gap) >= PLATT_FROM and min(metals, len(gap) - metals) >= PLATT_EACH else 1
    steps = torch.zeros(free, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([steps], max_iter=100, line_search_fn="strong_wolfe")

    def moved() -> tuple[Tensor, Tensor, Tensor]:
        by = torch.cat([steps, steps.new_zeros(3 - free)]) * steps.new_tensor(SPREADS)
        return shipped.temperature * by[0].exp(), shipped.slope + by[1], shipped.bias + by[2]

    def closure() -> Tensor:
        optimizer.zero_grad()
        temperature, slope, bias = moved()
        corrected = replace(raw, scale=raw.scale * temperature, zero_logit=raw.zero_logit * slope + bias)
        loss = 0.5 * steps.square().sum() - mixture_of(members_of(corrected)).log_prob(gap).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return Calibration(*(number.item() for number in moved()))


def joined_hurdles(several: Sequence[Any]) -> Hurdle:
    """Concatenate distributions (n_members, n_i) along their second axis."""
    parts = {name: torch.cat([getattr(one, name) for one in several], dim=1) for name in ("zero_logit", "loc", "scale")}
    return replace(several[0], **parts)


def _rows(raw: Hurdle, rows: Tensor) -> Hurdle:
    parts = {name: getattr(raw, name)[:, rows] for name in ("zero_logit", "loc", "scale")}
    return replace(raw, **parts)
