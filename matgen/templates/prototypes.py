"""Known geometries by Wyckoff layout: the nearest one, rescaled, is a floor that any geometry model has to beat."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from matgen.elements import descriptors
from matgen.templates.crystal import CrystalTemplate, Geometry, TemplateBatch
from matgen.templates.wyckoff import wyckoff_table

Layout = tuple[int, ...]


def layout(template: CrystalTemplate) -> Layout:
    """Space group and occupied positions, whatever sits on them."""
    return (template.space_group, *(position for position, _ in template.sites))


@dataclass(frozen=True)
class Prototype:
    """A known geometry of one layout.

    Attributes:
        elements: atomic numbers of the sites, in the order of a template's sites.
        lattice: lattice numbers (6,).
        coords: site numbers (n_sites, 3).
        count: how many known crystals it stands for.
    """

    elements: tuple[int, ...]
    lattice: Tensor
    coords: Tensor
    count: int = 1


@dataclass(frozen=True)
class Match:
    """A prototype laid on a template: chemical distance per atom, and the geometry it gives."""

    distance: float
    geometry: Geometry


class PrototypeLibrary:
    """Known geometries, looked up by layout."""

    def __init__(self, templates: TemplateBatch, geometry: Geometry) -> None:
        self._by_layout: dict[Layout, list[Prototype]] = defaultdict(list)
        first = 0
        for i, template in enumerate(templates.unbatch()):
            last = first + len(template.sites)
            elements = tuple(z for _, z in template.sites)
            self._by_layout[layout(template)].append(
                Prototype(elements, geometry.lattice[i], geometry.coords[first:last])
            )
            first = last
        self._descriptors = descriptors().numpy()

    def __contains__(self, template: CrystalTemplate) -> bool:
        return layout(template) in self._by_layout

    def nearest(self, template: CrystalTemplate, n: int = 1) -> list[Match]:
        """The n chemically nearest prototypes of a template's layout, nearest first; none if the layout is new."""
        matches = [self._laid_on(template, prototype) for prototype in self._by_layout.get(layout(template), [])]
        return sorted(matches, key=lambda match: match.distance)[:n]

    def _laid_on(self, template: CrystalTemplate, prototype: Prototype) -> Match:
        """Sites on equal positions are paired so that the elements differ least."""
        positions = np.array([p for p, _ in template.sites])
        wanted = self._descriptors[[z for _, z in template.sites]]
        known = self._descriptors[list(prototype.elements)]
        multiplicity = wyckoff_table().multiplicity.numpy()[positions]
        order = np.arange(len(positions))
        for position in np.unique(positions):
            sites = np.flatnonzero(positions == position)
            cost = np.linalg.norm(wanted[sites][:, None] - known[sites][None], axis=-1)
            rows, columns = linear_sum_assignment(cost)
            order[sites[rows]] = sites[columns]
        apart = np.linalg.norm(wanted - known[order], axis=-1)
        distance = float((apart * multiplicity).sum() / multiplicity.sum())
        return Match(distance, Geometry(prototype.lattice[None], prototype.coords[torch.from_numpy(order)]))
