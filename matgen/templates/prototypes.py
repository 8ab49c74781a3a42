"""Known geometries by Wyckoff layout: initial geometries for sampling, and a baseline for geometry models.

A *Wyckoff layout* is a space group and its occupied positions, without elements. A library holds geometries of each
layout with the chemistry of their sites; `nearest` applies the chemically closest ones to a template. A library of
single crystals is the baseline; the shipped library holds averages over several crystals of equal layout, similar
geometry and similar chemistry.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Self

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from matgen.chemistry.elements import descriptors
from matgen.templates.batch import Geometry, TemplateBatch, crystals_of
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.wyckoff import wyckoff_table

Layout = tuple[int, ...]

SAME_COORDINATE = 0.06  # of a cell edge: largest difference of free coordinates within a cluster
FEW = 4  # up to this number of sites, all pairings are tried
SAME_SHAPE = 0.12  # likewise for lattice parameters, about 12 % of a length
RESOLUTION = 0.04  # of stored element descriptors, whose standard deviation is one, in a byte: ± 5


def layout(template: CrystalTemplate) -> Layout:
    """Return the space group and the occupied positions."""
    return (template.space_group, *(position for position, _ in template.sites))


def layout_label(one: Layout) -> str:
    """Return a layout as text, such as `225: 4a, 4b`."""
    return f"{one[0]}: " + ", ".join(wyckoff_table().label(position) for position in one[1:])


@dataclass(frozen=True)
class Prototype:
    """A known geometry of one layout.

    Attributes:
        chemistry: descriptors of the element of each site, or their average (n_sites, n_descriptors).
        lattice: lattice parameters (6,).
        coords: site parameters (n_sites, 3).
        count: number of crystals that it represents.
    """

    chemistry: np.ndarray
    lattice: np.ndarray
    coords: np.ndarray
    count: int = 1


@dataclass(frozen=True)
class Match:
    """A prototype applied to a template.

    Attributes:
        distance: root mean square difference of element descriptors, averaged over atoms.
        count: number of crystals that the prototype represents.
        geometry: of one system.
    """

    distance: float
    count: int
    geometry: Geometry


class PrototypeLibrary:
    """Known geometries, by layout."""

    def __init__(self, prototypes: Iterable[tuple[Layout, Prototype]]) -> None:
        self._by_layout: dict[Layout, list[Prototype]] = defaultdict(list)
        for where, prototype in prototypes:
            self._by_layout[where].append(prototype)
        self._chemistry: dict[Layout, _Chemistry] = {}
        self._nearest: dict[CrystalTemplate, float] = {}

    @classmethod
    def of_crystals(cls, templates: TemplateBatch, geometry: Geometry) -> Self:
        """Return a library with every crystal as a prototype."""
        return cls(_single(templates, geometry))

    def __len__(self) -> int:
        return sum(len(prototypes) for prototypes in self._by_layout.values())

    def items(self) -> Iterator[tuple[Layout, Prototype]]:
        """Yield every prototype with its layout."""
        for where, prototypes in self._by_layout.items():
            for prototype in prototypes:
                yield where, prototype

    def __contains__(self, template: CrystalTemplate) -> bool:
        return layout(template) in self._by_layout

    def nearest(self, template: CrystalTemplate, n: int = 1) -> list[Match]:
        """Return the n chemically nearest prototypes of the same layout, nearest first; none for an unknown layout."""
        known = self._by_layout.get(layout(template), [])
        distances = self._distances(template)
        order = distances.argsort(kind="stable")[:n].tolist()
        return [Match(float(distances[i]), known[i].count, _applied(template, known[i])) for i in order]

    def distance(self, template: CrystalTemplate) -> float:
        """Return the chemical distance to the nearest prototype, as in `Match`; infinite for an unknown layout."""
        if template not in self._nearest:
            self._nearest[template] = float(self._distances(template).min(initial=np.inf))
        return self._nearest[template]

    def _distances(self, template: CrystalTemplate) -> np.ndarray:
        """Return the chemical distance of each prototype of a template's layout."""
        where = layout(template)
        if where not in self._by_layout:
            return np.zeros(0)
        if where not in self._chemistry:
            self._chemistry[where] = _Chemistry(where, self._by_layout[where])
        return self._chemistry[where].distances([z for _, z in template.sites])

    def averaged(self, smallest: int) -> Self:
        """Return a library of averages over at least `smallest` crystals of similar geometry and chemistry."""
        return type(self)(
            (where, average)
            for where, known in self._by_layout.items()
            for average in _averages(known, where, smallest)
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the library as tensors to be saved."""
        rows = [(where, p) for where, prototypes in self._by_layout.items() for p in prototypes]
        return {
            "space_group": torch.tensor([where[0] for where, _ in rows], dtype=torch.uint8),
            "n_sites": torch.tensor([len(where) - 1 for where, _ in rows], dtype=torch.uint8),
            "count": torch.tensor([p.count for _, p in rows], dtype=torch.int32),
            "position": torch.tensor([p for where, _ in rows for p in where[1:]], dtype=torch.int16),
            "lattice": torch.from_numpy(np.array([p.lattice for _, p in rows])).half(),
            "coords": torch.from_numpy(np.concatenate([p.coords for _, p in rows])).half(),
            "chemistry": _packed(np.concatenate([p.chemistry for _, p in rows])),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """Return the library from its `tensors`."""
        sizes = tensors["n_sites"].tolist()
        position = [p.tolist() for p in tensors["position"].split(sizes)]
        coords = [c.float().numpy() for c in tensors["coords"].split(sizes)]
        chemistry = [c.numpy() for c in _unpacked(tensors["chemistry"]).split(sizes)]
        lattice = tensors["lattice"].float().numpy()
        count = tensors["count"].tolist()
        groups = tensors["space_group"].tolist()
        return cls(
            ((groups[i], *position[i]), Prototype(chemistry[i], lattice[i], coords[i], count[i]))
            for i in range(len(sizes))
        )


def _single(templates: TemplateBatch, geometry: Geometry) -> Iterable[tuple[Layout, Prototype]]:
    table, first = descriptors().numpy(), 0
    lattice, coords = geometry.lattice.numpy(), geometry.coords.numpy()
    for i, template in enumerate(crystals_of(templates.unbatch())):
        last = first + len(template.sites)
        chemistry = table[[z for _, z in template.sites]]
        yield layout(template), Prototype(chemistry, lattice[i], coords[first:last])
        first = last


class _Chemistry:
    """Chemistry of the sites of all prototypes of a layout; keeps how far each element that was asked for is."""

    def __init__(self, where: Layout, prototypes: Sequence[Prototype]) -> None:
        positions = np.array(where[1:])
        self._sites = np.array([p.chemistry for p in prototypes])
        self._multiplicity = wyckoff_table().multiplicity.numpy()[positions]
        self._equal = [np.flatnonzero(positions == position) for position in np.unique(positions)]
        self._far: dict[int, np.ndarray] = {}

    def distances(self, elements: Sequence[int]) -> np.ndarray:
        """Return `Match.distance` (n_prototypes,) from a template with these elements on its sites."""
        far = [self._far_from(z) for z in elements]
        total = np.zeros(len(self._sites))
        for sites in self._equal:
            cost = np.stack([far[site][:, sites] for site in sites], axis=1)
            total += self._multiplicity[sites[0]] * _cheapest_pairing(cost)
        return total / (self._sites.shape[2] ** 0.5 * self._multiplicity.sum())

    def _far_from(self, element: int) -> np.ndarray:
        """Return the differences of descriptors between each site and an element, in norm (n_prototypes, n_sites)."""
        if element not in self._far:
            self._far[element] = np.linalg.norm(descriptors().numpy()[element] - self._sites, axis=-1)
        return self._far[element]


def _cheapest_pairing(cost: np.ndarray) -> np.ndarray:
    """Return the smallest sum (n,) of one entry of each row and column of square matrices (n, m, m)."""
    m = cost.shape[1]
    if m == 1:
        return cost[:, 0, 0]
    if m <= FEW:
        rows = range(m)
        return np.min([cost[:, rows, list(columns)].sum(1) for columns in permutations(rows)], axis=0)
    return np.array([one[linear_sum_assignment(one)].sum() for one in cost])


def _applied(template: CrystalTemplate, prototype: Prototype) -> Geometry:
    """Return the prototype's geometry, with sites on equal positions paired so that the elements differ least."""
    positions = np.array([p for p, _ in template.sites])
    wanted = descriptors().numpy()[[z for _, z in template.sites]]
    order = np.arange(len(positions))
    for position in np.unique(positions):
        sites = np.flatnonzero(positions == position)
        cost = np.linalg.norm(wanted[sites][:, None] - prototype.chemistry[sites][None], axis=-1)
        order[sites] = sites[linear_sum_assignment(cost)[1]]
    return Geometry(torch.from_numpy(prototype.lattice)[None], torch.from_numpy(prototype.coords[order]))


def _averages(known: list[Prototype], where: Layout, smallest: int) -> Iterable[Prototype]:
    """Yield averages over at least `smallest` prototypes: clustered by geometry, then split by chemistry."""
    if len(known) < smallest:
        return
    known = [_in_order_of_coordinates(p, where) for p in known]
    for group in _alike(known):
        if len(group) >= smallest:
            chemistry = np.array([known[i].chemistry.ravel() for i in group])
            for leaf in _leaves(chemistry, smallest):
                yield _mean([known[group[i]] for i in leaf])


def _in_order_of_coordinates(prototype: Prototype, where: Layout) -> Prototype:
    """Return the prototype with sites on equal positions sorted by coordinates, for comparison site by site."""
    keys = [(p, *np.round(u, 2).tolist()) for p, u in zip(where[1:], prototype.coords, strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return Prototype(prototype.chemistry[order], prototype.lattice, prototype.coords[order], prototype.count)


def _alike(known: list[Prototype]) -> list[np.ndarray]:
    """Return complete-linkage clusters with similar coordinates and shape parameters."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    if len(known) == 1:
        return [np.array([0])]
    angles = 2 * np.pi * np.array([p.coords.ravel() for p in known])
    chord = 2 * np.pi * SAME_COORDINATE
    shape = np.array([p.lattice[:5] for p in known]) / SAME_SHAPE
    points = np.concatenate([np.cos(angles) / chord, np.sin(angles) / chord, shape], axis=1)
    labels = fcluster(linkage(pdist(points, "chebyshev"), "complete"), 1.0, "distance")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _leaves(points: np.ndarray, smallest: int) -> list[np.ndarray]:
    """Split a set at the median of its widest direction while both halves have at least `smallest` members."""
    stack, leaves = [np.arange(len(points))], []
    while stack:
        rows = stack.pop()
        if len(rows) < 2 * smallest:
            leaves.append(rows)
            continue
        centred = points[rows] - points[rows].mean(0)
        axis = np.linalg.svd(centred, full_matrices=False)[2][0]
        order = rows[np.argsort(centred @ axis, kind="stable")]
        stack += [order[: len(rows) // 2], order[len(rows) // 2 :]]
    return leaves


def _mean(known: list[Prototype]) -> Prototype:
    """Return the average, on the torus around the first member."""
    origin = known[0].coords
    turns = np.array([p.coords - origin for p in known])
    coords = (origin + (turns - np.round(turns)).mean(0)) % 1.0
    return Prototype(
        chemistry=np.mean([p.chemistry for p in known], axis=0),
        lattice=np.mean([p.lattice for p in known], axis=0),
        coords=coords,
        count=sum(p.count for p in known),
    )


def _packed(chemistry: np.ndarray) -> Tensor:
    """Return descriptors in units of `RESOLUTION`, one byte each."""
    return torch.from_numpy(np.clip(np.rint(chemistry / RESOLUTION), -127, 127)).to(torch.int8)


def _unpacked(chemistry: Tensor) -> Tensor:
    """Return stored descriptors as float32; older files hold them in half precision."""
    return chemistry.float() if chemistry.is_floating_point() else chemistry.float() * RESOLUTION
