"""Charge balance: zero for compositions that are valid by SMACT, a penalty for others."""

from collections import Counter
from functools import cache

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.chemistry.charges import can_be_neutral
from matgen.chemistry.elements import SYMBOLS, reduced
from matgen.energies.base import Energy, TemplateEnergy
from matgen.energies.sharing import single_templates
from matgen.templates.batch import TemplateBatch


class ChargeBalance(TemplateEnergy):
    """`penalty` for every template whose composition is invalid by SMACT.

    It depends on the composition only, and therefore scores templates. The penalty is finite, so that moves from one
    valid composition to another may pass through an invalid one.
    """

    name = "charge_balance"

    def __init__(self, penalty: float = 10.0) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, templates: TemplateBatch) -> Tensor:
        """0 or `penalty` (n_systems,)."""
        invalid = [not _is_valid(reduced(t.composition)) for t in single_templates(templates)]
        return self.penalty * torch.tensor(invalid, device=templates.device, dtype=torch.float32)


class StateChargeBalance(Energy):
    """The same of states: constant in the geometry, it matters where elements are exchanged."""

    name = "charge_balance"

    def __init__(self, penalty: float = 10.0) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, state: State, sigma: Tensor) -> Tensor:  # noqa: ARG002 (the noise level changes nothing)
        """0 or `penalty` (n_systems,)."""
        numbers = state.atomic_numbers.cpu().split(state.n_atoms.tolist())
        invalid = [not _is_valid(reduced(Counter(z.tolist()))) for z in numbers]
        return self.penalty * torch.tensor(invalid).to(state.positions)


@cache
def _is_valid(formula: tuple[tuple[int, int], ...]) -> bool:
    return can_be_neutral({SYMBOLS[z]: n for z, n in formula})
