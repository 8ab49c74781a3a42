"""Properties that can be predicted and used as targets, with their units and limits."""

import math
from dataclasses import dataclass

HULL_BEND = 0.02
"""Energy above hull (eV/atom) beyond which its distribution is logarithmic instead of linear."""


@dataclass(frozen=True)
class Property:
    """One property.

    Attributes:
        name: canonical name.
        unit: of all values.
        aliases: other accepted spellings.
        lowest: lower limit of possible values.
        highest: generous upper limit of possible values.
        zero: values up to this count as exactly zero (a metal; a compound on the hull); minus infinity if zero has no
            special meaning.
        note: how the value is calculated.
        tolerance: largest deviation at which a value meets a point target, in the unit.
        relative: whether the tolerance is a share of the target instead.
    """

    name: str
    unit: str
    aliases: tuple[str, ...]
    lowest: float
    highest: float
    zero: float
    note: str
    tolerance: float
    relative: bool = False


CRYSTAL_PROPERTIES: dict[str, Property] = {
    p.name: p
    for p in (
        Property(
            "band_gap",
            "eV",
            ("bandgap", "gap", "eg"),
            0.0,
            20.0,
            0.01,
            "PBE(+U) gap: about a third below experiment",
            0.25,
        ),
        Property(
            "formation_energy",
            "eV/atom",
            ("e_form", "eform", "formation_energy_per_atom"),
            -8.0,
            8.0,
            -math.inf,
            "PBE(+U) with MP2020 corrections, against the elements",
            0.1,
        ),
        Property(
            "energy_above_hull",
            "eV/atom",
            ("ehull", "e_hull", "e_above_hull", "hull"),
            0.0,
            10.0,
            0.0,
            "against the Materials Project hull of 2018-2022",
            0.05,
        ),
    )
}


B3LYP = "B3LYP/6-31G(2df,p)"

MOLECULE_PROPERTIES: dict[str, Property] = {
    p.name: p
    for p in (
        Property(
            "gap", "eV", ("homo_lumo_gap", "bandgap", "band_gap"), 0.0, 20.0, -math.inf, f"HOMO–LUMO gap, {B3LYP}", 0.25
        ),
        Property("homo", "eV", (), -20.0, 5.0, -math.inf, f"orbital energy, {B3LYP}", 0.2),
        Property("lumo", "eV", (), -10.0, 10.0, -math.inf, f"orbital energy, {B3LYP}", 0.2),
        Property(
            "dipole", "D", ("mu", "dipole_moment"), 0.0, 40.0, -math.inf, f"length of the dipole moment, {B3LYP}", 0.5
        ),
        Property(
            "polarizability", "bohr³", ("alpha",), 0.0, 400.0, -math.inf, f"isotropic polarizability, {B3LYP}", 3.0
        ),
        Property(
            "atomization_energy",
            "eV",
            ("u0", "e_atomization"),
            -400.0,
            0.0,
            -math.inf,
            f"U0 minus that of the free atoms, {B3LYP}: negative where the molecule is bound",
            2.0,
        ),
        Property("heat_capacity", "cal/mol/K", ("cv", "c_v"), 0.0, 200.0, -math.inf, f"at 298 K, {B3LYP}", 1.5),
    )
}

PROPERTIES = CRYSTAL_PROPERTIES | MOLECULE_PROPERTIES
"""Properties of both kinds, by name."""

PROPERTIES_OF = {"crystal": CRYSTAL_PROPERTIES, "molecule": MOLECULE_PROPERTIES}
