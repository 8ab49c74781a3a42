"""Templates of which a part is held, and the rest may hold other elements on the same Wyckoff positions.

A template is a multiset of (position, element) sites. The held sites are contained in each template; what remains is
open. Open sites fall into groups, each with elements of its own: a site of the rest belongs to the group that has its
position and its element, which is unique by construction.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, islice, product

from matgen.chemistry.elements import SYMBOLS
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import ContradictionError
from matgen.templates.wyckoff import wyckoff_table

Sites = tuple[tuple[int, int], ...]
"""(Row of the Wyckoff table, atomic number) of each site."""


@dataclass(frozen=True)
class OpenSites:
    """Sites of a template that may hold other elements.

    Attributes:
        sites: indices of the sites of the template.
        elements: atomic numbers that may occupy them.
    """

    sites: tuple[int, ...]
    elements: frozenset[int]


@dataclass(frozen=True)
class HeldTemplate:
    """The templates that agree with a given one on its held sites and in its space group.

    Attributes:
        template: the given one.
        groups: its open sites; all others are held.
        movable: whether the open sites, of one group, may also be on other positions.
    """

    template: CrystalTemplate
    groups: tuple[OpenSites, ...]
    movable: bool = False

    def __post_init__(self) -> None:
        """Check that the group of a site follows from its position and element.

        Raises:
            ContradictionError: two groups share a site, or a position and an element, or a group has no element.
        """
        for i, one in enumerate(self.groups):
            if not one.elements:
                raise ContradictionError("expected elements that may replace others, got none that are allowed")
            for other in self.groups[:i]:
                if set(one.sites) & set(other.sites):
                    raise ContradictionError("expected each site to be replaced once, got one twice; name it once")
                shared = set(self._positions(one)) & set(self._positions(other))
                both = one.elements & other.elements
                if shared and both:
                    label = wyckoff_table().label(min(shared))
                    some = ", ".join(SYMBOLS[z] for z in sorted(both)[:4])
                    raise ContradictionError(
                        f"expected different elements for two replacements on the Wyckoff position {label}, got {some} "
                        "for both; name different elements"
                    )

    def _positions(self, group: OpenSites) -> tuple[int, ...]:
        return tuple(self.template.sites[site][0] for site in group.sites)

    @property
    def held(self) -> Sites:
        """The held sites, ascending."""
        opened = {site for group in self.groups for site in group.sites}
        return tuple(site for i, site in enumerate(self.template.sites) if i not in opened)

    def parts(self, template: CrystalTemplate) -> list[Sites]:
        """Return the sites of each group, ascending.

        Raises:
            ValueError: the template does not hold the held sites, or a site belongs to no group.
        """
        rest = Counter(template.sites)
        rest.subtract(self.held)
        if min(rest.values()) < 0:
            raise ValueError(f"expected a template with the sites {self.held}, got {template}")
        found: list[list[tuple[int, int]]] = [[] for _ in self.groups]
        for position, z in sorted(rest.elements()):
            found[self._group(position, z)].append((position, z))
        return [tuple(sites) for sites in found]

    def _group(self, position: int, z: int) -> int:
        for index, group in enumerate(self.groups):
            if z in group.elements and (self.movable or position in self._positions(group)):
                return index
        raise ValueError(f"expected an element that may be on position {position}, got {SYMBOLS[z]}")

    def count(self) -> int:
        """Return the number of templates."""
        total = 1
        for group in self.groups:
            for repeats in Counter(self._positions(group)).values():
                total *= math.comb(len(group.elements) + repeats - 1, repeats)
        return total

    def all(self) -> Iterator[CrystalTemplate]:
        """Yield every template once."""
        choices: list[list[Sites]] = []
        for group in self.groups:
            for position, repeats in sorted(Counter(self._positions(group)).items()):
                some = combinations_with_replacement(sorted(group.elements), repeats)
                choices.append([tuple((position, z) for z in elements) for elements in some])
        for chosen in product(*choices):
            yield self.with_open([site for sites in chosen for site in sites])

    def with_open(self, sites: Sequence[tuple[int, int]]) -> CrystalTemplate:
        """Return the template with the held sites and these."""
        return CrystalTemplate(self.template.space_group, tuple(sorted((*self.held, *sites))))

    def same_positions(self, template: CrystalTemplate) -> bool:
        """Return whether a template occupies the positions of the given one."""
        return [p for p, _ in template.sites] == [p for p, _ in self.template.sites]

    def correspondences(self, template: CrystalTemplate, most: int) -> list[tuple[int, ...]]:
        """Return in which ways the sites of a template are those of the given one, at most so many.

        Elements on open sites of one position may be arranged in several ways, which differ in geometry.

        Args:
            template: with the same positions and the held sites.
            most: number of ways.

        Returns:
            For each way the index of the given template's site of each site.
        """
        fixed = [i for i in range(len(self.template.sites)) if all(i not in group.sites for group in self.groups)]
        blocks: list[list[tuple[tuple[tuple[int, int], int], ...]]] = []
        for group, sites in zip(self.groups, self.parts(template), strict=True):
            for position in dict.fromkeys(self._positions(group)):
                places = [i for i in group.sites if self.template.sites[i][0] == position]
                here = [site for site in sites if site[0] == position]
                blocks.append(list(islice(_arrangements(here, places), most)))
        ways = []
        for chosen in islice(product(*blocks), most):
            pairs = [(self.template.sites[i], i) for i in fixed] + [pair for block in chosen for pair in block]
            ways.append(tuple(i for _, i in sorted(pairs)))
        return ways


def _arrangements(
    sites: Sequence[tuple[int, int]], places: Sequence[int]
) -> Iterator[tuple[tuple[tuple[int, int], int], ...]]:
    """Yield the distinct ways to put sites of one position on places."""
    if not places:
        yield ()
        return
    for site in dict.fromkeys(sites):
        left = list(sites)
        left.remove(site)
        for rest in _arrangements(left, places[1:]):
            yield ((site, places[0]), *rest)
