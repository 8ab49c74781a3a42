"""Structures as gemmi, ASE, pymatgen and RDKit read them, compared with what matgen reads.

A reader that differs is explained, or the comparison is a fault: by the words of the file (listed operations times
sites, sum formula times Z), or because all the others agree with matgen.
"""

import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import ase.io
import gemmi
import numpy as np
import spglib
from ase.geometry import cellpar_to_cell
from pymatgen.core import Structure
from pymatgen.core.composition import Composition
from pymatgen.core.periodic_table import Element
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar
from rdkit import Chem

ATOM = 0.02
"""Relative difference of a number of atoms that rounding of occupancies explains."""

VOLUME = 0.005
CLOSEST = 0.05
"""Relative difference of volumes, and Å of the shortest distance: coordinates have four digits, thirds are snapped."""

TOLERANCES = (0.001, 0.01, 0.1)
"""Å; groups within these are compared."""

MOST = 250
"""Atoms up to which groups and distances are computed."""


@dataclass(frozen=True)
class Crystal:
    """Atoms of a cell by one reader.

    Attributes:
        counts: of the elements in the cell, isotopes as hydrogen; occupancies may make them fractions.
        volume: Å³.
        groups: numbers of its space group within each tolerance; empty if it is too large or disordered.
        closest: shortest distance, Å; 0 if it was not computed.
    """

    counts: Mapping[str, float]
    volume: float
    groups: tuple[int, ...] = ()
    closest: float = 0.0

    def differs(self, other: "Crystal") -> str:
        """Say what differs; empty if nothing does."""
        names = {*self.counts, *other.counts}
        if any(abs(self.counts.get(x, 0) - other.counts.get(x, 0)) > ATOM * self.counts.get(x, 1) for x in names):
            atoms, others = (sum(one.counts.values()) for one in (self, other))
            same = np.isclose(atoms * other.volume, others * self.volume, rtol=ATOM)  # which may be flat
            share, shares = ({x: n / sum(c.counts.values()) for x, n in c.counts.items()} for c in (self, other))
            if same and all(abs(share.get(x, 0) - shares.get(x, 0)) < 1e-3 for x in names):
                return ""  # another cell of the same lattice
            return "number of atoms"
        if abs(self.volume - other.volume) > VOLUME * self.volume:
            return "volume"
        if self.groups and other.groups and not set(self.groups) & set(other.groups):
            return "space group"
        if self.closest and other.closest and abs(self.closest - other.closest) > CLOSEST:
            return "distances"
        return ""


def crystal(symbols: Sequence[str], cell: Any, coords: Any) -> Crystal:
    """Return what is compared of ordered atoms: symbols (n,), cell (3, 3) in Å, fractional coordinates (n, 3)."""
    matrix, fractional = np.asarray(cell, float), np.asarray(coords, float)
    volume = abs(float(np.linalg.det(matrix)))
    plain = ["H" if one in {"D", "T"} else one for one in symbols]
    if not 0 < len(plain) <= MOST or not np.isfinite(fractional).all():
        return Crystal(Counter(plain), volume)
    numbers = [Element(one).Z for one in plain]
    found = (spglib.get_symmetry_dataset((matrix, fractional, numbers), symprec=one) for one in TOLERANCES)
    groups = tuple(one.number for one in found if one is not None)
    return Crystal(Counter(plain), volume, groups, closest(matrix, fractional))


def closest(matrix: np.ndarray, fractional: np.ndarray) -> float:
    """Return the shortest distance (Å) among atoms and the nearest images, without those of an atom with itself."""
    if len(fractional) < 2:
        return 0.0
    images = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), -1).reshape(-1, 3)
    between = (fractional[:, None] - fractional[None])[np.triu_indices(len(fractional), 1)]
    vectors = ((between - np.round(between))[:, None] + images) @ matrix
    return float(np.sqrt((vectors**2).sum(-1).min()))


def of_structure(structure: Structure) -> Crystal:
    """Return what is compared of a structure of pymatgen, ordered or not."""
    if structure.is_ordered:
        symbols = [getattr(site.specie, "symbol", str(site.specie)) for site in structure]
        return crystal(symbols, structure.lattice.matrix, structure.frac_coords)
    counts: Counter[str] = Counter()
    for site in structure:
        for specie, amount in site.species.items():
            counts[getattr(specie, "symbol", str(specie))] += amount
    return Crystal(counts, structure.volume)


# ---------------------------------------------------------------- readers of other packages


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


TOUCHING = 0.1
"""Å; atoms that are nearer are one, which operations brought there, or a fault of the reader."""

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


# ---------------------------------------------------------------- which of two is right


@dataclass(frozen=True)
class Words:
    """What a CIF says about its atoms: sum formula, and formula units in the cell (0 if it does not say)."""

    formula: Mapping[str, float]
    units: float

    def fit(self, one: Crystal) -> bool:
        """Whether atoms are those that are announced."""
        total, n_atoms = sum(self.formula.values()), sum(one.counts.values())
        if not total or not n_atoms:
            return False
        names = {*self.formula, *one.counts}
        alike = all(abs(self.formula.get(x, 0) / total - one.counts.get(x, 0) / n_atoms) < 0.01 for x in names)
        return alike and (not self.units or abs(n_atoms - self.n_atoms) < ATOM * n_atoms)

    @property
    def n_atoms(self) -> float:
        """Atoms in the cell; some programs give the formula of the cell with the number of its units."""
        total, whole = sum(self.formula.values()), [round(n) for n in self.formula.values()]
        of_cell = [float(n) for n in whole] == list(self.formula.values()) and math.gcd(*whole) == self.units != 1
        return total if of_cell else self.units * total


