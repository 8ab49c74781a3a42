"""What is computed of a structure alone, kept for a report that is made again as its run grows."""

import json
from functools import lru_cache
from typing import Any

from pymatgen.core.structure import Structure

from matgen.report.nearest import nearest
from matgen.report.nearest_molecule import nearest_molecule
from matgen.report.powder import powder
from matgen.report.structures import conventional
from matgen.structures.record import material_of, material_record

REMEMBERED = 2000
"""Structures."""


def key_of(structure: Structure) -> str:
    """Return a structure as text."""
    return json.dumps(material_record(structure))


def structure_of(key: str) -> Structure:
    """Return the structure of a text of `key_of`."""
    found = material_of(json.loads(key))
    assert isinstance(found, Structure)  # noqa: S101 (for mypy: keys are of crystals)
    return found


@lru_cache(maxsize=REMEMBERED)
def conventional_of(key: str) -> Structure:
    """Return the conventional cell of a structure."""
    return conventional(structure_of(key))


@lru_cache(maxsize=REMEMBERED)
def powder_of(key: str) -> dict[str, Any] | None:
    """Return the powder pattern of a structure."""
    return powder(conventional_of(key))


@lru_cache(maxsize=REMEMBERED)
def nearest_of(key: str, space_group: int) -> dict[str, Any] | None:
    """Return the nearest known crystal of a structure."""
    return nearest(structure_of(key), space_group)


@lru_cache(maxsize=REMEMBERED)
def nearest_molecule_of(smiles: str) -> dict[str, Any]:
    """Return the known molecule that a molecule is most similar to."""
    return nearest_molecule(smiles)
