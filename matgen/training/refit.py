"""Gap heads of an ensemble fitted to a few new labels, with a penalty on the distance from their old parameters.

This is the maximum a posteriori estimate with a Gaussian prior around the old parameters (L2-SP: Li et al., ICML 2018):
what was learned before is kept unless the new labels contradict it. Trunks and all other heads are fixed.
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
    """Inputs of the gap heads for some crystals, and their gaps.

    Attributes:
        read: inputs of the head of each member (n_members, n, width).
        gap: eV (n,).
        weight: of each label in the loss (n,).
    """

    read: Tensor
    gap: Tensor
    weight: Tensor

    def __len__(self) -> int:
        """Number of labels."""
        return len(self.gap)

    def select(self, rows: Tensor) -> Self:
        """Return some labels, by indices or a mask."""
        return replace(self, read=self.read[:, rows], gap=self.gap[rows], weight=self.weight[rows])

    def joined(self, other: Self) -> Self:
        """Return these and other labels."""
        return replace(
            self,
            read=torch.cat([self.read, other.read], dim=1),
            gap=torch.cat([self.gap, other.gap]),
            weight=torch.cat([self.weight, other.weight]),
        )


@torch.no_grad()
def read_by_heads(model: Ensemble, inputs: StructureInputs) -> Tensor:
    """Return the inputs of the gap head of each member for crystals (n_members, n_systems, width)."""
    return torch.stack([member.crystal(member.pool(inputs)) for member in model.members])  # type: ignore[operator]


class GapHeads:
    """The gap heads of all members, fitted side by side.

    Args:
        model: ensemble whose heads are copied; it is not changed.
    """

    def __init__(self, model: Ensemble) -> None:
        heads: list[Any] = [member.heads.gap for member in model.members]  # type: ignore[union-attr]
        begun, _ = stack_module_state([deepcopy(head).double().eval() for head in heads])
        self.begun: Mapping[str, Tensor] = {name: value.detach() for name, value in begun.items()}
        numbers: Tensor = model.members[0].heads.calibration  # type: ignore[union-attr,assignment]
        self.calibration = Calibration.of(numbers[0])
        self._head = deepcopy(heads[0]).double().eval()

    def raw(self, parameters: Mapping[str, Tensor], read: Tensor) -> Hurdle:
        """Return uncalibrated distributions (n_members, n) given parameters by name (n_members, ...)."""

        def of_member(own: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self._head, own, (x,))

        return gap_of(vmap(of_member)(dict(parameters), read.double()))

    def mixture(self, parameters: Mapping[str, Tensor], read: Tensor, calibration: Calibration) -> Distribution:
        """Return the calibrated prediction of the ensemble."""
        return together(self.raw(parameters, read), calibration)

    def losses(self, parameters: Mapping[str, Tensor], labels: GapLabels) -> Tensor:
        """Return the weighted sum over labels of the calibrated negative log-likelihood of each member (n_members,)."""
        predicted = calibrated(self.raw(parameters, labels.read), self.calibration)
        return -(predicted.log_prob(labels.gap.double().expand(len(labels.read), -1)) * labels.weight).sum(1)

    def fitted(
        self, labels: GapLabels, penalty: float, steps: int = 200, start: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return parameters that minimise the loss of the labels plus ½ penalty |parameters - old parameters|².

        L-BFGS with a line search that never increases the objective. The penalty is zero at the old parameters, so the
        final loss, summed over members, is not greater than the old one.

        Args:
            labels: to fit.
            penalty: strength of the penalty.
            steps: maximum number of steps of L-BFGS.
            start: initial parameters, such as those for a stronger penalty; the old ones if left out.
        """
        parameters = {name: value.clone().requires_grad_() for name, value in (start or self.begun).items()}
        optimizer = torch.optim.LBFGS(
            list(parameters.values()), max_iter=steps, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            distance = sum((value - self.begun[name]).square().sum() for name, value in parameters.items())
            loss = self.losses(parameters, labels).sum() + 0.5 * penalty * distance
            loss.backward()
            return loss

        if len(labels):
            optimizer.step(closure)
        return {name: value.detach() for name, value in parameters.items()}

    def put_into(self, model: Ensemble, parameters: Mapping[str, Tensor], calibration: Calibration) -> None:
        """Copy these heads and this calibration of gaps into a model, in place."""
        numbers = torch.tensor([calibration.temperature, calibration.slope, calibration.bias])
        with torch.no_grad():
            for place, member in enumerate(model.members):
                for name, value in member.heads.gap.named_parameters():  # type: ignore[union-attr]
                    value.copy_(parameters[name][place])
                member.heads.calibration[0].copy_(numbers)  # type: ignore[union-attr,index]


def members_of(raw: Hurdle) -> list[Hurdle]:
    """Split distributions of all members (n_members, n) by member."""
    parts = zip(raw.zero_logit, raw.loc, raw.scale, strict=True)
    return [replace(raw, zero_logit=logit, loc=loc, scale=scale) for logit, loc, scale in parts]


def together(raw: Hurdle, calibration: Calibration) -> Distribution:
    """Return the calibrated mixture of the uncalibrated distributions of all members."""
    return mixture_of([calibrated(part, calibration) for part in members_of(raw)])
