"""Keys by which a JSON value is known as a structure, or as an object that holds one."""

import re
from typing import Any

from matgen.structures.cif_block import HAS_CELL
from matgen.structures.poscar import is_head

HOLDERS = ("structure", "cif", "final_structure", "initial_structure")
"""Keys of a JSON object, and columns of a CSV table, that may hold a structure; `smiles` is tried after them."""

SITES = frozenset({"sites", "cart_coords"})
MOLECULE = SITES | {"smiles", "inchi"}
"""Keys of a molecule; of a crystal only beside a cell."""

OPTIMADE = frozenset({"lattice_vectors", "cartesian_site_positions", "species_at_sites"})
CDVAE = frozenset({"frac_coords", "atom_types", "lengths", "angles"})
COMPACT = frozenset({"lattice", "species", "frac_coords"})
ROW = frozenset({"numbers", "positions"})
"""Keys by which crystals of OPTIMADE, CDVAE, and others are known; all of each. `ROW` is of databases of ASE."""

CELL = frozenset({"lattice", "lattice_vectors", "lengths"})
"""Keys of a cell."""

STRUCTURES = frozenset({"lattice", *MOLECULE, *HOLDERS}) | OPTIMADE
"""Keys any of which makes an object a structure, or says that it holds one."""

PRINTED = re.compile("[\"']lattice[\"']")
"""A crystal as JSON, or as Python prints it, within a text."""


def is_structure(value: Any) -> bool:
    """Return whether a JSON value is a structure or holds one: an object by its keys, a text by its beginning."""
    if isinstance(value, str):
        return bool(HAS_CELL.search(value) or PRINTED.search(value)) or is_head(value.splitlines()[:7])
    if not isinstance(value, dict):
        return False
    keys, inner = set(value), value.get("attributes")
    in_attributes = isinstance(inner, dict) and set(inner) >= OPTIMADE
    return bool(STRUCTURES & keys) or keys >= CDVAE or keys >= ROW or in_attributes


def named_structures(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the values of a mapping from names to structures; empty if none is one.

    Numbers and short texts beside them are about the file. Anything else is kept, so that reading says why it is none.
    """
    if is_structure(value) or not any(map(is_structure, value.values())):
        return []
    return [(name, item) for name, item in value.items() if is_structure(item) or _may_be_meant(item)]


def _may_be_meant(item: Any) -> bool:
    """Return whether a value that is no structure may have been meant as one, and must not vanish."""
    if isinstance(item, list):
        return any(isinstance(one, dict | list) or is_structure(one) for one in item)
    return item is None or isinstance(item, dict) or (isinstance(item, str) and "\n" in item)
