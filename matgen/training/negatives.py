"""Negatives of crystals: structures that are wrong in a known way, for the contrast of an energy.

Each function returns a batch of the same systems, made wrong, and a mask of the systems where this was possible (in a
crystal without free coordinates no atom can be displaced).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from matgen.chemistry.elements import descriptors, known_elements
from matgen.runtime.random import normal, uniform
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.noise import moved, per_system, scales, standard_normal
from matgen.templates.wyckoff import alternatives, wyckoff_table

Wrong = tuple[TemplateBatch, Geometry, Tensor]


def _sign(n: int, generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randint(0, 2, (n,), generator=generator).to(like) * 2.0 - 1


def _between(low: float, high: float, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
    return low + (high - low) * uniform((n,), generator, like)


def wrong_volume(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Change the volume by 15 to 25 %, up or down."""
    n, lattice = templates.n_systems, geometry.lattice.clone()
    change = (1 + _sign(n, generator, lattice) * _between(0.15, 0.25, n, generator, lattice)).log() / 3**0.5
    lattice[:, 5] += change
    return templates, replace(geometry, lattice=lattice), torch.ones_like(change, dtype=torch.bool)


def wrong_shape(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Move the free shape parameters by 0.08 to 0.2 in norm, at constant volume."""
    n, lattice = templates.n_systems, geometry.lattice.clone()
    direction = normal((n, 5), generator, lattice) * templates.free_lattice[:, :5]
    norm = direction.norm(dim=1, keepdim=True)
    size = _between(0.08, 0.2, n, generator, lattice)[:, None]
    lattice[:, :5] += size * direction / norm.clamp(min=1e-6)
    return templates, replace(geometry, lattice=lattice), norm.squeeze(1) > 0


def displaced(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Displace every free coordinate by a Gaussian of 0.3 to 0.7 Å."""
    noise = standard_normal(geometry, generator)
    still = replace(noise, lattice=torch.zeros_like(noise.lattice))
    size = _between(0.3, 0.7, templates.n_systems, generator, noise.lattice)
    wrong = moved(templates, geometry, still, scales(templates, geometry), size)
    free = per_system(templates, Geometry(0.0 * geometry.lattice, templates.free_coords.float())) > 0
    return templates, wrong, free


def swapped(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Exchange all sites of two elements: cation for anion, or one cation for another.

    Not possible where that may be the same crystal from another origin, as in rock salt or half-Heusler compounds.
    """
    host = templates.to("cpu")
    elements = host.site_element.clone()
    possible = torch.zeros(host.n_systems, dtype=torch.bool)
    for system in range(host.n_systems):
        here = host.site_system == system
        kinds = host.site_element[here].unique()
        if len(kinds) < 2:
            continue
        a, b = kinds[torch.randperm(len(kinds), generator=generator)[:2]]
        old = host.site_element[here]
        elements[here] = torch.where(old == a, b, torch.where(old == b, a, old))
        possible[system] = not _same_template(
            int(host.space_group[system]),
            host.site_position[here].tolist(),
            old.tolist(),
            elements[here].tolist(),
        )
    return replace(host, site_element=elements).to(templates.device), geometry, possible.to(templates.device)


def _same_template(space_group: int, positions: list[int], elements: list[int], others: list[int]) -> bool:
    """Return whether an equivalent description of the group maps one decoration of these positions to the other."""
    if Counter(elements) != Counter(others):
        return False
    start, sites = wyckoff_table().positions_of(space_group).start, sorted(zip(positions, elements, strict=True))
    return any(
        sorted((start + int(choice.letters[p - start]), z) for p, z in zip(positions, others, strict=True)) == sites
        for choice in alternatives(space_group)
    )


def substituted(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Replace one element by another that is chemically far from it (the farther half of the periodic table)."""
    known = torch.tensor(known_elements())
    apart = torch.cdist(descriptors(), descriptors()[known])
    host = templates.to("cpu")
    elements = host.site_element.clone()
    for system in range(host.n_systems):
        here = host.site_system == system
        kinds = elements[here].unique()
        old = kinds[torch.randint(len(kinds), (1,), generator=generator)]
        far = known[apart[old[0]] > apart[old[0]].median()]
        new = far[torch.randint(len(far), (1,), generator=generator)]
        elements[here] = torch.where(elements[here] == old, new, elements[here])
    wrong = replace(host, site_element=elements).to(templates.device)
    return wrong, geometry, torch.ones_like(wrong.space_group, dtype=torch.bool)


NEGATIVES: dict[str, Callable[[TemplateBatch, Geometry, torch.Generator], Wrong]] = {
    "volume": wrong_volume,
    "shape": wrong_shape,
    "displaced": displaced,
    "swapped": swapped,
    "substituted": substituted,
}
