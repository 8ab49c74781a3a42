"""Likelihood of labels under predicted distributions, as a loss and as figures of merit."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from matgen.nn.ensemble import Ensemble, mixed
from matgen.nn.property_heads import CHGNET, LEGACY
from matgen.targets.distributions import Distribution, Hurdle, Logistic, median
from matgen.targets.properties import PROPERTIES
from matgen.training.loop import bucketed
from matgen.training.properties import PropertyTargets

WEIGHTS = dict.fromkeys(PROPERTIES, 1.0) | {LEGACY: 0.5, CHGNET: 1.0}
"""Weight of each property's mean negative log-likelihood in the loss."""

LISTED_GAPS = (0.5, 5.0)
"""Range of the gaps, eV, that the largest source of labels holds."""

UNLISTED = 0.13
"""P(no label | gap in `LISTED_GAPS`) / P(no label | other gap or metal).

The source has 86 % of 2,987 MP-20 validation and test crystals with gaps from 0.7 to 4.8 eV. Of some 20,400 such
crystals 2,800 are therefore not in it; half of those have labels of other sources, and 7 % of all have none. Of the
other crystals 53 % had no label before those of 2019, and most of what these and MEGNet label are metals, which count
as others. 0.07 / 0.53 = 0.13.
"""

TYPICAL_ENERGY = 0.2
"""Unit of the errors of formation energies, eV/atom, where absolute errors are added to the loss."""


def negative_log_likelihood(
    predicted: Mapping[str, Distribution], targets: Mapping[str, Tensor], absolute: float = 0.0
) -> tuple[Tensor, dict[str, float]]:
    """Return the weighted sum over properties of the mean over known labels, and each property's mean.

    The sum also holds `missing_gap` of crystals without a gap label, and the mean absolute error of the centre of each
    distribution, in units of its typical size and with the weight `absolute`. The figures hold neither.
    """
    total, figures = torch.zeros(()), {}
    for name, value in targets.items():
        known = torch.isfinite(value)
        if not known.any():
            continue
        part = -known_rows(predicted[name], known).log_prob(value[known]).mean()
        total = total + WEIGHTS[name] * part
        figures[f"nll_{name}"] = part.item()
        if absolute:
            total = total + WEIGHTS[name] * absolute * _miss(known_rows(predicted[name], known), value[known])
        if name == "band_gap" and not known.all():
            missing = missing_gap(known_rows(predicted[name], ~known))
            total = total + WEIGHTS[name] * missing.sum() / known.sum()
    return total, figures


def _miss(predicted: Distribution, value: Tensor) -> Tensor:
    """Return the mean distance of labels from the centre; of a hurdle, of those that are not zero, over its spread."""
    match predicted:
        case Hurdle():
            above = value > predicted.zero
            bent = value if math.isinf(predicted.bend) else predicted.bend * torch.log1p(value / predicted.bend)
            typical = 1.0 if math.isinf(predicted.bend) else predicted.bend
            return ((bent - predicted.loc).abs() * above).sum() / above.sum().clamp(min=1) / typical
        case Logistic():
            return (value - predicted.loc).abs().mean() / TYPICAL_ENERGY
    raise TypeError(predicted)


def missing_gap(predicted: Distribution) -> Tensor:
    """Return -log P(no label | prediction) (n_systems,), up to a constant.

    Whether a gap has a label depends on the gap itself. With r = P(no label | gap in `LISTED_GAPS`) /
    P(no label | any other), P(no label) ∝ 1 - (1 - r) P(gap in `LISTED_GAPS`). Where there is a label, the chance of
    having one does not depend on the prediction, so the likelihood is the ordinary one.
    """
    low, high = (torch.tensor(limit) for limit in LISTED_GAPS)
    return -torch.log1p(-(1 - UNLISTED) * predicted.log_between(low, high).exp())


def mean_likelihood(
    predictions: list[Mapping[str, Distribution]], targets: Mapping[str, Tensor], absolute: float = 0.0
) -> tuple[Tensor, dict[str, float]]:
    """Return `negative_log_likelihood`, averaged over several predictions."""
    losses, figures = zip(*(negative_log_likelihood(one, targets, absolute) for one in predictions), strict=True)
    means = {name: sum(one[name] for one in figures) / len(figures) for name in figures[0]}
    return torch.stack(losses).mean(), means


