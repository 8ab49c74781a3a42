"""Crystals in JSON that is not of pymatgen: OPTIMADE, CDVAE and its successors, the database of ASE, matgen."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymatgen.core.composition import Composition
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from matgen.structures.atomic_formats import read_row
from matgen.structures.broken import BrokenStructureError
from matgen.structures.faithful import Faithfulness, FromFile
from matgen.structures.json_keys import CDVAE, COMPACT, HOLDERS, OPTIMADE, ROW, STRUCTURES
from matgen.templates.molecular_geometry import Placed

PARTS_OF_FULL = 1e-3


def rows_of(value: Any) -> list[tuple[str, Any]] | None:
    """Return the structures of a JSON value that wraps several, with their names; None if it does not.

    Args:
        value: `{"data": [...]}` of OPTIMADE and other interfaces, a table of pandas (`split`), a database of ASE.
    """
    if not isinstance(value, dict):
        return None
    columns = _columns(value)
    if columns or STRUCTURES & set(value):
        return columns or None
    data, ids = value.get("data"), value.get("ids")
    if isinstance(value.get("columns"), list) and isinstance(data, list):
        return _split(value["columns"], data, value.get("index"))
    if isinstance(data, list | dict) and data:
        return [(str(index), row) for index, row in enumerate(data if isinstance(data, list) else [data])]
    if isinstance(ids, list) and all(str(one) in value for one in ids):
        return [(str(one), value[str(one)]) for one in ids]
    return None


def _split(columns: Sequence[Any], data: Sequence[Any], index: Any) -> list[tuple[str, Any]]:
    """Return the rows of a table that pandas wrote row by row, with the names of its index."""
    rows = [dict(zip(columns, row, strict=False)) for row in data if isinstance(row, list)]
    names = index if isinstance(index, list) and len(index) == len(rows) else range(len(rows))
    return [(_short(name), row) for name, row in zip(names, rows, strict=True)]


def _columns(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the rows of a table that pandas wrote column by column; empty if it is none."""
    held = next((value[key] for key in HOLDERS if isinstance(value.get(key), dict)), None)
    if not held or STRUCTURES & set(held) or not all(isinstance(one, dict | str) for one in held.values()):
        return []
    columns = {key: column for key, column in value.items() if isinstance(column, dict)}
    return [(_short(name), {key: column.get(name) for key, column in columns.items()}) for name in held]


def _short(name: object) -> str:
    return " ".join(str(name).split())[:60]


def crystal_of(value: Mapping[str, Any]) -> Structure | FromFile | Placed | None:
    """Return the crystal, or molecule, of a record of another program; None if it is none of those that are known.

    Raises:
        BrokenStructureError: it does not repeat along three axes, or an element is unknown.
    """
    inner = value.get("attributes")
    if isinstance(inner, Mapping) and set(inner) >= OPTIMADE:
        return _optimade(inner)
    if set(value) >= OPTIMADE:
        return _optimade(value)
    if set(value) >= CDVAE:
        return _cdvae(value)
    if set(value) >= COMPACT:
        return Structure(value["lattice"], value["species"], value["frac_coords"])
    return read_row(value) if set(value) >= ROW else None


def _cdvae(value: Mapping[str, Any]) -> FromFile:
    lattice = Lattice.from_parameters(*value["lengths"], *value["angles"])
    structure = Structure(lattice, [Element.from_Z(int(z)) for z in value["atom_types"]], value["frac_coords"])
    told = value.get("num_atoms")
    return FromFile(structure) if told is None else FromFile(structure, (), _faithful([_count(told, structure)]))


def _optimade(value: Mapping[str, Any]) -> FromFile:
    _check_features(value)
    kinds = {one["name"]: _species(one) for one in value.get("species") or ()}
    names: Sequence[str] = value["species_at_sites"]
    species = [kinds.get(name, {name: 1.0}) for name in names]
    structure = Structure(
        value["lattice_vectors"], species, value["cartesian_site_positions"], coords_are_cartesian=True
    )
    return FromFile(structure, (), _faithful(list(_comparisons(value, structure))))


def _check_features(value: Mapping[str, Any]) -> None:
    """Refuse a structure of OPTIMADE that does not repeat along three axes, or whose sites are not the whole of it.

    Raises:
        BrokenStructureError: it is such a one.
    """
    dimension, axes = value.get("nperiodic_dimensions"), list(value.get("dimension_types") or (1, 1, 1))
    if axes != [1, 1, 1] or dimension not in {None, 3}:
        raise BrokenStructureError(
            "no crystal: expected dimension_types [1, 1, 1], a cell that repeats along three axes, "
            f"got {axes if dimension in {None, 3} else f'nperiodic_dimensions {dimension}'}"
        )
    features = value.get("structure_features") or ()
    if "implicit_atoms" in features:
        raise BrokenStructureError("it has atoms that no site holds (implicit_atoms); place them")
    if "assemblies" in features or value.get("assemblies"):
        raise BrokenStructureError("disordered: its sites are alternatives of each other (assemblies); choose one")


def _faithful(said: Sequence[tuple[str, str]]) -> Faithfulness:
    return Faithfulness(
        tuple(name for name, _ in said), tuple(contradiction for _, contradiction in said if contradiction)
    )


def _count(told: Any, structure: Structure) -> tuple[str, str]:
    n_told = told[0] if isinstance(told, list) and len(told) == 1 else told
    return "number of sites", "" if n_told == len(structure) else f"it has {len(structure)} sites, and says {n_told}"


def _species(one: Mapping[str, Any]) -> dict[str, float]:
    """Return the occupancy of each element; a vacancy is the rest."""
    shares = Counter[str]()
    for symbol, share in zip(one["chemical_symbols"], one["concentration"], strict=True):
        if symbol == "X":
            raise BrokenStructureError(f"{one['name']} holds X, which is no element")
        if symbol != "vacancy" and share > PARTS_OF_FULL:
            shares[symbol] += share
    if any(one.get("attached") or ()):
        raise BrokenStructureError(f"atoms are attached to {one['name']} and have no positions; place them")
    total = sum(shares.values())
    return {symbol: share / total if abs(total - 1) < PARTS_OF_FULL else share for symbol, share in shares.items()}


def _comparisons(value: Mapping[str, Any], structure: Structure) -> Iterator[tuple[str, str]]:
    """Yield what is compared, with its contradiction."""
    n_sites, formula = value.get("nsites"), value.get("chemical_formula_reduced")
    if n_sites is not None:
        yield _count(n_sites, structure)
    if isinstance(formula, str) and structure.is_ordered:
        found = structure.composition.reduced_composition
        same = Composition(formula).reduced_composition.almost_equals(found)
        yield "formula", "" if same else f"its sites are {found.formula}, and its formula is {formula}"
