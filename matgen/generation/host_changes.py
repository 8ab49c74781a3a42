"""What of a host changes, as a user types it: `Co -> Ni,Mn`, `site 2 -> any`, `Co -> Al x1`, `sites 1-4`."""

import re
from dataclasses import dataclass

from matgen.chemistry.elements import SYMBOLS, known_elements
from matgen.generation.errors import RequestError
from matgen.generation.formulas import element
from matgen.structures.hosts import Host

_REPLACEMENT = re.compile(r"\s*(?:site\s+(\d+)|([A-Za-z]+))\s*(?:->|→)\s*([A-Za-z,\s]+?)\s*(?:\bx\s*(\d+))?\s*")

ANY = "any"
"""Word for all known elements."""


@dataclass(frozen=True)
class Replacement:
    """Elements that replace others.

    Attributes:
        sites: indices of the sites of the host.
        elements: atomic numbers that replace them.
        count: atoms that are replaced, in a supercell; 0 for all atoms of the sites.
    """

    sites: tuple[int, ...]
    elements: frozenset[int]
    count: int


def replacement(text: str, host: Host) -> Replacement:
    """Return a replacement.

    Args:
        text: as typed.
        host: the crystal.

    Raises:
        RequestError: the text cannot be read, or replaces an element by itself.
        HostError: the host has no such site.
        UnknownElementError: a symbol is no element, or one that no training crystal holds.
    """
    match = _REPLACEMENT.fullmatch(text)
    if match is None:
        raise RequestError(
            f"expected a replacement such as 'Co -> Ni,Mn', 'site 2 -> any' or 'Co -> Al x1', got {text!r}"
        )
    number, symbol, by, count = match.groups()
    sites = (host.site(int(number)),) if number else host.sites_of(element(symbol, must_be_known=False))
    old = {host.template.sites[site][1] for site in sites}
    new = set(known_elements()) - old if by.strip().lower() == ANY else set(map(element, by.split(",")))
    if new & old:
        raise RequestError(f"expected other elements than {SYMBOLS[min(new & old)]} itself in {text!r}; leave it out")
    if count is not None and not int(count):
        raise RequestError(f"expected at least one atom in {text!r}, got x0; leave the count out to replace all")
    return Replacement(sites, frozenset(new), int(count or 0))


def kept_sites(text: str, host: Host) -> frozenset[int]:
    """Return the indices of the sites that `keep` names: `sites 1-4`, `site 2`, `sites 1,3-4`, or symbols `Sr,O`.

    Raises:
        RequestError: the text cannot be read.
        HostError: the host has no such site.
        UnknownElementError: a symbol is no element.
    """
    if not text:
        return frozenset()
    match = re.fullmatch(r"\s*sites?\s+([\d,\s-]+)", text)
    if match is None:
        if not re.fullmatch(r"\s*[A-Za-z]{1,2}\s*(,\s*[A-Za-z]{1,2}\s*)*", text):
            raise RequestError(f"expected sites to keep, such as 'sites 1-4' or 'Sr,O', got {text!r}")
        symbols = [element(symbol, must_be_known=False) for symbol in text.split(",")]
        return frozenset(site for z in symbols for site in host.sites_of(z))
    found: set[int] = set()
    for part in match[1].split(","):
        ends = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if ends is None or (ends[2] and int(ends[2]) < int(ends[1])):
            raise RequestError(f"expected sites such as 'sites 1-4' or 'sites 1,3', got {text!r}")
        first, last = host.site(int(ends[1])), host.site(int(ends[2] or ends[1]))
        found.update(range(first, last + 1))
    return frozenset(found)
