"""Whether the electrons of a template can fill closed shells, as a band gap requires."""

from functools import cache

import torch
from torch import Tensor

from matgen.chemistry.charges import commonly_neutral_formula
from matgen.chemistry.elements import reduced
from matgen.energies.base import TemplateEnergy
from matgen.energies.sharing import single_templates
from matgen.templates.batch import TemplateBatch


class ClosedShell(TemplateEnergy):
    """One if no common charges cancel, plus one if the primitive cell has an odd number of electrons.

    A band holds two electrons in each primitive cell, so that an odd number leaves one half filled, unless spins
    polarise; and a compound that is neutral only with rare charges, Sn(III) or Sb(IV) or Bi(I), seldom has a gap. Of
    32,841 compounds with nonmetals in the training table (Materials Project, at most 20 atoms in the cell;
    `scripts/benchmarks/count_closed_shells.py`) a gap above 0.1 eV have

        |                                              | even number | odd number |
        | -------------------------------------------- | ----------- | ---------- |
        | common charges cancel (`commonly_neutral`)   | 87.1 %      | 75.5 %     |
        | they don't                                   | 46.2 %      | 32.3 %     |

    It also penalises elements, bonds between equal atoms (FeS2, P2) and ordered spins (MnO), which may have a gap for
    another reason.

    Models that predict gaps from atoms and bonds do not count electrons, and a search with them finds where it matters.
    """

    name = "closed_shell"

    def forward(self, templates: TemplateBatch) -> Tensor:
        """0, 1 or 2 (n_systems,)."""
        found = [_cost(tuple(sorted(t.composition.items()))) for t in single_templates(templates)]
        return torch.tensor(found, device=templates.device, dtype=torch.float32)


@cache
def _cost(composition: tuple[tuple[int, int], ...]) -> int:
    odd = sum(z * n for z, n in composition) % 2
    return odd + (not commonly_neutral_formula(reduced(dict(composition))))
