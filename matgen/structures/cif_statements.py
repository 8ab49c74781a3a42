"""What a CIF says about its atoms beside the list of sites, compared with the atoms of a cell."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element

from matgen.structures.cif_block import CifBlock, as_number
from matgen.structures.cif_elements import element_of_type, hydrogen, is_no_atom
from matgen.structures.cif_sites import STRUCTURAL, formula_of, formula_text
from matgen.structures.expansion import Expansion

STOICHIOMETRY = 0.01
"""Relative difference of amounts that are no whole numbers, which rounding explains."""

MASS, DENSITY, VOLUME = 0.01, 0.03, 0.03
"""Relative differences of formula weight, density and volume of the cell, that rounding explains."""

HYDROGENS = re.compile(r"\bH\s*\d*\s*O\b|\bH2\s*O|O\s*H\b|\bO\s*D\b|D2\s*O|N\s*H\s*\d|\(\s*O\s*H")
WATER = re.compile(r"(?:OH|Oh|OW|Ow|HOH)(?![a-z])")
"""Formulas, and labels of oxygen, that tell of hydroxyls, water or ammonium."""

HEAVIEST = 50.0
"""g/cm³; no crystal is denser at any pressure reached."""

DALTON = 1.66053907
"""g/cm³ of one amu per Å³."""


@dataclass(frozen=True)
class Statement:
    """One comparison.

    Attributes:
        name: what is compared.
        contradiction: how the atoms differ from it; empty if they agree.
        decides: whether it depends on how many atoms symmetry makes of the sites.
    """

    name: str
    contradiction: str
    decides: bool = False


def statements(block: CifBlock, atoms: Expansion, lattice: Lattice) -> list[Statement]:
    """Return the comparisons of a block with the atoms that were made of it."""
    return [
        *_of_formula(block, atoms.counts),
        *_of_multiplicities(atoms),
        *_of_mass(block, atoms, lattice),
        *_of_types(block, atoms.counts),
        *_of_hydrogens(block, atoms.counts),
    ]


def _of_formula(block: CifBlock, counts: Mapping[str, float]) -> Iterator[Statement]:
    """Compare stoichiometry and, with Z, the number of atoms.

    The formula is that of a unit, of which the cell holds Z; some programs give that of the cell, with Z as well.
    Of these pymatgen counts units such as N2 or Na2O2, which are not the least ones.
    """
    given, units = formula_of(block), block.number("_cell_formula_units_z")
    if not given:
        if units and units >= 1 and all(n % 1 == 0 for n in (units, *counts.values())):
            odd = [symbol for symbol, n in counts.items() if n % units]
            said = f"its cell holds {_formula(counts)}, which is not {units:g} times anything, as Z says"
            yield Statement("Z", said if odd else "")
        return
    text, found = formula_text(block), _formula(counts)
    total, n_atoms = sum(given.values()), sum(counts.values())
    slack = STOICHIOMETRY if any(amount % 1 for amount in (*given.values(), *counts.values())) else 1e-6
    away = max(abs(given.get(s, 0.0) / total - counts.get(s, 0.0) / n_atoms) for s in {*given, *counts})
    contradiction = f"its sites are {found}, and its formula is {text}; atoms are missing or too many"
    yield Statement("formula", contradiction if away > slack else "")
    if not units or units < 0:
        return
    whole = all(amount % 1 == 0 for amount in given.values())
    least = whole and math.gcd(*(int(amount) for amount in given.values())) == units
    of_cell = least or (whole and _unit_told(block, given, units))
    agrees = any(abs(n_atoms - n) <= max(slack, 1e-3) * n for n in (units * total, *([total] if of_cell else [])))
    contradiction = f"its cell holds {n_atoms:g} atoms, and Z {units:g} of {text} are {units * total:g}"
    yield Statement("Z", "" if agrees else contradiction, decides=True)


def _unit_told(block: CifBlock, of_cell: Mapping[str, float], units: float) -> bool:
    """Return whether a sum formula is that of a cell which holds Z units of the structural formula.

    With an odd number of atoms, pymatgen rounds Z down.
    """
    unit = formula_of(block, STRUCTURAL)
    if set(unit) != set(of_cell):
        return False
    shares = {amount / unit[symbol] for symbol, amount in of_cell.items()}
    return len(shares) == 1 and int(shares.pop()) == units


def _of_multiplicities(atoms: Expansion) -> Iterator[Statement]:
    """Compare the number of images of each site; some programs give the order of its site symmetry instead."""
    pairs = [(orbit, times) for orbit in atoms.orbits for times in orbit.multiplicities]
    if not pairs:
        return
    wrong = [(orbit.labels[0], times, len(orbit.coords)) for orbit, times in pairs if times != len(orbit.coords)]
    orders = all(times * len(orbit.coords) == atoms.order for orbit, times in pairs)
    contradiction = ""
    if wrong and not orders:
        label, times, found = wrong[0]
        contradiction = f"the multiplicity of {label} is {times}, and symmetry makes {found} of it"
    yield Statement("multiplicities", contradiction, decides=True)


def _of_mass(block: CifBlock, atoms: Expansion, lattice: Lattice) -> Iterator[Statement]:
    """Compare the weight of the formula unit, the density and the volume of the cell."""
    if any(symbol in {"D", "T"} for orbit in atoms.orbits for symbol in orbit.amounts):
        mass = None
    else:
        mass = sum(n * float(Element(symbol).atomic_mass) for symbol, n in atoms.counts.items())
    weight, units = block.number("_chemical_formula_weight"), block.number("_cell_formula_units_z")
    if mass and weight and units:
        per_unit = mass / units
        wrong = min(abs(per_unit - weight), abs(mass - weight)) > MASS * weight
        said = f"its atoms weigh {per_unit:.1f} per formula unit, and its formula weight is {weight:g}"
        yield Statement("formula weight", said if wrong else "", decides=True)
    density = block.number("_exptl_crystal_density_diffrn")
    density = density / 1000 if density and density > HEAVIEST else density  # kg/m³
    if mass and density:
        found = mass * DALTON / lattice.volume
        said = f"its density is {found:.2f} g/cm³, and the file says {density:g}"
        yield Statement("density", said if abs(found - density) > DENSITY * density else "", decides=True)
    volume = block.number("_cell_volume")
    if volume:
        said = f"the volume of its cell is {lattice.volume:.1f} Å³, and the file says {volume:g}"
        yield Statement("volume of the cell", said if abs(lattice.volume - volume) > VOLUME * volume else "")


def _of_types(block: CifBlock, counts: Mapping[str, float]) -> Iterator[Statement]:
    """Compare the types of atoms that are listed, and their number in the cell if it is given."""
    types = [one for one in block.column("_atom_type_symbol") if one and not is_no_atom(one)]
    if not types:
        return
    elements = [hydrogen(element_of_type(one, counts)) for one in types]
    formula = formula_of(block)
    lost = sorted(set(elements) - set(counts) - (set(elements) - set(formula) if formula else set()))
    said = f"{', '.join(lost)} is listed as a type of atoms, and no site has it"
    yield Statement("types of atoms", said if lost else "")
    numbers = [as_number(one) for one in block.column("_atom_type_number_in_cell")]
    if len(numbers) != len(block.column("_atom_type_symbol")) or len(elements) != len(numbers) or None in numbers:
        return
    given: dict[str, float] = {}
    for symbol, n in zip(elements, numbers, strict=True):
        given[symbol] = given.get(symbol, 0.0) + (n or 0.0)
    wrong = [s for s, n in given.items() if abs(counts.get(s, 0.0) - n) > STOICHIOMETRY * n]
    said = f"the file counts {_formula(given)} in the cell, and its sites make {_formula(counts)}"
    yield Statement("atoms in the cell", said if wrong else "", decides=True)


def _of_hydrogens(block: CifBlock, counts: Mapping[str, float]) -> Iterator[Statement]:
    """Compare hydrogens that are attached to sites, and have no position of their own."""
    if "H" not in counts and (hint := _hint_of_hydrogen(block)):
        yield Statement("hydrogens", f"{hint} announces hydrogen atoms, and none has a position")
    column = [as_number(one) or 0.0 for one in block.column("_atom_site_attached_hydrogens")]
    if not any(column):
        return
    share_given, share_found = (_share_of_hydrogen(amounts) for amounts in (formula_of(block), counts))
    complete = share_given > 0 and abs(share_found - share_given) < 1e-3
    said = f"{sum(column):g} hydrogen atoms are attached to sites and have no positions; place them"
    yield Statement("attached hydrogens", "" if complete else said)


def _hint_of_hydrogen(block: CifBlock) -> str:
    """Return the formula or label that says that there are hydroxyls, water or amines; empty if none does."""
    texts = [block.text((name,)) for name in ("_chemical_formula_structural", "_chemical_formula_moiety")]
    texts += [block.text((name,)) for name in ("_chemical_formula_iupac", "_chemical_formula_analytical")]
    formula = next((text for text in texts if HYDROGENS.search(text)), "")
    labels = block.column("_atom_site_label")
    return f"the formula {formula}" if formula else next((f"the label {one}" for one in labels if WATER.match(one)), "")


def _share_of_hydrogen(amounts: Mapping[str, float]) -> float:
    total = sum(amounts.values())
    return amounts.get("H", 0.0) / total if total else 0.0


def _formula(counts: Mapping[str, float]) -> str:
    return " ".join(f"{symbol}{n:.4g}" for symbol, n in sorted(counts.items()))
