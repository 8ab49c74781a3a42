"""Systems as the scalar head of the graph energy reads them, with trunk and denoiser fixed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from matgen.batch.graphs import take_rows
from matgen.datasets.crystals import CrystalTable
from matgen.nn.graph_energy import GraphEnergy, over_sites, residual_per_atom, site_share
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.training.adversarial import adversarial
from matgen.training.denoising import noised, own_samples
from matgen.training.negatives import NEGATIVES, Wrong

ADVERSARIAL_STEPS = 4
Maker = Callable[[TemplateBatch, Geometry, torch.Generator], Wrong]


@dataclass(frozen=True)
class Systems:
    """Inputs of the head.

    Attributes:
        scalars: of each site (n_sites, channels).
        share: of the atoms of its system, of each site (n_sites,).
        counts: sites of each system (n_systems,).
        residual: denoising part of E / N (n_systems,).
    """

    scalars: Tensor
    share: Tensor
    counts: Tensor
    residual: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the systems of several parts, one after another."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def levels(self, head: nn.Module, rows: Tensor) -> Tensor:
        """Return E / N of some systems (n_rows,)."""
        sites, owner = take_rows(self.counts.cumsum(0) - self.counts, self.counts, rows)
        h = head(self.scalars[sites].float()).squeeze(-1) * self.share[sites]
        return self.residual[rows] + h.new_zeros(len(rows)).index_add(0, owner, h)


@torch.no_grad()
def read(model: GraphEnergy, templates: TemplateBatch, geometry: Geometry, sigma: Tensor) -> Systems:
    """Return what the head reads of these systems at noise levels sigma (n_systems,), Å."""
    inputs: list[Tensor] = []
    hook = model.site_energy.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    state = expand(templates, geometry)
    output = model(state, sigma)
    hook.remove()
    counts = over_sites(torch.ones_like(output.site_energy), state).long()
    return Systems(inputs[0], site_share(state, torch.float32), counts, residual_per_atom(output, state, sigma))


def makers(model: GraphEnergy) -> dict[str, Maker]:
    """Return all classes of negatives by name: those of training, own samples, and adversarial ones."""
    return {
        **NEGATIVES,
        "sample": lambda t, g, r: own_samples(model, t, g, r),
        "adversarial": lambda t, g, r: adversarial(model, t, g, r, ADVERSARIAL_STEPS),
    }


@dataclass(frozen=True)
class Pool:
    """Real systems, and one negative of each class for each.

    Attributes:
        real: the real systems.
        false: negatives, class after class.
        possible: which negatives are wrong indeed (n_classes, n_real).
    """

    real: Systems
    false: Systems
    possible: Tensor


def pool(
    model: GraphEnergy,
    table: CrystalTable,
    rows: Tensor,
    levels: Callable[[int, torch.Generator], Tensor],
    generator: torch.Generator,
    *,
    noise: bool,
    classes: Mapping[str, Maker] | None = None,
    size: int = 64,
) -> Pool:
    """Return real systems and negatives of some rows of a table.

    Args:
        model: the network, whose trunk is fixed.
        table: of crystals.
        rows: of the table.
        levels: noise levels of so many systems, Å.
        generator: random numbers.
        noise: add noise of these levels, as in training.
        classes: of negatives; those of `makers` if left out.
        size: of a batch.
    """

    def seen(templates: TemplateBatch, geometry: Geometry) -> Systems:
        sigma = levels(templates.n_systems, generator)
        return read(model, templates, noised(templates, geometry, sigma, generator)[0] if noise else geometry, sigma)

    classes = makers(model) if classes is None else classes
    real, false, possible = [], {name: [] for name in classes}, []
    for chunk in rows[table.n_atoms[rows].argsort(stable=True)].split(size):
        templates, geometry = table.batch(chunk)
        real.append(seen(templates, geometry))
        masks = []
        for name, make in classes.items():
            wrong, where, yes = make(templates, geometry, generator)
            false[name].append(seen(wrong, where))
            masks.append(yes)
        possible.append(torch.stack(masks))
    parts = [Systems.joined(some) for some in false.values()]
    return Pool(Systems.joined(real), Systems.joined(parts), torch.cat(possible, 1))


@dataclass(frozen=True)
class Candidates:
    """Geometries of known templates, of which an energy has to find the right one.

    Attributes:
        systems: the geometries.
        owner: the row that each belongs to (n_systems,).
        hit: which match the truth (n_systems,).
    """

    systems: Systems
    owner: Tensor
    hit: Tensor

    def chosen(self, head: nn.Module) -> Tensor:
        """Return for each row whether the candidate of lowest energy matches (n_rows,)."""
        levels = self.systems.levels(head, torch.arange(len(self.owner), device=self.owner.device))
        best = [rows[levels[rows].argmin()] for rows in self._by_row()]
        return self.hit[torch.stack(best)]

    def _by_row(self) -> list[Tensor]:
        return [(self.owner == row).nonzero().ravel() for row in self.owner.unique()]
