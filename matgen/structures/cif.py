"""CIF text of a structure, and whether it still says the same."""

import math
import warnings

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser, CifWriter

SAME = StructureMatcher(ltol=0.002, stol=0.003, angle_tol=0.1, scale=False, primitive_cell=False)
"""A hundred times stricter than for duplicates: a file must not move an atom by more than about 0.01 Å."""

CENTRING = 0.02
"""Å; atoms that a translation carries onto each other within it are one in the primitive cell. The matcher's own 0.25 Å
would average away what it is to find."""


def cif_text(structure: Structure, symprec: float | None = None) -> str:
    """CIF with all atoms listed, or with symmetry operations in the conventional standard cell.

    Args:
        structure: what to write.
        symprec: tolerance of the symmetry search, Å; None lists all atoms in P1.
    """
    plain = Structure(structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords)  # no labels
    return str(CifWriter(plain, symprec=symprec))


def read_cif(text: str) -> Structure | None:
    """The structure in a CIF text, or None where pymatgen finds none in it."""
    with warnings.catch_warnings():
        # Pymatgen tells that it rounded 0.33333333 to 1/3, and why it rejects a file; both are its result anyway.
        warnings.simplefilter("ignore", UserWarning)
        try:
            found = CifParser.from_str(text).parse_structures(primitive=False)
        except ValueError:
            return None
    return found[0] if found else None


def displacement(first: Structure, second: Structure) -> float:
    """Root-mean-square displacement between equal structures in (volume per atom)^(1/3); NaN if they differ."""
    found = SAME.get_rms_dist(*(s.get_primitive_structure(CENTRING).get_reduced_structure() for s in (first, second)))
    return math.nan if found is None else float(found[0])
