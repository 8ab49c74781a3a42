"""Structures as gemmi, ASE, pymatgen and RDKit read them, to be compared with what matgen reads."""

import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import ase.io
import gemmi
import numpy as np
import spglib
from ase.geometry import cellpar_to_cell
from pymatgen.core.periodic_table import Element
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar
from rdkit import Chem

from fuzz.compared_crystals import Crystal, crystal, of_structure


def by_gemmi(text: str) -> Crystal:
    """Read a CIF by gemmi."""
    blocks = list(gemmi.cif.read_string(text))
    small = gemmi.make_small_structure_from_block(next(one for one in blocks if one.find_value("_cell_length_a")))
    sites = [one for one in small.get_all_unit_cell_sites() if one.occ > 0]
    cell = cellpar_to_cell(small.cell.parameters)
    symbols = [one.element.name.replace("D", "H") if one.element.name == "D" else one.element.name for one in sites]
    if any(one.occ < 0.99 for one in sites):
        counts: Counter[str] = Counter()
        for symbol, site in zip(symbols, sites, strict=True):
            counts[symbol] += site.occ
        return Crystal(counts, small.cell.volume)
    return crystal(symbols, cell, [one.fract.tolist() for one in sites])


def by_ase(text: str, form: str = "cif") -> Crystal:
    """Read a file by ASE."""
    stream: Any = io.StringIO(text)
    atoms: Any = ase.io.read(stream, format=form)
    return crystal(atoms.get_chemical_symbols(), atoms.cell.array, atoms.get_scaled_positions(wrap=False))


LONGEST_LINE = 1000


def by_pymatgen(text: str) -> Crystal:
    """Read a CIF by pymatgen, whose parser of operations takes the third power of the length of a line.

    Raises:
        ValueError: a line is long.
    """
    if any(len(line) > LONGEST_LINE for line in text.splitlines()):
        raise ValueError(f"a line of more than {LONGEST_LINE} characters")
    return of_structure(CifParser(io.StringIO(text), occupancy_tolerance=1.05).parse_structures(primitive=False)[0])


def by_operations(text: str) -> Crystal:
    """Apply the operations that a CIF lists to the sites that it lists, and merge what coincides; nothing else.

    Raises:
        ValueError: it lists none.
    """
    block = block_of(text)
    texts = next((c for name in OPERATIONS if (c := column(block, name))), [])
    if not texts:
        raise ValueError("no operations are listed")
    return applied(block, seitz([gemmi.Op(one) for one in texts]))


def applied(block: Any, operations: Sequence[tuple[np.ndarray, np.ndarray]]) -> Crystal:
    """Apply operations, each a rotation (3, 3) and a translation (3,), to the sites of a block."""
    cell = cellpar_to_cell([number(block.find_value(name)) for name in CELL])
    symbols: list[str] = []
    coords: list[np.ndarray] = []
    for symbol, place in sites_of(block):
        images = np.stack([rotation @ np.array(place) + shift for rotation, shift in operations])
        apart = images[:, None] - images[None]
        same = np.linalg.norm((apart - np.round(apart)) @ cell, axis=-1) < SAME_PLACE
        first = [image for i, image in enumerate(images) if not same[i, :i].any()]
        symbols += [symbol] * len(first)
        coords += first
    return crystal(symbols, cell, coords)


def by_names(text: str) -> list[Crystal]:
    """Apply each setting, of the table of spglib, that a CIF may mean by symbol, Hall symbol or number of its group."""
    block = block_of(text)
    values = {name: gemmi.cif.as_string(value_of(block, name) or "?") for name in NAMES}
    hall, symbol, as_number = (next((v for n, v in values.items() if k in n and v not in "?."), "") for k in KINDS)
    meant = [
        one
        for one, kind in settings().items()
        if (hall and plain(hall) == plain(kind.hall_symbol))
        or (symbol and plain(symbol) in spellings(kind))
        or (not hall and not symbol and as_number and int(as_number) == kind.number)
    ]
    found = (spglib.get_symmetry_from_database(one) for one in meant)
    made = [applied(block, list(zip(one["rotations"], one["translations"], strict=True))) for one in found if one]
    if hall and not made:  # of no usual setting
        made = [applied(block, seitz(list(gemmi.symops_from_hall(" ".join(hall.split())))))]
    return made


