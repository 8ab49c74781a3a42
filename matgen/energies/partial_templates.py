"""Templates in the making: the sites so far, of many templates at once."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from matgen.nn.sites import PaddedSites
from matgen.nn.template_prior import MAX_POSITIONS, group_positions
from matgen.templates.crystal import CrystalTemplate


@dataclass(frozen=True)
class Partial:
    """Templates that are sampled site by site, or read again for the probability of being sampled.

    Attributes:
        row: index of the template in the request (n,).
        group: space group (n,).
        letter, element: of the sites in their order (n, width); -1 where they are to be sampled; 27 and 0 where no
            further site follows.
        length: number of sites so far (n,).
        left: atoms of each element that are still to be placed (n, 95); meaningless without a composition.
        log_p: log probability of what has been sampled or read (n,).
        done: whether the last step ended the template (n,).
    """

    row: Tensor
    group: Tensor
    letter: Tensor
    element: Tensor
    length: Tensor
    left: Tensor
    log_p: Tensor
    done: Tensor

    def select(self, rows: Tensor) -> "Partial":
        """The templates of these rows, or of this mask."""
        return Partial(*(getattr(self, field.name)[rows] for field in fields(self)))

    def sites(self) -> PaddedSites:
        """The sites so far, as the network reads them."""
        columns = torch.arange(int(self.length.max()) if len(self.length) else 0, device=self.length.device)
        present = columns < self.length[:, None]
        letter, element = (torch.where(present, t[:, : len(columns)], 0) for t in (self.letter, self.element))
        position = torch.where(present, wyckoff_positions(self.group[:, None], letter), 0)
        return PaddedSites(position, element, present, torch.zeros_like(position))

    def templates(self) -> list[CrystalTemplate]:
        """The sites so far as templates."""
        sites = self.sites()
        rows = zip(self.group.tolist(), sites.position.tolist(), sites.element.tolist(), strict=True)
        return [
            CrystalTemplate(group, tuple(sorted((p, z) for p, z in zip(positions, elements, strict=True) if z)))
            for group, positions, elements in rows
        ]


def joined(parts: Sequence[Partial]) -> Partial:
    """Concatenate partial templates of equal width."""
    return Partial(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Partial)))


def wyckoff_positions(group: Tensor, letter: Tensor) -> Tensor:
    """Rows of the Wyckoff table; arbitrary for the letter that means the end."""
    return group_positions(letter.device)[0][group - 1, letter.clamp(max=MAX_POSITIONS - 1)]
