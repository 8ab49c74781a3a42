"""Initial geometries of crystals, from known prototypes and a learned density."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from matgen.batch.graphs import take_sites
from matgen.runtime.devices import placed
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import PrototypeLibrary

Sample = Callable[[TemplateBatch, torch.Generator], Geometry]


@dataclass(frozen=True)
class InitialGeometries:
    """Several initial geometries of each template.

    Attributes:
        templates: one entry for each geometry; sites ascending.
        geometry: the initial geometries.
        owner: index of the given template that each geometry belongs to (n_systems,).
        from_prototype: whether it is that of a known prototype (n_systems,), bool.
    """

    templates: TemplateBatch
    geometry: Geometry
    owner: Tensor
    from_prototype: Tensor

    def select(self, rows: Tensor) -> Self:
        """The geometries of these rows."""
        geometry = self.geometry.select(self.templates, rows)
        return type(self)(self.templates.select(rows), geometry, self.owner[rows], self.from_prototype[rows])

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return placed(self, device)


def joined(parts: Sequence[InitialGeometries]) -> InitialGeometries:
    """Concatenate initial geometries; owners are kept."""
    templates, geometry = concatenated([(part.templates, part.geometry) for part in parts])
    owner = torch.cat([part.owner for part in parts])
    return InitialGeometries(templates, geometry, owner, torch.cat([part.from_prototype for part in parts]))


def initial_geometries(
    templates: Sequence[CrystalTemplate],
    library: PrototypeLibrary,
    sample: Sample,
    generator: torch.Generator,
    *,
    per_template: int,
    prototypes: int,
) -> InitialGeometries:
    """Return geometries of the nearest prototypes of each template, and samples of a density for the rest.

    They are on the CPU, where the library is.

    Args:
        templates: the discrete halves.
        library: known geometries by Wyckoff layout.
        sample: samples a density over geometries.
        generator: source of all randomness.
        per_template: geometries of each template.
        prototypes: most of these that are from prototypes.
    """
    rows: list[tuple[int, Geometry | None]] = []
    for i, template in enumerate(templates):
        known = [match.geometry for match in library.nearest(template, min(prototypes, per_template))]
        rows += [(i, geometry) for geometry in known] + [(i, None)] * (per_template - len(known))
    batch = TemplateBatch.of([templates[i] for i, _ in rows])
    from_prototype = torch.tensor([geometry is not None for _, geometry in rows], dtype=torch.bool)
    unknown = (~from_prototype).nonzero().ravel()
    lattice, coords = torch.zeros(len(rows), 6), torch.zeros(len(batch.site_system), 3)
    if len(unknown):
        sampled = sample(batch.select(unknown), generator).to("cpu")
        lattice[unknown] = sampled.lattice
        coords[take_sites(batch.site_system, len(rows), unknown)[0]] = sampled.coords
    if bool(from_prototype.any()):
        lattice[from_prototype] = torch.cat([g.lattice for _, g in rows if g is not None])
        coords[from_prototype[batch.site_system]] = torch.cat([g.coords for _, g in rows if g is not None])
    geometry = Geometry(lattice * batch.free_lattice, coords * batch.free_coords)
    return InitialGeometries(batch, geometry, torch.tensor([i for i, _ in rows]), from_prototype)
