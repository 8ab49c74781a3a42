"""Contrast of real systems with negatives: losses of their energies per atom.

A loss receives E / N of real systems and of negatives, each negative with the real system that it was made from.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from matgen.runtime.config import ConfigError, check_least, check_positive


@dataclass(frozen=True)
class ContrastForm:
    """Form of the contrast.

    Attributes:
        loss: `logistic`, the likelihood of being real with probability 1 / (1 + exp(E / N)), for each system alone;
            or `infonce`, that of the real system among its own negatives (van den Oord, Li, Vinyals 2018).
        temperature: of `infonce`; the lower, the more the lowest negative counts.
        negatives: of each real system.
        queue: number of past negatives whose energies each real system is compared with as well; of `infonce`.
        soft: energy above the hull over which a real system counts as real by a factor e less, eV/atom; 0 for all
            alike; of `logistic`.
        adversarial_share: share of the negatives that descended on the energy.
        adversarial_steps: steps of that descent.
        bound: τ of |Δh| ≤ τ, beyond which the difference of the trained scalar between a negative and the real system
            that its label comes from is penalised; 0 for no bound.
    """

    loss: Literal["logistic", "infonce"] = "logistic"
    temperature: float = 1.0
    negatives: int = 1
    queue: int = 0
    soft: float = 0.0
    adversarial_share: float = 0.0
    adversarial_steps: int = 4
    bound: float = 0.0

    def __post_init__(self) -> None:
        """Check the range of every number, and that each belongs to the loss.

        Raises:
            ConfigError: one is out of its range, or has no effect on this loss.
        """
        check_positive(self, "temperature")
        check_least(self, 1, "negatives")
        check_least(self, 0, "queue", "soft", "adversarial_share", "adversarial_steps", "bound")
        if self.adversarial_share > 1:
            raise ConfigError(f"expected adversarial_share of at most 1, got {self.adversarial_share}")
        if self.loss == "logistic" and (self.queue or self.temperature != 1):
            raise ConfigError("expected queue and temperature with loss = 'infonce' alone; leave them out")
        if self.loss == "infonce" and self.soft:
            raise ConfigError("expected soft with loss = 'logistic' alone; leave it out")


@dataclass(frozen=True)
class Levels:
    """Energies per atom of a batch.

    Attributes:
        real: of real systems (n_real,).
        false: of negatives (n_false,).
        owner: the real system that each negative was made from (n_false,).
        apart: difference of the trained scalar alone between each negative and its real system (n_false,).
        reality: how far each real system counts as real, 0 to 1 (n_real,).
        past: of earlier negatives (n_past,).
    """

    real: Tensor
    false: Tensor
    owner: Tensor
    apart: Tensor
    reality: Tensor
    past: Tensor


def contrast_loss(levels: Levels, form: ContrastForm) -> Tensor:
    """Return the loss of a batch ()."""
    loss = logistic(levels) if form.loss == "logistic" else infonce(levels, form.temperature)
    return loss + beyond(levels.apart, form.bound) if form.bound else loss


def logistic(levels: Levels) -> Tensor:
    """Return the cross entropy of real against false at the logit -E / N, the mean over each summed ()."""
    real, false = levels.real, levels.false
    of_real = levels.reality * F.softplus(real) + (1 - levels.reality) * F.softplus(-real)
    return of_real.mean() + F.softplus(-false).sum() / max(1, len(false))


def infonce(levels: Levels, temperature: float) -> Tensor:
    """Return -log of the share of a real system in the sum of exp(-E / N T) over it, its negatives and past ones.

    The mean over real systems with anything to compare with; 0 if there is none.
    """
    real, false = levels.real / temperature, levels.false / temperature
    own = (levels.owner == torch.arange(len(real), device=real.device)[:, None]).to(real.dtype).log()  # 0 or -∞
    past = (-levels.past / temperature).expand(len(real), -1)
    rivals = torch.cat([own - false, past], dim=1)
    some = rivals.isfinite().any(1)
    return F.softplus(real[some] + rivals[some].logsumexp(1)).sum() / max(1, int(some.sum()))


def beyond(apart: Tensor, bound: float) -> Tensor:
    """Return half the mean square of what differences (n,) exceed the bound by, in size ()."""
    return 0.5 * (F.relu(apart.abs() - bound) ** 2).sum() / max(1, len(apart))


def reality(above_hull: Tensor, scale: float) -> Tensor:
    """Return exp(-max(E_hull, 0) / scale), 1 where the energy above the hull is unknown (n_systems,).

    Args:
        above_hull: energies above the hull, NaN where unknown (n_systems,), eV/atom.
        scale: eV/atom; 0 for 1 everywhere.
    """
    if scale == 0:
        return torch.ones_like(above_hull)
    return torch.exp(-above_hull.nan_to_num(0.0).clamp(min=0) / scale)
