"""The proposals of `matgen design`, round by round, best first."""

from collections.abc import Iterator

import torch
from pymatgen.core import Structure

from baselines.proposals import Setting
from matgen.generation.generate import generate
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.presets import FAST
from matgen.generation.request import Request
from matgen.runtime.progress import Silence
from matgen.workflows.design import ROUND_STRIDE
from shared.crystals import shipped


class Designed:
    """All proposals of the rounds of a design, without a stop once enough candidates are found.

    Args:
        setting: setting of the comparison.
        fast: use the preset that leaves the geometry to the relaxation.
    """

    def __init__(self, setting: Setting, *, fast: bool = False) -> None:
        target = {} if setting.gap is None else {"band_gap": setting.gap}
        preset = FAST if fast else {}
        self.request = Request.of(targets=target, n=setting.n, seed=setting.seed, **preset)
        self.models = shipped()
        self.models.library  # noqa: B018  # sorts its prototypes once

    def round(self, number: int) -> Iterator[tuple[Structure, float]]:
        """Yield the proposals of one run of the generator, each with the predicted gap of its ranking."""
        generator = torch.Generator().manual_seed((self.request.search.seed + number * ROUND_STRIDE) % 2**63)
        for proposal in generate(self.request, Crystals(self.request, self.models), generator, Silence()):
            yield proposal.structure, float(proposal.properties["band_gap"].value)
