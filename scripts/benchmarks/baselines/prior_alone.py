"""The template prior without a model of geometry: uniform free parameters at the usual volume of the composition."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from pymatgen.core import Structure
from torch import Tensor

from baselines.proposals import Setting, generator_of
from matgen.checks.contacts import closest_contact
from matgen.checks.pair_distances import OF_RADII
from matgen.energies.template_sampling import TemplateSampler
from matgen.generation.kinds.crystals import sampled_conditions
from matgen.generation.request import Request
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.lattice import FAMILY_ENDS, crystal_family
from shared.crystals import as_structures, crystals, shipped

SAMPLED = 32
"""Templates per round."""

GEOMETRIES = 20
"""Samples of the free parameters, of which the first without an overlap is used."""

MIDDLE = (0.05, 0.95)
"""Quantiles of the training crystals between which lattice shapes are sampled."""


class PriorAlone:
    """Templates sampled as in design, on the hull and with the target gap, but without weights and moves."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.prior = setting, shipped().prior
        self.request = Request.of(targets={} if setting.gap is None else {"band_gap": setting.gap})

    def round(self, number: int) -> Iterator[Structure]:
        """Yield distinct templates of one batch, each with a geometry."""
        generator = generator_of(self.setting, "prior", number)
        conditions = sampled_conditions(self.request, SAMPLED, generator)
        sampler = TemplateSampler(self.prior, self.request.rules)
        sampled = list(dict.fromkeys(sampler.sample(conditions, generator)))
        for i in torch.randperm(len(sampled), generator=generator).tolist():  # they end shortest first
            yield random_geometry(sampled[i], self.setting.table, generator)


def random_geometry(template: CrystalTemplate, table: Path, generator: torch.Generator) -> Structure:
    """Return the first of several random geometries without an overlap, or the one with the widest closest contact."""
    batch = TemplateBatch.of([template] * GEOMETRIES)
    low, high = shape_ranges(table)[crystal_family(template.space_group)]
    lattice = low + (high - low) * torch.rand(GEOMETRIES, 6, generator=generator)
    coords = torch.rand(len(batch.site_system), 3, generator=generator)
    best, widest = None, -1.0
    for structure in as_structures(batch, Geometry(lattice * batch.free_lattice, coords * batch.free_coords)):
        ratio = closest_contact(structure).ratio
        if ratio > widest:
            best, widest = structure, ratio
        if ratio >= OF_RADII:
            break
    assert best is not None
    return best


@cache
def shape_ranges(table: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the range (6,), (6,) of each lattice parameter by crystal family; zero for the volume."""
    known = crystals(table)
    known = known.select(known.split == 0)
    families = [crystal_family(group) for group in known.templates.space_group.tolist()]
    found = {}
    for family in FAMILY_ENDS:
        rows = torch.tensor([name == family for name in families])
        lattice = known.geometry.lattice[rows] if rows.any() else torch.zeros(1, 6)
        low, high = (lattice.quantile(q, dim=0) for q in MIDDLE)
        low[5] = high[5] = 0.0
        found[family] = (low, high)
    return found