def seitz(operations: Sequence[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rotations (3, 3) and translations (3,) of operations of gemmi."""
    matrices = [np.array(one.float_seitz()) for one in operations]
    return [(one[:3, :3], one[:3, 3]) for one in matrices]


def value_of(block: Any, name: str) -> str | None:
    """Return an item by its name, or by that of the newer dictionary, with a dot."""
    dotted = re.sub("^(_space_group|_symmetry)_", r"\\1.", name)
    return next((v for n in (name, dotted) if (v := block.find_value(n)) and v not in "?."), None)


@cache
def settings() -> dict[int, Any]:
    """Return the settings of space groups that spglib knows, by their Hall number."""
    return {n: spglib.get_spacegroup_type(n) for n in range(1, 531)}


def plain(symbol: str) -> str:
    """Return a symbol without blanks, underscores and the case of letters."""
    return re.sub(r"[\s_\"'()]", "", symbol).lower()


def spellings(kind: Any) -> set[str]:
    """Return the ways in which a setting is written."""
    names = {kind.international_full, kind.international_short, *kind.international.split("=")}
    names |= {" ".join(word for word in one.split() if word != "1") for one in names}
    names = {plain(one) for one in names}
    return names | {f"{one}:{plain(kind.choice)}" for one in names}


SAME_PLACE = 0.1
"""Å; an operation that moves a site by less leaves it where it is."""

KINDS = ("Hall", "H-M", "number")
NAMES = (
    *("_space_group_name_Hall", "_symmetry_space_group_name_Hall"),
    *("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group_name_H-M_ref"),
    *("_space_group_IT_number", "_symmetry_Int_Tables_number"),
)


CELL = [*(f"_cell_length_{x}" for x in "abc"), *(f"_cell_angle_{x}" for x in ("alpha", "beta", "gamma"))]
OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz", "_space_group_symop.operation_xyz")


def block_of(text: str) -> Any:
    """Return the first block of a CIF that has a cell, whatever is repeated, or is no letter of a CIF."""
    plain_text = text.replace("\u2212", "-").encode("ascii", errors="replace").decode()
    plain_text = re.sub(r"[\x00-\x08\x0b-\x1f]", " ", plain_text)
    document = gemmi.cif.read_string(plain_text, check_level=0)
    return next(one for one in document if one.find_value("_cell_length_a"))


def column(block: Any, name: str) -> list[str]:
    """Return the values of an item, in a loop or not."""
    return [gemmi.cif.as_string(one) for one in block.find_values(name)]


def number(text: str | None) -> float:
    """Return a number of a CIF, with an uncertainty or not."""
    return float(gemmi.cif.as_number(text or "?"))


def sites_of(block: Any) -> list[tuple[str, tuple[float, ...]]]:
    """Return element and coordinates of the sites of a CIF that are occupied."""
    axes = [[number(one) for one in block.find_values(f"_atom_site_fract_{x}")] for x in "xyz"]
    names = column(block, "_atom_site_type_symbol") or column(block, "_atom_site_label")
    symbols = [re.sub(r"[^A-Za-z].*", "", one).capitalize() for one in names]
    symbols = [next((s for s in (x[:2], x[:1]) if Element.is_valid_symbol(s)), x) for x in symbols]
    occupied = [gemmi.cif.as_number(one) != 0 for one in block.find_values("_atom_site_occupancy")]
    places = [tuple(place) for place in zip(*axes, strict=True)]
    keep = occupied if len(occupied) == len(places) else [True] * len(places)
    return [one for one, kept in zip(zip(symbols, places, strict=True), keep, strict=True) if kept]


CIF_READERS: dict[str, Callable[[str], Crystal]] = {
    "gemmi": by_gemmi,
    "ASE": by_ase,
    "pymatgen": by_pymatgen,
    "operations": by_operations,
}
POSCAR_READERS: dict[str, Callable[[str], Crystal]] = {
    "ASE": lambda text: by_ase(text, "vasp"),
    "pymatgen": lambda text: of_structure(Poscar.from_str(text).structure),
}
XYZ_READERS: dict[str, Callable[[str], Crystal]] = {"ASE": lambda text: by_ase(text, "extxyz")}


def by_others(text: str, readers: Mapping[str, Callable[[str], Crystal]]) -> dict[str, Crystal | str]:
    """Return what each reader makes of a text, or its error."""
    found: dict[str, Crystal | str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, reader in readers.items():
            try:
                found[name] = reader(text)
            except Exception as error:  # noqa: BLE001 (any error of another reader is its answer)
                found[name] = f"{type(error).__name__}: {error}"[:200]
    return found


def molecule_by_rdkit(text: str, form: str) -> tuple[dict[str, int], int]:
    """Return the atoms of each element, hydrogens included, and the charge of a SMILES or MOL text, by RDKit."""
    found = Chem.MolFromSmiles(text) if form == "smi" else Chem.MolFromMolBlock(text, removeHs=False)
    if found is None:
        raise ValueError("RDKit reads nothing")
    whole = Chem.AddHs(found)
    symbols = Counter("H" if one.GetAtomicNum() == 1 else one.GetSymbol() for one in whole.GetAtoms())
    return dict(symbols), Chem.GetFormalCharge(whole)


def atoms_by_lines(text: str) -> dict[str, int]:
    """Return the atoms of each element of an XYZ frame, by the first word of its lines."""
    lines = text.splitlines()
    words = [line.split()[0] for line in lines[2 : 2 + int(lines[0])]]
    symbols = [Element.from_Z(int(one)).symbol if one.isdigit() else one.capitalize() for one in words]
    return dict(Counter("H" if one in {"D", "T"} else one for one in symbols))
