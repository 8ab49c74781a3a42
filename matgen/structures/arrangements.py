"""Arrangements of atoms and vacancies on sites: all with given numbers, and one of each class of symmetry."""

from collections.abc import Sequence

import numpy as np

from matgen.errors import UserError

Integers = np.ndarray
"""An array of integers."""


class TooManyError(UserError, ValueError):
    """More arrangements than are enumerated."""


def arrangements(
    groups: Sequence[Integers], counts: Sequence[Integers], near: Sequence[frozenset[int]], most: int
) -> Integers:
    """Return all arrangements (n, n_sites): 0 is a vacancy, other numbers are elements.

    Args:
        groups: sites of each group; each site is in one.
        counts: how many sites of each group are vacant, and have each element.
        near: for each site those that are never occupied together with it.
        most: arrangements at most.

    Raises:
        TooManyError: there are more, or became more on the way.
    """
    found = np.zeros((1, sum(map(len, groups))), dtype=np.int8)
    for sites, numbers in zip(groups, counts, strict=True):
        clique = {site: number for number, one in enumerate(cliques(sites, near)) for site in one}
        left = np.tile(np.asarray(numbers), (len(found), 1))
        order = sorted(sites.tolist(), key=lambda site: (clique[site], site))
        for place, site in enumerate(order):
            free = len({clique[other] for other in order[place + 1 :]})
            found, left = _with_site(found, left, site, sorted(near[site]), free)
            if len(found) > most:
                raise TooManyError(f"more than {most:,} arrangements")
    return found


def _with_site(found: Integers, left: Integers, site: int, near: Sequence[int], free: int) -> tuple[Integers, Integers]:
    """Return partial arrangements with one more site, and what is left for the others, of which `free` can be full."""
    blocked = (found[:, near] > 0).any(axis=1)
    grown, remaining = [], []
    for species in range(left.shape[1]):
        fits = (left[:, species] > 0) & ~(blocked & (species > 0))
        some, rest = found[fits], left[fits]
        some[:, site] = species
        rest[:, species] -= 1
        possible = rest[:, 1:].sum(axis=1) <= free
        grown.append(some[possible])
        remaining.append(rest[possible])
    return np.concatenate(grown), np.concatenate(remaining)


def cliques(sites: Integers, near: Sequence[frozenset[int]]) -> list[set[int]]:
    """Divide sites into sets of which all are near each other, so that at most one of a set is occupied."""
    found: list[set[int]] = []
    for site in sites.tolist():
        fitting = next((one for one in found if one <= near[site]), None)
        if fitting is None:
            found.append({site})
        else:
            fitting.add(site)
    return found


def distinct(found: Integers, permutations: Integers) -> list[tuple[int, int]]:
    """Return the position of the first arrangement of each class, and the size of the class.

    Args:
        found: arrangements (n, n_sites), complete.
        permutations: of the sites, a group (n, n_sites).
    """
    if len(permutations) == 1:
        return [(place, 1) for place in range(len(found))]
    left = {row.tobytes(): place for place, row in enumerate(found)}
    classes = []
    for place, row in enumerate(found):
        if row.tobytes() not in left:
            continue
        images = {image.tobytes() for image in row[permutations]}
        for image in images:
            del left[image]
        classes.append((place, len(images)))
    return classes
