"""Gap heads of an ensemble fitted to a few labels that count, and pulled back to what they were.

The maximum a posteriori estimate of a Gaussian prior around the parameters that were there (L2-SP: Li et al., ICML
2018): what was learned from many is kept, unless the few speak against it. Trunks, and all other heads, stand still.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from matgen.nn.ensemble import Ensemble, mixture_of
from matgen.nn.property_heads import gap_of
from matgen.nn.structure_properties import StructureInputs
from matgen.targets.calibration import Calibration, calibrated
from matgen.targets.distributions import Distribution, Hurdle


@dataclass(frozen=True)
class GapLabels:
    """Crystals as the gap heads read them, and their gaps.

    Attributes:
        read: what the head of each member reads (n_members, n, width).
        gap: eV (n,).
        weight: how much each counts (n,).
    """

    read: Tensor
    gap: Tensor
    weight: Tensor

    def __len__(self) -> int:
        """How many."""
        return len(self.gap)

    def select(self, rows: Tensor) -> Self:
        """Some of them: indices, or a mask."""
        return replace(self, read=self.read[:, rows], gap=self.gap[rows], weight=self.weight[rows])

    def joined(self, other: Self) -> Self:
        """These and others."""
        return replace(
            self,
            read=torch.cat([self.read, other.read], dim=1),
            gap=torch.cat([self.gap, other.gap]),
            weight=torch.cat([self.weight, other.weight]),
        )


@torch.no_grad()
def read_by_heads(model: Ensemble, inputs: StructureInputs) -> Tensor:
    """What the gap head of each member reads of crystals (n_members, n_systems, width)."""
    return torch.stack([member.crystal(member.pool(inputs)) for member in model.members])  # type: ignore[operator]


class GapHeads:
    """The gap heads of all members, fitted side by side.

    Args:
        model: whose heads they are; it does not change.
    """

    def __init__(self, model: Ensemble) -> None:
        heads: list[Any] = [member.heads.gap for member in model.members]  # type: ignore[union-attr]
        begun, _ = stack_module_state([deepcopy(head).double().eval() for head in heads])
        self.begun: Mapping[str, Tensor] = {name: value.detach() for name, value in begun.items()}
        numbers: Tensor = model.members[0].heads.calibration  # type: ignore[union-attr,assignment]
        self.calibration = Calibration.of(numbers[0])
        self._head = deepcopy(heads[0]).double().eval()

    def raw(self, parameters: Mapping[str, Tensor], read: Tensor) -> Hurdle:
        """Uncalibrated distributions (n_members, n) given parameters by name (n_members, ...)."""

        def of_member(own: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self._head, own, (x,))

        return gap_of(vmap(of_member)(dict(parameters), read.double()))

    def mixture(self, parameters: Mapping[str, Tensor], read: Tensor, calibration: Calibration) -> Distribution:
        """What the ensemble says."""
        return together(self.raw(parameters, read), calibration)

    def losses(self, parameters: Mapping[str, Tensor], labels: GapLabels) -> Tensor:
        """Weighted sum over labels of the negative log-likelihood of each member, as calibrated (n_members,)."""
        predicted = calibrated(self.raw(parameters, labels.read), self.calibration)
        return -(predicted.log_prob(labels.gap.double().expand(len(labels.read), -1)) * labels.weight).sum(1)

    def fitted(
        self, labels: GapLabels, pull: float, steps: int = 200, start: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Parameters that minimise the loss of the labels and ½ pull |parameters - those it began from|².

        By L-BFGS with a line search that only goes down: since the pull is zero at the start, no member ends with a
        greater loss than it began with, taken over all members.

        Args:
            labels: to be learned.
            pull: to what was there.
            steps: of L-BFGS, at most.
            start: parameters that may be near, such as those of a stronger pull; what was there if left out.
        """
        parameters = {name: value.clone().requires_grad_() for name, value in (start or self.begun).items()}
        optimizer = torch.optim.LBFGS(
            list(parameters.values()), max_iter=steps, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            strayed = sum((value - self.begun[name]).square().sum() for name, value in parameters.items())
            loss = self.losses(parameters, labels).sum() + 0.5 * pull * strayed
            loss.backward()
            return loss

        if len(labels):
            optimizer.step(closure)
        return {name: value.detach() for name, value in parameters.items()}

    def put_into(self, model: Ensemble, parameters: Mapping[str, Tensor], calibration: Calibration) -> None:
        """Give a model these heads and this calibration of gaps, in place."""
        numbers = torch.tensor([calibration.temperature, calibration.slope, calibration.bias])
        with torch.no_grad():
            for place, member in enumerate(model.members):
                for name, value in member.heads.gap.named_parameters():  # type: ignore[union-attr]
                    value.copy_(parameters[name][place])
                member.heads.calibration[0].copy_(numbers)  # type: ignore[union-attr,index]


def members_of(raw: Hurdle) -> list[Hurdle]:
    """The distributions of each member, of those of all (n_members, n)."""
    parts = zip(raw.zero_logit, raw.loc, raw.scale, strict=True)
    return [replace(raw, zero_logit=logit, loc=loc, scale=scale) for logit, loc, scale in parts]


def together(raw: Hurdle, calibration: Calibration) -> Distribution:
    """What the ensemble says, of the uncalibrated distributions of all members."""
    return mixture_of([calibrated(part, calibration) for part in members_of(raw)])
