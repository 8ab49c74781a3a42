"""Read crystals of SHELX (`.res`, `.ins`) and of AIRSS, which writes all atoms of the cell in the same notation.

Cell, lattice type, operations, contents (UNIT) and sites become a CIF, whose reader expands and compares them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import gemmi
import numpy as np

from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif_of_sites import ListedSite, cif_of_sites
from matgen.structures.cif_reader import read_cif
from matgen.structures.faithful import FromFile

CENTRINGS = {1: "P", 2: "I", 3: "R", 4: "F", 5: "A", 6: "B", 7: "C"}
"""Lattice types of LATT."""

PEAK = re.compile(r"Q\d+", re.IGNORECASE)
"""Label of a maximum of the residual density."""

ENDS = frozenset({"END", "HKLF"})
"""Instructions behind which no atoms stand."""

FIXED = 10.0
"""Added to a parameter that is not refined; more names a free variable."""

SAME = 0.01
"""Fractional distance of images that are one."""


def read_res(text: str) -> FromFile:
    """Return the crystal of a RES or INS file.

    Raises:
        BrokenStructureError: it is damaged, or disordered by free variables.
    """
    lines = list(_lines(text))
    given = {words[0].upper(): words[1:] for words in lines if words[0].upper() in {"CELL", "LATT", "UNIT"}}
    if len(given.get("CELL", ())) < 7:
        raise BrokenStructureError("expected a line CELL with the wavelength, three lengths and three angles")
    elements = _elements(lines)
    if not elements:
        raise BrokenStructureError("expected a line SFAC with the elements")
    listed = [words[1:] for words in lines if words[0].upper() == "SYMM"]
    default = "1" if listed or "UNIT" in given else "-1"  # that of SHELX, and that of a plain list of all atoms
    operations = _operations(given.get("LATT", [default]), listed)
    sites, n_peaks = [], 0
    for words in _atoms(lines, len(elements)):
        if PEAK.fullmatch(words[0]):
            n_peaks += 1
            continue
        coords = [_fixed(float(word)) for word in words[2:5]]
        sites.append(ListedSite(words[0], elements[int(words[1]) - 1], coords, _occupancy(words, coords, operations)))
    if not sites:
        raise BrokenStructureError("no atoms")
    units = [float(word) for word in given.get("UNIT", ())]
    formula = "" if len(units) != len(elements) else _formula(elements, units)
    cell = [float(word) for word in given["CELL"][1:7]]
    made = read_cif(cif_of_sites(cell, sites, operations=[one.triplet() for one in operations], formula=formula))
    peaks = (f"{n_peaks} peaks of the residual density are left out",) if n_peaks else ()
    return replace(made, remarks=(*peaks, *made.remarks))


def _lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each instruction up to the end of the atoms; `=` continues a line, `!` begins a comment."""
    whole = ""
    for line in text.splitlines():
        whole += line.split("!", 1)[0]
        if whole.rstrip().endswith("=") and not whole.upper().startswith(("REM", "TITL")):
            whole = whole.rstrip()[:-1] + " "
            continue
        words = whole.split()
        whole = ""
        if words and words[0].upper()[:4] in ENDS:
            return
        if words and words[0].upper() not in {"REM", "TITL"}:
            yield words


def _elements(lines: Sequence[list[str]]) -> list[str]:
    """Return the elements of SFAC, which has all of them in a line, or one with its scattering factor."""
    found: list[str] = []
    for words in lines:
        if words[0].upper() == "SFAC":
            names = [word for word in words[1:] if not re.match(r"[-+.\d]", word)]
            found += [name.lstrip("$").capitalize() for name in names]
    return found


def _atoms(lines: Sequence[list[str]], n_elements: int) -> Iterator[list[str]]:
    """Yield the words of each atom behind SFAC: name, number of its element, coordinates, occupancy.

    Raises:
        BrokenStructureError: a line is neither an instruction nor an atom.
    """
    begun = in_fragment = False
    for words in lines:
        word = words[0].upper().partition("_")[0]  # without the residue that it is for
        begun = begun or word == "SFAC"
        in_fragment = word != "FEND" and (in_fragment or word == "FRAG")  # its atoms are those of a model
        if not begun or in_fragment or word.startswith("+") or INSTRUCTION.fullmatch(word):
            continue
        if len(words) < 5 or not words[1].isdigit() or not all(NUMBER.fullmatch(one) for one in words[2:]):
            raise BrokenStructureError(
                "expected an instruction, or an atom with the number of its element and three coordinates, "
                f"got {' '.join(words)[:60]!r}"
            )
        if not 1 <= int(words[1]) <= n_elements:
            raise BrokenStructureError(f"{words[0]} is of element {words[1]}, and SFAC has {n_elements}")
        yield words


NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")

INSTRUCTION = re.compile(
    "ABIN|ACTA|AFIX|ANIS|ANSC|ANSR|BASF|BEDE|BIND|BLOC|BOND|BUMP|CELL|CGLS|CHIV|CONF|CONN|DAMP|DANG|DEFS|DELU|"
    "DFIX|DISP|EADP|EGEN|EQIV|ESEL|EXTI|EXYZ|FEND|FIND|FLAT|FMAP|FRAG|FREE|FRES|FVAR|GRID|GROU|HFIX|HOPE|HTAB|ILSF|"
    "INIT|ISOR|LATT|LAUE|LIST|LONE|L[.]S[.]|MERG|MIND|MOLE|MORE|MOVE|MPLA|NCSY|NEUT|NTRY|OMIT|PART|PATS|PATT|PHAN|"
    "PLAN|PRIG|PSEE|PSMF|RESI|RIGU|RTAB|SADI|SAME|SEED|SFAC|SHEL|SIMU|SIZE|SKIP|SLIM|SPEC|SPIN|STIR|SUBX|SUMP|SWAT|"
    "SYMM|TANG|TEMP|TEST|TEXP|TIME|TREF|TWIN|TWST|UNIT|VECT|WEED|WGHT|WIGL|WPDB|XHAB|XNPD|ZERR"
)
"""Words of SHELXL, SHELXS and SHELXD that begin no atom."""


def _operations(lattice: Sequence[str], listed: Sequence[Sequence[str]]) -> list[gemmi.Op]:
    """Return all operations: the identity and those of SYMM, with inversion unless LATT is negative, and centring."""
    kind = int(float(lattice[0])) if lattice else 1
    if abs(kind) not in CENTRINGS:
        raise BrokenStructureError(f"expected a lattice type LATT from 1 to 7, got {kind}")
    try:
        own = [gemmi.Op("x,y,z"), *(gemmi.Op("".join(words).lower()) for words in listed)]
    except (RuntimeError, ValueError) as error:
        raise BrokenStructureError(f"its symmetry operations (SYMM) are not understood: {error}") from error
    inverse = [gemmi.Op("-x,-y,-z") * one for one in own] if kind > 0 else []
    return _centred([*own, *inverse], CENTRINGS[abs(kind)])


SHIFTS = {
    "P": ("x,y,z",),
    "I": ("x,y,z", "x+1/2,y+1/2,z+1/2"),
    "R": ("x,y,z", "x+2/3,y+1/3,z+1/3", "x+1/3,y+2/3,z+2/3"),
    "F": ("x,y,z", "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"),
    "A": ("x,y,z", "x,y+1/2,z+1/2"),
    "B": ("x,y,z", "x+1/2,y,z+1/2"),
    "C": ("x,y,z", "x+1/2,y+1/2,z"),
}
"""Centring translations of the lattice types."""


def _centred(operations: Sequence[gemmi.Op], centring: str) -> list[gemmi.Op]:
    found = {}
    for shift in SHIFTS[centring]:
        for one in operations:
            whole = (gemmi.Op(shift) * one).wrap()
            found[whole.triplet()] = whole
    return list(found.values())


def _fixed(value: float) -> float:
    """Return a coordinate without the 10 of one that is not refined."""
    whole = round(value / FIXED)
    if abs(whole) > 1:
        raise BrokenStructureError(f"a coordinate depends on a free variable ({value:g}); write its value")
    return value - FIXED * whole


def _occupancy(words: Sequence[str], coords: Sequence[float], operations: Sequence[gemmi.Op]) -> float:
    """Return an occupancy from 0 to 1; SHELX writes it times the share of the images that are distinct."""
    factor = float(words[5]) if len(words) > 5 else FIXED + 1
    if abs(factor) >= 2 * FIXED - 5:
        raise BrokenStructureError(f"disordered: the occupancy of {words[0]} depends on a free variable ({factor:g})")
    factor -= FIXED if factor > FIXED / 2 else 0.0
    images = np.array([one.apply_to_xyz(list(coords)) for one in operations])
    apart = images - images[0]
    n_same = int((np.abs(apart - np.rint(apart)).max(axis=1) < SAME).sum())
    whole = factor * n_same
    return 1.0 if abs(factor - 1) < 1e-3 or abs(whole - 1) < SAME else whole


def _formula(elements: Sequence[str], units: Sequence[float]) -> str:
    return " ".join(f"{symbol}{n:g}" for symbol, n in zip(elements, units, strict=True) if n)
