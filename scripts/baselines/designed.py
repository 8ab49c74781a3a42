"""Ours: what `matgen design` proposes, round by round, best first."""

from collections.abc import Iterator

import torch
from baselines.proposals import Setting
from evaluation import shipped
from pymatgen.core import Structure

from matgen.generation import generate
from matgen.progress import Silence
from matgen.request import Request
from matgen.workflows.design import ROUND_STRIDE


class Designed:
    """All proposals that the rounds of a design relax in turn, none left out once enough candidates are found."""

    def __init__(self, setting: Setting) -> None:
        wish = {} if setting.gap is None else {"band_gap": setting.gap}
        self.request, self.models = Request(properties=wish, n=setting.n, seed=setting.seed), shipped()
        self.models.library  # noqa: B018  # sorts its prototypes once

    def round(self, number: int) -> Iterator[Structure]:
        """Proposals of one run of the generator."""
        generator = torch.Generator().manual_seed((self.request.seed + number * ROUND_STRIDE) % 2**63)
        for proposal in generate(self.request, self.models, generator, Silence()):
            yield proposal.structure
