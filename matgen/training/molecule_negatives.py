"""Molecules that are wrong in a known way, to teach an energy its levels.

As `matgen.training.negatives`: each function takes a batch and returns the same systems, made wrong, with a mask of
those where it could be.
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
    """Row of the highest score of each system, -1 where it has none (n_systems,)."""
    best = scores.new_full((n_systems,), -1.0).scatter_reduce(0, owner, scores, "amax")
    chosen = torch.full((n_systems,), -1, dtype=torch.long, device=scores.device)
    top = (scores == best[owner]).nonzero().ravel()
    chosen[owner[top]] = top
    return chosen


def _everywhere(n: int, device: torch.device) -> Tensor:
    return torch.ones(n, dtype=torch.bool, device=device)


def stretched(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """One bond of each molecule longer or shorter by 0.12 to 0.4 Å: one of its atoms moves along it."""
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
    """Unit vectors along these (n, 3)."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)


def swollen(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """All distances larger or smaller by 4 to 10 %."""
    n = templates.n_systems
    size = 0.04 + 0.06 * uniform((n,), generator, geometry.coords)
    sign = torch.where(uniform((n,), generator, geometry.coords) < 0.5, -1.0, 1.0)
    coords = geometry.coords * (1 + sign * size)[templates.site_system, None]
    return templates, replace(geometry, coords=coords), _everywhere(n, templates.device)


def displaced(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Every atom displaced by a Gaussian of 0.12 to 0.4 Å along each axis."""
    n = templates.n_systems
    size = 0.12 + 0.28 * uniform((n,), generator, geometry.coords)
    noise = normal(geometry.coords.shape, generator, geometry.coords)
    coords = geometry.coords + size[templates.site_system, None] * noise
    return templates, replace(geometry, coords=coords), _everywhere(n, templates.device)


def exchanged(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:
    """Two atoms of different heavy elements in each other's place."""
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
    """One side of a single bond, in no ring, turned by 40 to 80 degrees, so that what was staggered is eclipsed."""
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
    """Atoms that hang on j when the bond i-j is cut; all of them where it is in a ring."""
    seen, waiting = {j}, [k for k in around[j] if k != i]
    while waiting:
        k = waiting.pop()
        if k not in seen:
            seen.add(k)
            waiting += around[k]
    return seen


def _rotated(vectors: Tensor, axis: Tensor, degrees: Tensor) -> Tensor:
    """Rodrigues' rotation of vectors (n, 3)."""
    angle = torch.deg2rad(degrees)
    along = (vectors @ axis)[:, None] * axis
    across = torch.linalg.cross(axis.expand_as(vectors), vectors)
    return along + (vectors - along) * angle.cos() + across * angle.sin()


def mirrored(templates: TemplateBatch, geometry: Geometry, generator: torch.Generator) -> Wrong:  # noqa: ARG001
    """The mirror image, where the graph asks for the hand of a centre."""
    asked = templates.graphs.stereo_kind == TETRAHEDRAL
    owner = templates.site_system[templates.graphs.stereo_sites[asked, 0]]
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
