"""Write crystals as CIF text, and test that it reads back to the same structure."""

import math
import warnings

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser, CifWriter
from pymatgen.symmetry.analyzer import SymmetryUndeterminedError

from matgen.structures.candidate import Verdict
from matgen.structures.symmetry import space_group

SAME = StructureMatcher(ltol=0.002, stol=0.003, angle_tol=0.1, scale=False, primitive_cell=False)
"""A hundred times stricter than for duplicates: a file must not move an atom by more than about 0.01 Å."""

CENTRING = 0.02
"""Å; atoms that a translation maps onto each other within it are one atom of the primitive cell. The matcher's own
0.25 Å would average away the displacements that it must find."""

SYMPRECS = (0.1, 0.01)
"""Tolerances tried for a symmetrised CIF, Å: that of the training labels, then one that moves no atom visibly."""


def faithful_cif(structure: Structure) -> tuple[str, Verdict]:
    """Write a CIF that reads back to the same structure, with as much symmetry as does not move atoms.

    Returns:
        The text, and a verdict: failed if all symmetry had to be given up, or if the text does not read back.
    """
    seen = space_group(structure, SYMPRECS[0])
    for symprec in SYMPRECS:
        try:
            text = cif_text(structure, symprec)
        except SymmetryUndeterminedError:
            continue
        group = space_group(structure, symprec)
        moved = _moved(structure, text)
        if math.isnan(moved) or (group.number == 1 and seen.number != 1):
            continue
        return text, Verdict("cif", True, moved, "", f"symmetrised in {group.symbol} ({group.number})")
    text = cif_text(structure)
    reason = f"lists all atoms in P1: symmetrising it to {seen.symbol} ({seen.number}) would move them"
    if math.isnan(moved := _moved(structure, text)):
        reason = "does not read back to the same structure"
    return text, Verdict("cif", False, moved, "", reason)


def _moved(structure: Structure, text: str) -> float:
    back = read_cif(text)
    return math.nan if back is None else displacement(structure, back)


def cif_text(structure: Structure, symprec: float | None = None) -> str:
    """Return a CIF with all atoms listed, or with symmetry operations in the conventional standard cell.

    Args:
        structure: crystal to write.
        symprec: tolerance of the symmetry search, Å; None lists all atoms in P1.
    """
    plain = Structure(structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords)  # no labels
    return str(CifWriter(plain, symprec=symprec))


def read_cif(text: str) -> Structure | None:
    """Return the structure of a CIF text, or None if pymatgen finds none."""
    with warnings.catch_warnings():
        # Pymatgen warns that it rounded 0.33333333 to 1/3, and why it rejects a file; the result shows both.
        warnings.simplefilter("ignore", UserWarning)
        try:
            found = CifParser.from_str(text).parse_structures(primitive=False)
        except ValueError:
            return None
    return found[0] if found else None


def displacement(first: Structure, second: Structure) -> float:
    """Return the root-mean-square displacement in (volume per atom)^(1/3); NaN for different structures."""
    found = SAME.get_rms_dist(*(s.get_primitive_structure(CENTRING).get_reduced_structure() for s in (first, second)))
    return math.nan if found is None else float(found[0])
