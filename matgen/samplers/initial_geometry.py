"""Where the geometry of a template starts: known prototypes, a learned density, or noise."""

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

    def select(self, rows: Tensor) -> Self:
        """Some of the starts."""
        geometry = self.geometry.select(self.templates, rows)
        return type(self)(self.templates.select(rows), geometry, self.owner[rows], self.from_prototype[rows])

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return placed(self, device)


def joined(parts: Sequence[InitialGeometries]) -> InitialGeometries:
    """Starts one after another; owners are kept as they are."""
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
    """The nearest prototypes of each template, as far as there are any, and draws from a density for the rest.

    On the CPU, where the library is.

    Args:
        templates: the discrete halves.
        library: known geometries by layout.
        sample: a density over geometries.
        generator: source of all randomness.
        per_template: starts of each template.
        prototypes: how many of them may be prototypes.
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
