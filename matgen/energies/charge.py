"""Charge balance: nothing where SMACT finds a composition valid, a penalty where it does not."""

from collections import Counter
from functools import cache

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.chemistry.charges import can_be_neutral
from matgen.chemistry.elements import SYMBOLS, reduced
from matgen.energies.base import Energy, TemplateEnergy
from matgen.templates.batch import TemplateBatch


class ChargeBalance(TemplateEnergy):
    """`penalty` for every template whose composition SMACT calls invalid.

    It depends on elements and numbers of atoms only, so templates are the place to weigh it. The penalty is finite, so
    that moves from one valid composition to another may lead through an invalid one.
    """

    name = "charge_balance"

    def __init__(self, penalty: float = 10.0) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, templates: TemplateBatch) -> Tensor:
        """0 or `penalty` (n_systems,)."""
        wrong = [not _is_valid(reduced(t.composition)) for t in templates.unbatch()]
        return self.penalty * torch.tensor(wrong, device=templates.device, dtype=torch.float32)


class StateChargeBalance(Energy):
    """The same of states: constant in the geometry, it tells compositions apart where elements are exchanged."""

    name = "charge_balance"

    def __init__(self, penalty: float = 10.0) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, state: State, sigma: Tensor) -> Tensor:  # noqa: ARG002 (the noise level changes nothing)
        """0 or `penalty` (n_systems,)."""
        numbers = state.atomic_numbers.cpu().split(state.n_atoms.tolist())
        wrong = [not _is_valid(reduced(Counter(z.tolist()))) for z in numbers]
        return self.penalty * torch.tensor(wrong).to(state.positions)


@cache
def _is_valid(formula: tuple[tuple[int, int], ...]) -> bool:
    return can_be_neutral({SYMBOLS[z]: n for z, n in formula})
