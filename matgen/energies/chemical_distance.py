"""Chemical distance of a template from known prototypes of its Wyckoff layout."""

import torch
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.energies.sharing import single_templates
from matgen.templates.batch import TemplateBatch, crystals_of
from matgen.templates.prototypes import PrototypeLibrary


class ChemicalDistance(TemplateEnergy):
    """½ (d / width)², d the chemical distance to the nearest known prototype of the template's Wyckoff layout.

    Predictions of properties are reliable near the training crystals; a search for extreme predictions finds errors
    beyond them first. d is `PrototypeLibrary.distance`, at most `farthest`, which is also that of an unknown layout.

    Attributes:
        library: known prototypes.
        width: scale of d, in units of the element descriptors.
        farthest: largest d that counts, in the same units.
    """

    name = "chemical_distance"

    def __init__(self, library: PrototypeLibrary, width: float = 0.15, farthest: float = 0.6) -> None:
        super().__init__()
        if not 0 < width < farthest:
            raise ValueError(f"expected 0 < width < farthest, got {width} and {farthest}")
        self.library, self.width, self.farthest = library, width, farthest

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,)."""
        distance = torch.tensor(
            [self.library.distance(template) for template in crystals_of(single_templates(templates))]
        )
        return 0.5 * (distance.clamp(max=self.farthest) / self.width).square().to(templates.device)
