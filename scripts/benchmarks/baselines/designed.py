"""The proposals of `matgen design`, unit by unit, best first."""

from collections.abc import Iterator

import torch
from pymatgen.core import Structure

from baselines.proposals import Setting
from matgen.generation.generate import generate
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.presets import FAST
from matgen.generation.request import Request
from matgen.runtime.progress import Silence
from matgen.search.units import STRIDE, size_of_unit
from shared.crystals import shipped


class Designed:
    """All proposals of the units of a design, without a stop once enough candidates are found.

    Args:
        setting: setting of the comparison.
        fast: use the preset that leaves the geometry to the relaxation.
    """

    def __init__(self, setting: Setting, *, fast: bool = False) -> None:
        target = {} if setting.gap is None else {"band_gap": setting.gap}
        preset = FAST if fast else {}
        request = Request.of(targets=target, n=setting.n, seed=setting.seed, **preset)
        self.request = request.updated(n=size_of_unit(request))
        self.models = shipped()
        self.models.library  # noqa: B018  # sorts its prototypes once

    def round(self, number: int) -> Iterator[tuple[Structure, float]]:
        """Yield the proposals of one unit, each with the predicted gap of its ranking."""
        generator = torch.Generator().manual_seed((self.request.search.seed + number * STRIDE) % 2**63)
        for proposal in generate(self.request, Crystals(self.request, self.models), generator, Silence()):
            yield proposal.structure, float(proposal.properties["band_gap"].value)
