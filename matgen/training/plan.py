"""The plan of a training: network, objective, labels and rows."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from matgen.targets.distributions import Distribution
from matgen.training.loop import Objective
from matgen.training.properties import PropertyTargets

Predict = Callable[[nn.Module, Tensor], dict[str, Distribution]]
"""Uncalibrated distributions by property that a network predicts for rows of a table."""


@dataclass(frozen=True)
class Plan:
    """How one kind of network is trained.

    Attributes:
        model: a new network.
        objective: batches, loss and validation.
        trained_on: rows and splits, in words.
        targets: labels, where properties are predicted.
        predict: property predictions of the network, or of one member of an ensemble; None where there are none.
        calibrated_on: rows for calibration.
    """

    model: nn.Module
    objective: Objective
    trained_on: str
    targets: PropertyTargets = field(default_factory=lambda: PropertyTargets({}))
    predict: Predict | None = None
    calibrated_on: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))


def rows_in_words(n: int) -> str:
    """Return the description of n rows of the training split."""
    return f"{n} rows of the split `train`"