def errors(predicted: Mapping[str, Distribution], targets: Mapping[str, Tensor]) -> dict[str, float]:
    """Return likelihood, mean absolute error of the median, and accuracy of the classes zero and not zero."""
    loss, figures = negative_log_likelihood(predicted, targets)
    figures["nll"] = loss.item()
    for name, value in targets.items():
        known = torch.isfinite(value)
        if not known.any():
            continue
        distribution = known_rows(predicted[name], known)
        figures[f"mae_{name}"] = (median(distribution) - value[known]).abs().mean().item()
        zero = PROPERTIES[name].zero if name in PROPERTIES else -math.inf
        if zero >= 0:
            likely_zero = distribution.log_prob(torch.zeros_like(value[known])).exp() > 0.5
            figures[f"accuracy_{name}"] = (likely_zero == (value[known] <= zero)).float().mean().item()
    return figures


def known_rows(distribution: Distribution, known: Tensor) -> Distribution:
    """Return the distribution of some systems only."""
    parts = {f.name: getattr(distribution, f.name) for f in fields(distribution)}  # type: ignore[arg-type]
    return type(distribution)(**{k: _known_part(v, known) for k, v in parts.items()})


def _known_part(part: Any, known: Tensor) -> Any:
    match part:
        case Tensor():
            return part[known]
        case tuple():  # of a mixture
            return tuple(known_rows(one, known) for one in part)
    return part


def joined(parts: list[Mapping[str, Distribution]]) -> dict[str, Distribution]:
    """Concatenate predictions of several batches."""
    return {name: _concatenated([part[name] for part in parts]) for name in parts[0]}


def _concatenated(parts: list[Distribution]) -> Distribution:
    names = [f.name for f in fields(parts[0])]  # type: ignore[arg-type]
    columns = {name: [getattr(part, name) for part in parts] for name in names}
    return type(parts[0])(**{k: _concatenated_part(v) for k, v in columns.items()})


def _concatenated_part(parts: list[Any]) -> Any:
    match parts[0]:
        case Tensor():
            return torch.cat(parts)
        case tuple():  # of a mixture
            return tuple(_concatenated(list(ones)) for ones in zip(*parts, strict=True))
    return parts[0]


@torch.no_grad()
def predicted(
    predict: Callable[[Tensor], Mapping[str, Distribution]], rows: Tensor, batch_size: int = 1024
) -> dict[str, Distribution]:
    """Return predictions for these rows, computed batch by batch."""
    return joined([predict(chunk) for chunk in rows.split(batch_size)])


@dataclass(frozen=True)
class LikelihoodObjective:
    """Likelihood of all labels under the predictions of an ensemble.

    Attributes:
        inputs: what the members read of rows of the table; a generator is given for rows to train on, whose inputs may
            be varied at random.
        sizes: of each row to train on, so that similar ones share a batch (n_train,).
        targets: labels of the table.
        train: rows to train on.
        val: rows to validate on.
        together: rows of a batch for prediction.
        absolute: weight of mean absolute errors beside the likelihood.
    """

    inputs: Callable[[Tensor, torch.Generator | None], Any]
    sizes: Tensor
    targets: PropertyTargets
    train: Tensor
    val: Tensor
    together: int = 1024
    absolute: float = 0.0

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield rows of similar size."""
        return (self.train[rows] for rows in bucketed(self.sizes, batch_size, generator))

    def loss(self, model: Ensemble, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the mean over the members of the negative log-likelihood of a batch."""
        inputs = self.inputs(rows, generator)
        predictions = [member.raw(inputs) for member in model.members]  # type: ignore[operator]
        return mean_likelihood(predictions, self.targets.rows(rows), self.absolute)

    def validate(self, model: Ensemble) -> dict[str, float]:
        """Return errors of the mixture on the validation rows."""
        parts = [self.predict(member, self.val) for member in model.members]
        return errors(mixed(parts), self.targets.rows(self.val))

    def predict(self, member: nn.Module, rows: Tensor) -> dict[str, Distribution]:
        """Return uncalibrated predictions of one member for rows."""
        return predicted(lambda chunk: member.raw(self.inputs(chunk, None)), rows, self.together)  # type: ignore[operator]
