"""Where the geometry of a template starts: known prototypes, a learned density, or noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.templates.crystal import CrystalTemplate, Geometry, TemplateBatch
from matgen.templates.prototypes import PrototypeLibrary

Draw = Callable[[TemplateBatch, torch.Generator], Geometry]


@dataclass(frozen=True)
class Starts:
    """Several starting geometries of each template.

    Attributes:
        templates: one entry for each start; sites ascending.
        geometry: the starts.
        owner: which of the given templates each start belongs to (n_starts,).
        from_prototype: whether a known prototype was used (n_starts,), bool.
    """

    templates: TemplateBatch
    geometry: Geometry
    owner: Tensor
    from_prototype: Tensor


def starts(
    templates: Sequence[CrystalTemplate],
    library: PrototypeLibrary,
    draw: Draw,
    generator: torch.Generator,
    *,
    per_template: int,
    prototypes: int,
) -> Starts:
    """The nearest prototypes of each template, as far as there are any, and draws from a density for the rest.

    Args:
        templates: the discrete halves.
        library: known geometries by layout.
        draw: a density over geometries.
        generator: source of all randomness.
        per_template: starts of each template.
        prototypes: how many of them may be prototypes.
    """
    batch = TemplateBatch.of([t for t in templates for _ in range(per_template)])
    drawn = draw(batch, generator)
    lattice, coords = drawn.lattice.clone(), drawn.coords.clone()
    known = torch.zeros(batch.n_systems, dtype=torch.bool)
    first = 0
    for i, template in enumerate(templates):
        n_sites = len(template.sites)
        for j, match in enumerate(library.nearest(template, min(prototypes, per_template))):
            row, site = i * per_template + j, first + j * n_sites
            lattice[row] = match.geometry.lattice[0]
            coords[site : site + n_sites] = match.geometry.coords
            known[row] = True
        first += per_template * n_sites
    lattice, coords = lattice * batch.free_lattice, coords * batch.free_coords
    owner = torch.arange(len(templates)).repeat_interleave(per_template)
    return Starts(batch, Geometry(lattice, coords), owner, known)