def words_of(text: str) -> Words:
    """Return the formula and Z of a CIF, also of one whose loops are broken."""
    formula, units = item(text, "_chemical_formula_sum"), item(text, "_cell_formula_units_Z")
    amounts = Composition(re.sub(r"[\s,]", "", formula)).get_el_amt_dict() if formula.strip("?. ") else {}
    if "D" in amounts:
        amounts["H"] = amounts.get("H", 0) + amounts.pop("D")
    return Words(amounts, float(units) if re.fullmatch(r"[\d.]+", units) else 0.0)


def item(text: str, name: str) -> str:
    """Return the first value of an item that stands on its line."""
    found = re.search(rf"(?im)^{re.escape(name)}[ \t]+('[^'\n]*'|\"[^\"\n]*\"|\S+)", text)
    return found[1].strip("'\"") if found else ""


def atoms_by_multiplicity(text: str) -> float:
    """Return the number of atoms that the multiplicities of the sites of a CIF add up to; 0 if it has none."""
    return sum(number(one) for one in block_of(text).find_values("_atom_site_symmetry_multiplicity"))


def explained(own: Crystal, others: Mapping[str, Crystal | str], text: str = "") -> dict[str, str]:
    """Return a class of explanation for each reader that differs; "unexplained" is a fault of matgen until shown.

    Args:
        own: as matgen reads it.
        others: by name.
        text: of the CIF; empty for other formats.
    """
    read = {name: one for name, one in others.items() if isinstance(one, Crystal)}
    differing = {name: own.differs(one) for name, one in read.items()}
    if not any(differing.values()):
        return {}
    like = sorted(name for name, what in differing.items() if not what)
    evidence = Evidence.of(own, like, text, lists="operations" in read)
    unlike = {name: what for name, what in differing.items() if what}
    return {name: evidence.explanation(name, read[name], what) for name, what in unlike.items()}


@dataclass(frozen=True)
class Evidence:
    """What tells which of two readings is right.

    Attributes:
        own: as matgen reads it.
        like: readers that agree with it.
        words: formula and Z of the file.
        lists: whether the file lists operations that can be applied.
        named: whether the sites have these atoms by a setting that spglib has under the name in the file.
        bare: the sites of the file, without symmetry; None if it is no CIF.
        whole: whether the sites alone have the group that the file names.
        group: number of that group; 0 if the file gives none.
        n_atoms: sum of the multiplicities of the sites; 0 if the file gives none.
        n_listed: number of operations that are listed, whether they can be read or not.
    """

    own: Crystal
    like: Sequence[str]
    words: Words
    lists: bool
    named: bool
    bare: Crystal | None
    whole: bool
    group: int
    n_atoms: float
    n_listed: int

    @classmethod
    def of(cls, own: Crystal, like: Sequence[str], text: str, *, lists: bool) -> "Evidence":
        """Collect the evidence of the text of a CIF; of an empty text there is none."""
        words = next(iter(_quietly(lambda one: [words_of(one)], text)), Words({}, 0))
        bare = next(iter(_quietly(lambda one: [applied(block_of(one), IDENTITY)], text)), None)
        named = any(not own.differs(one) for one in _quietly(by_names, text))
        group = next(iter(_quietly(lambda one: [group_of(one)], text)), 0)
        whole = bare is not None and not bare.differs(own) and group in own.groups
        n_atoms = next(iter(_quietly(lambda one: [atoms_by_multiplicity(one)], text)), 0.0)
        listed = _quietly(lambda one: [len(column(block_of(one), name)) for name in OPERATIONS], text)
        return cls(own, like, words, lists, named, bare, whole, group, n_atoms, max(listed, default=0))

    def explanation(self, name: str, other: Crystal, what: str) -> str:
        """Say why another reader differs."""
        alone = self.bare is not None and not self.bare.differs(other)
        counted, others = (sum(one.counts.values()) for one in (self.own, other))
        touching = bool(other.groups and self.own.groups) and other.closest < TOUCHING < self.own.closest
        reasons = {
            "contradicts formula or Z of the file": self.words.fit(self.own) and not self.words.fit(other),
            "contradicts the multiplicities of the file": counted == self.n_atoms != others,
            "does not apply the listed operations to the listed sites": "operations" in self.like,
            "applies the group of the file to sites that are all atoms, and have it": self.whole,
            "takes the sites alone, and ignores the group that the file names": self.named and not self.lists and alone,
            "uses another setting than the name in the file has by spglib, or by Hall's rules": self.named
            and not self.lists,
            "takes the sites alone, and applies none of the operations that are listed": alone and self.n_listed > 1,
            "has not the group of the number in the file": self.group in self.own.groups
            and self.group not in other.groups,
            "leaves atoms on one another": touching,
            f"alone, while {', '.join(self.like)} agree": len(self.like) >= 2,
        }
        reason = next((reason for reason, true in reasons.items() if true), "")
        return f"{what}: {name} {reason}" if reason else f"unexplained: {what}"


def group_of(text: str) -> int:
    """Return the number of the space group that a CIF gives; 0 if it gives none."""
    given = next((v for n in NAMES if "umber" in n and (v := value_of(block_of(text), n))), "0")
    return int(given) if given.isdigit() else 0


IDENTITY = ((np.eye(3), np.zeros(3)),)


def _quietly(reader: Callable[[str], list[Any]], text: str) -> list[Any]:
    """Return what a reader makes of a text; nothing if it fails, or there is none."""
    if not text:
        return []
    try:
        return reader(text)
    except (ValueError, RuntimeError, StopIteration, IndexError):
        return []


# ---------------------------------------------------------------- molecules


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
