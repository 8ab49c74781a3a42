"""Negatives of molecules: structures that are wrong in a known way, for the contrast of an energy.

As in `matgen.training.negatives`, each function returns the same systems, made wrong, and a mask of the systems where
this was possible.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from matgen.batch.graphs import TETRAHEDRAL
from matgen.runtime.random import normal, uniform
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.training.negatives import Wrong

SINGLE = 1


def _pick(scores: Tensor, owner: Tensor, n_systems: int) -> Tensor:
    """Return the row of the highest score of each system, -1 where it has none (n_systems,)."""
    best = scores.new_full((n_systems,), -1.0).scatter_reduce(0, owner, scores, "amax")
    chosen = torch.full((n_systems,), -1, dtype=torch.long, device=scores.device)
    top = (scores == best[owner]).nonzero().ravel()
    chosen[owner[top]] = top
    return chosen


def _everywhere(n: int, device: torch.device) -> Tensor:
    return torch.ones(n, dtype=torch.bool, device=device)


def stretched(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Change the length of one bond by 0.12 to 0.4 Å, moving one of its atoms."""
    centre, neighbor, relation = templates.graphs.edges(templates.n_sites)
    bonded = (relation < 5).nonzero().ravel()
    centre, neighbor = centre[bonded], neighbor[bonded]
    n = templates.n_systems
    chosen = _pick(uniform(centre.shape, generator, geometry.coords), templates.site_system[centre], n)
    possible = chosen >= 0
    atom, other = centre[chosen[possible]], neighbor[chosen[possible]]
    along = unit(geometry.coords[atom] - geometry.coords[other])
    size = 0.12 + 0.28 * uniform((len(atom),), generator, along)
    sign = torch.where(uniform((len(atom),), generator, along) < 0.5, -1.0, 1.0)
    coords = geometry.coords.index_add(0, atom, (sign * size)[:, None] * along)
    return templates, replace(geometry, coords=coords), possible


def unit(vectors: Tensor) -> Tensor:
    """Return vectors (n, 3) of length one."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)


def swollen(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Scale all distances by 4 to 10 %, up or down."""
    n = templates.n_systems
    size = 0.04 + 0.06 * uniform((n,), generator, geometry.coords)
    sign = torch.where(uniform((n,), generator, geometry.coords) < 0.5, -1.0, 1.0)
    coords = geometry.coords * (1 + sign * size)[templates.site_system, None]
    return templates, replace(geometry, coords=coords), _everywhere(n, templates.device)


def displaced(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Displace every atom by a Gaussian of 0.12 to 0.4 Å along each axis."""
    n = templates.n_systems
    size = 0.12 + 0.28 * uniform((n,), generator, geometry.coords)
    noise = normal(geometry.coords.shape, generator, geometry.coords)
    coords = geometry.coords + size[templates.site_system, None] * noise
    return templates, replace(geometry, coords=coords), _everywhere(n, templates.device)


def exchanged(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Exchange two atoms of different heavy elements."""
    n, element = templates.n_systems, templates.site_element
    score = uniform(element.shape, generator, geometry.coords) * (element > 1)
    first = _pick(score, templates.site_system, n).clamp(min=0)
    other = uniform(element.shape, generator, geometry.coords)
    other = other * ((element > 1) & (element != element[first][templates.site_system]))
    second = _pick(other, templates.site_system, n).clamp(min=0)
    possible = (other[second] > 0) & (score[first] > 0)
    one, two = first[possible], second[possible]
    coords = geometry.coords.clone()
    coords[one], coords[two] = geometry.coords[two], geometry.coords[one]
    return templates, replace(geometry, coords=coords), possible


def turned(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Turn one side of a single bond, in no ring, by 40 to 80 degrees, from staggered to eclipsed."""
    centre, neighbor, relation = templates.graphs.edges(templates.n_sites)
    bonded = relation < 5
    degree = torch.bincount(centre[bonded], minlength=len(templates.site_system))
    free = (bonded & (relation == SINGLE) & (degree[centre] > 1) & (degree[neighbor] > 1)).nonzero().ravel()
    n = templates.n_systems
    scores = uniform((len(free),), generator, geometry.coords)
    chosen = _pick(scores, templates.site_system[centre[free]], n)
    around: dict[int, list[int]] = {}
    for i, j in zip(centre[bonded].tolist(), neighbor[bonded].tolist(), strict=True):
        around.setdefault(i, []).append(j)
    angles = 40.0 + 40.0 * uniform((n,), generator, geometry.coords)
    coords, possible = geometry.coords.clone(), torch.zeros(n, dtype=torch.bool, device=geometry.coords.device)
    for system, row in enumerate(chosen.tolist()):
        if row < 0:
            continue
        i, j = int(centre[free[row]]), int(neighbor[free[row]])
        side = _side(around, i, j)
        if i in side:  # a ring
            continue
        rows = torch.tensor(sorted(side), device=coords.device)
        axis = unit((geometry.coords[j] - geometry.coords[i])[None])[0]
        coords[rows] = _rotated(geometry.coords[rows] - geometry.coords[i], axis, angles[system]) + geometry.coords[i]
        possible[system] = True
    return templates, replace(geometry, coords=coords), possible


def _side(around: dict[int, list[int]], i: int, j: int) -> set[int]:
    """Return the atoms connected with j when the bond i-j is cut; i is among them if the bond is in a ring."""
    seen, waiting = {j}, [k for k in around[j] if k != i]
    while waiting:
        k = waiting.pop()
        if k not in seen:
            seen.add(k)
            waiting += around[k]
    return seen


def _rotated(vectors: Tensor, axis: Tensor, degrees: Tensor) -> Tensor:
    """Rotate vectors (n, 3) about an axis, by Rodrigues' formula."""
    angle = torch.deg2rad(degrees)
    along = (vectors @ axis)[:, None] * axis
    across = torch.linalg.cross(axis.expand_as(vectors), vectors)
    return along + (vectors - along) * angle.cos() + across * angle.sin()


def mirrored(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:  # noqa: ARG001
    """Reflect molecules whose graph has a stereocentre."""
    centres = templates.graphs.stereo_kind == TETRAHEDRAL
    owner = templates.site_system[templates.graphs.stereo_sites[centres, 0]]
    possible = torch.zeros(templates.n_systems, dtype=torch.bool, device=owner.device).index_fill(0, owner, value=True)
    return templates, replace(geometry, coords=-geometry.coords), possible


MOLECULE_NEGATIVES: dict[str, Callable[[TemplateBatch, Geometry, torch.Generator], Wrong]] = {
    "stretched": stretched,
    "swollen": swollen,
    "displaced": displaced,
    "exchanged": exchanged,
    "turned": turned,
    "mirrored": mirrored,
}
