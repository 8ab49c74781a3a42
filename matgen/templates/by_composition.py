"""Templates for a composition, from known prototypes: crystal structure prediction by analogy.

The sites of a prototype fall into *classes* that hold one element each. An assignment of elements to classes that gives
the wanted composition is a template; its chemical distance to the prototype tells how good the analogy is. This is
template-based structure prediction (TCSP: Wei et al., Inorg. Chem. 61, 8431, 2022) with the prototypes of a
`PrototypeLibrary`, and with classes that may share an element.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from matgen.chemistry.elements import descriptors, reduced
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules
from matgen.templates.prototypes import Layout, Prototype, PrototypeLibrary
from matgen.templates.wyckoff import multiplicities

MOST_ASSIGNMENTS = 200
"""Assignments of elements to classes that are tried for each pattern of atoms per class."""

DECIMALS = 3
"""Sites whose descriptors agree to these decimals hold the same element in all crystals of an average."""


@dataclass(frozen=True)
class Pattern:
    """Prototypes with equal numbers of atoms per class.

    Attributes:
        layouts: Wyckoff layout of each prototype.
        classes: class of each site of each prototype.
        chemistry: element descriptors of each class (n_prototypes, n_classes, n_descriptors).
    """

    layouts: tuple[Layout, ...]
    classes: tuple[tuple[int, ...], ...]
    chemistry: np.ndarray


class CompositionIndex:
    """Prototypes by the numbers of atoms of their classes."""

    def __init__(self, library: PrototypeLibrary) -> None:
        found: dict[tuple[int, ...], list[tuple[Layout, tuple[int, ...], np.ndarray]]] = defaultdict(list)
        for layout, prototype in library.items():
            atoms, classes, chemistry = _classes(layout, prototype)
            found[atoms].append((layout, classes, chemistry))
        self._patterns = {
            atoms: Pattern(tuple(x[0] for x in rows), tuple(x[1] for x in rows), np.array([x[2] for x in rows]))
            for atoms, rows in found.items()
        }

    def templates(self, rules: TemplateRules, most: int) -> list[tuple[CrystalTemplate, float]]:
        """Return templates of a composition and their chemical distances, nearest first.

        Args:
            rules: constraints, with a composition.
            most: largest number of templates.
        """
        found: dict[CrystalTemplate, float] = {}
        for units in rules.possible_units:
            wanted = {z: n * units for z, n in reduced(dict(rules.composition))}
            for atoms, pattern in self._patterns.items():
                if sum(atoms) == sum(wanted.values()) and len(atoms) >= len(wanted):
                    for template, distance in _assigned(pattern, atoms, wanted, most):
                        found[template] = min(distance, found.get(template, np.inf))
        allowed = [(template, distance) for template, distance in found.items() if rules.satisfied(template)]
        return sorted(allowed, key=lambda pair: (pair[1], pair[0].space_group, pair[0].sites))[:most]


def _classes(layout: Layout, prototype: Prototype) -> tuple[tuple[int, ...], tuple[int, ...], np.ndarray]:
    """Return atoms of each class, ascending, the class of each site, and the descriptors of each class."""
    keys = [tuple(row) for row in np.round(prototype.chemistry, DECIMALS).tolist()]
    atoms = dict.fromkeys(keys, 0)
    for position, key in zip(layout[1:], keys, strict=True):
        atoms[key] += multiplicities()[position]
    order = sorted(atoms, key=lambda key: (atoms[key], key))
    chemistry = prototype.chemistry[[keys.index(key) for key in order]]
    place = {key: i for i, key in enumerate(order)}
    return tuple(atoms[key] for key in order), tuple(place[key] for key in keys), chemistry


def _assigned(
    pattern: Pattern, atoms: tuple[int, ...], wanted: dict[int, int], most: int
) -> Iterator[tuple[CrystalTemplate, float]]:
    """Yield the templates of a pattern that have a composition, the `most` nearest of each assignment."""
    table = descriptors().numpy()
    share = np.array(atoms) / (sum(atoms) * table.shape[1] ** 0.5)
    for number, elements in enumerate(assignments(atoms, wanted)):
        if number == MOST_ASSIGNMENTS:
            return
        distances = np.linalg.norm(pattern.chemistry - table[list(elements)], axis=-1) @ share
        for i in distances.argsort(kind="stable")[:most].tolist():
            group, *positions = pattern.layouts[i]
            sites = ((p, elements[c]) for p, c in zip(positions, pattern.classes[i], strict=True))
            yield CrystalTemplate(group, tuple(sorted(sites))), float(distances[i])


def assignments(atoms: tuple[int, ...], wanted: dict[int, int]) -> Iterator[tuple[int, ...]]:
    """Yield the element of each class, in every way that gives a composition.

    Args:
        atoms: of each class.
        wanted: atoms of each element, by atomic number.
    """
    if not atoms:
        if not any(wanted.values()):
            yield ()
        return
    for z, left in wanted.items():
        if left >= atoms[-1]:
            for rest in assignments(atoms[:-1], wanted | {z: left - atoms[-1]}):
                yield (*rest, z)
