"""How far a template's chemistry lies from what is known in its layout."""

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.templates.batch import TemplateBatch, crystals_of
from matgen.templates.prototypes import PrototypeLibrary


class ChemicalDistance(TemplateEnergy):
    """½ (d / width)², d the chemical distance to the nearest known prototype of the template's layout.

    Models that predict properties know their training crystals' neighbourhood; beyond it they guess, and a search for
    what they predict finds their wrong guesses first. d is `PrototypeLibrary.distance`, at most `farthest`, which also
    stands for a layout that is not known at all.

    Attributes:
        library: known prototypes.
        width: distance, in units of the element descriptors, from which on it counts.
        farthest: likewise, from which on it counts no more.
    """

    name = "chemical_distance"

    def __init__(self, library: PrototypeLibrary, width: float = 0.15, farthest: float = 0.6) -> None:
        super().__init__()
        if not 0 < width < farthest:
            raise ValueError(f"expected 0 < width < farthest, got {width} and {farthest}")
        self.library, self.width, self.farthest = library, width, farthest

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,)."""
        apart = torch.tensor([self.library.distance(template) for template in crystals_of(templates.unbatch())])
        return 0.5 * (apart.clamp(max=self.farthest) / self.width).square().to(templates.device)
