"""OPTIMADE structures: the answer of an OPTIMADE interface to `/structures`, version 1.2, as one JSON object.

What OPTIMADE has no name for has the prefix `_matgen_`. Source: C. W. Andersen et al., Sci. Data 8, 217 (2021);
https://github.com/Materials-Consortia/OPTIMADE.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from string import ascii_uppercase
from typing import Any

from pymatgen.core.structure import Structure

from matgen import __version__
from matgen.interchange.item import Item

VERSION = "1.2.0"
"""Of the specification."""

PREFIX = "_matgen_"

UNITS = {
    f"{PREFIX}energy_of_potential": "eV/atom",
    f"{PREFIX}ev_per_atom": "eV/atom",
    f"{PREFIX}enthalpy": "eV/atom",
    f"{PREFIX}pressure": "GPa",
    f"{PREFIX}energy": "1",
    f"{PREFIX}energies": "1",
}
"""Units of what does not name its own, as predictions and verdicts do; 1 for the terms of the energy and their sum."""


def optimade_response(items: Sequence[Item], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer that holds these crystals, as JSON types.

    Args:
        items: crystals.
        provenance: of their run; `_matgen_provenance` of `meta`.
    """
    changed = _time(provenance.get("started"))
    return {
        "data": [
            {"id": item.name, "type": "structures", "attributes": _attributes(item) | {"last_modified": changed}}
            for item in items
        ],
        "meta": {
            "query": {"representation": "/structures"},
            "api_version": VERSION,
            "more_data_available": False,
            "data_returned": len(items),
            "data_available": len(items),
            "implementation": {"name": "matgen", "version": __version__},
            "provider": {
                "name": "matgen",
                "description": "designed or screened by matgen",
                "prefix": "matgen",
            },
            f"{PREFIX}provenance": _json(provenance),
            f"{PREFIX}units": UNITS,
        },
    }


def _attributes(item: Item) -> dict[str, Any]:
    """Return the attributes of one crystal, but the time of its last change."""
    candidate = item.candidate
    group = candidate.space_group
    return structure_attributes(candidate.crystal) | {
        "immutable_id": None,
        **({} if group is None else {"space_group_it_number": group.number}),
        **{_own_name(name): _json(value) for name, value in item.columns.items()},
        f"{PREFIX}predictions": {name: _json(asdict(one)) for name, one in candidate.properties.items()},
        f"{PREFIX}verdicts": {name: _json(asdict(one)) for name, one in candidate.verdicts.items()},
        f"{PREFIX}energies": _json(candidate.energies),
        f"{PREFIX}energy_of_potential": _json(item.energy),
        f"{PREFIX}potential": item.potential or None,
    }


def structure_attributes(crystal: Structure) -> dict[str, Any]:
    """Return what OPTIMADE requires of an ordered crystal: composition, lattice (Å), sites (Å)."""
    symbols = [site.specie.symbol for site in crystal]
    elements = sorted(set(symbols))
    counts = [symbols.count(element) for element in elements]
    divisor = reduce(math.gcd, counts)
    reduced = [count // divisor for count in counts]
    letters = sorted(reduced, reverse=True)
    return {
        "elements": elements,
        "nelements": len(elements),
        "elements_ratios": [count / len(symbols) for count in counts],
        "chemical_formula_descriptive": crystal.composition.reduced_formula,
        "chemical_formula_reduced": _formula(elements, reduced),
        "chemical_formula_anonymous": _formula(ascii_uppercase[: len(letters)], letters),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": crystal.lattice.matrix.tolist(),
        "cartesian_site_positions": crystal.cart_coords.tolist(),
        "nsites": len(crystal),
        "species": [{"name": one, "chemical_symbols": [one], "concentration": [1.0]} for one in elements],
        "species_at_sites": symbols,
        "structure_features": [],
    }


def _formula(symbols: Sequence[str], counts: Sequence[int]) -> str:
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in zip(symbols, counts, strict=True))


def _own_name(column: str) -> str:
    """Return the name of a column of ours, in lower case as OPTIMADE demands."""
    return PREFIX + re.sub(r"[^a-z0-9_]", "_", column.lower())


def _time(started: Any) -> str | None:
    """Return a time as OPTIMADE writes it; None if it is unknown."""
    return started.replace("+00:00", "Z") if isinstance(started, str) and started.endswith("+00:00") else None


def _json(value: Any) -> Any:
    """Return JSON types; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {name: _json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
