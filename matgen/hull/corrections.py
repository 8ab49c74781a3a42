"""The corrections of the Materials Project of 2020, for energies of potentials that were trained on uncorrected ones.

    E_corrected = E + Σ_i n_i c_i

PBE errs by a constant for each atom of an anion or of a transition metal that is treated with a Hubbard U, and energies
with and without U lie on different scales. A. Wang et al., Sci. Rep. 11, 15496 (2021) fitted the c_i to measured
formation enthalpies; the scheme is pymatgen's `MaterialsProject2020Compatibility`. A potential that learned the raw
energies, mixed as the Materials Project calculates them, needs the same sum before phases can be compared; one that
learned corrected energies, such as CHGNet, does not.
"""

import warnings
from functools import cache
from typing import Any

from pymatgen.core.structure import Structure

from matgen.chemistry.corrections import MP2020
from matgen.errors import UserError

WITH_U = {"Co": 3.32, "Cr": 3.7, "Fe": 5.3, "Mn": 3.9, "Mo": 4.38, "Ni": 6.2, "V": 3.25, "W": 6.2}
"""Hubbard U of the Materials Project, eV, in compounds of which oxygen or fluorine is the most electronegative."""


class CorrectionError(UserError, ValueError):
    """Corrections of a name that is not known."""


def correction(structure: Structure, scheme: str) -> float:
    """Return what a scheme adds to the raw energy of a crystal, eV/atom.

    Args:
        structure: ordered; distances tell oxides from peroxides and superoxides.
        scheme: `MP2020`, or empty for none.

    Raises:
        CorrectionError: another name.
    """
    if not scheme:
        return 0.0
    if scheme != MP2020:
        raise CorrectionError(f"expected corrections named {MP2020}, or none, got {scheme!r}; build the reference anew")
    return _mp2020(structure)


def check_scheme(name: str) -> str:
    """Return the scheme of a name that a user gave; `none` is the empty one.

    Raises:
        CorrectionError: it is no name of one.
    """
    if name not in {MP2020, "none"}:
        raise CorrectionError(f"expected corrections as {MP2020} or none, got {name!r}")
    return "" if name == "none" else name


def _mp2020(structure: Structure) -> float:
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    elements = structure.composition.element_composition
    plain = Structure(structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords)
    most = max(elements.elements, key=lambda element: element.X).symbol  # the anion
    hubbards = {one.symbol: WITH_U.get(one.symbol, 0.0) for one in elements.elements} if most in {"O", "F"} else {}
    with_u = any(hubbards.values())
    parameters = {"run_type": "GGA+U" if with_u else "GGA", "hubbards": hubbards if with_u else {}, "software": "vasp"}
    entry = ComputedStructureEntry(plain, 0.0, parameters=parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of oxidation states that it cannot guess: those anions stay uncorrected
        adjustments = _scheme().get_adjustments(entry)
    return float(sum(one.value for one in adjustments)) / len(plain)


@cache
def _scheme() -> Any:
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)
