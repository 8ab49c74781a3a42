"""The geometries that the sampler passes through on the way to a proposal, kept where they are asked for.

Recording reads what the sampler makes and draws no random number, so that proposals are the same with and without.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from matgen.runtime.devices import placed
from matgen.structures.candidate import Material
from matgen.structures.conversion import structures
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand


@dataclass(frozen=True)
class Frame:
    """One geometry on the way to a proposal.

    Attributes:
        stage: `initial`, `diffusion`, `langevin`, `substitution`, `denoising`, `relaxation`.
        label: what happened, in words.
        material: crystal or molecule.
        energy: that the stage lowers; None where it has none.
        unit: of the energy; empty for the total energy of the sampler, which is dimensionless.
    """

    stage: str
    label: str
    material: Material
    energy: float | None = None
    unit: str = ""


class Recorder(Protocol):
    """What the sampler tells of its steps."""

    def frame(
        self, stage: str, label: str, templates: TemplateBatch, geometry: Geometry, energy: Tensor | None = None
    ) -> None:
        """Take the geometries of all systems of a batch, with the energy (n_systems,) of each if there is one."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Keep these systems of the batch; the next frame begins another one."""
        ...


class NotRecorded:
    """Keeps nothing."""

    def frame(
        self, stage: str, label: str, templates: TemplateBatch, geometry: Geometry, energy: Tensor | None = None
    ) -> None:
        """Take nothing."""

    def keep(self, rows: Tensor) -> None:
        """Keep nothing."""


@dataclass(frozen=True)
class _Step:
    """A step of all systems of a batch."""

    stage: str
    label: str
    templates: TemplateBatch
    geometry: Geometry
    energy: Tensor | None

    def select(self, rows: Tensor) -> "_Step":
        energy = None if self.energy is None else self.energy[rows]
        geometry = self.geometry.select(self.templates, rows)
        return _Step(self.stage, self.label, self.templates.select(rows), geometry, energy)


@dataclass
class Recorded:
    """Keeps every step, batch by batch, on the CPU."""

    _steps: list[_Step] = field(default_factory=list)
    _kept: list[Sequence[_Step]] = field(default_factory=list)

    def frame(
        self, stage: str, label: str, templates: TemplateBatch, geometry: Geometry, energy: Tensor | None = None
    ) -> None:
        """Take the geometries of all systems of a batch."""
        values = None if energy is None else energy.detach().to("cpu")
        batch, found = placed((templates, geometry), "cpu")
        self._steps.append(_Step(stage, label, batch, found, values))

    def keep(self, rows: Tensor) -> None:
        """Keep these systems of the batch."""
        chosen = rows.to("cpu")
        self._kept.append([step.select(chosen) for step in self._steps])
        self._steps = []

    def frames(self, row: int) -> list[Frame]:
        """Return the frames of a system, counted through all batches in the order in which they were kept."""
        for steps in self._kept:
            n = steps[0].templates.n_systems if steps else 0
            if row < n:
                return [_frame(step, row) for step in steps]
            row -= n
        return []


def _frame(step: _Step, row: int) -> Frame:
    one = step.select(torch.tensor([row]))
    (material,) = structures(expand(one.templates, one.geometry))
    return Frame(step.stage, step.label, material, None if one.energy is None else float(one.energy[0]))
