"""Properties that can be predicted and used as targets, with their units and limits."""

import math
from dataclasses import dataclass
from typing import Literal

Source = Literal["model", "composition", "structure", "moments"]
"""What a value follows from: a learned model; the composition alone; the structure; magnetic moments by CHGNet."""

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
        source: what a value follows from; learned properties alone have heads, calibrations and conditions.
        whole: whether values are whole numbers, so that `<3` excludes 3.
    """

    name: str
    unit: str
    aliases: tuple[str, ...]
    lowest: float
    highest: float
    zero: float
    note: str
    tolerance: float
    source: Source = "model"
    whole: bool = False


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


def _computed(
    name: str, unit: str, aliases: tuple[str, ...], highest: float, tolerance: float, source: Source, note: str
) -> Property:
    """Return the entry of a property that is computed, not learned; none is negative."""
    whole = name == "n_elements"
    return Property(name, unit, aliases, float(whole), highest, -math.inf, note, tolerance, source, whole)


COMPUTED_CRYSTAL_PROPERTIES: dict[str, Property] = {
    p.name: p
    for p in (
        _computed("density", "g/cm³", ("rho",), 30.0, 0.25, "structure", "mass over volume of the cell"),
        _computed("volume_per_atom", "Å³", ("volume",), 200.0, 1.0, "structure", "volume of the cell over its atoms"),
        _computed("n_elements", "elements", ("number_of_elements", "nelements"), 20.0, 0.0, "composition", "distinct"),
        _computed("price", "USD/kg", ("cost",), 1e6, 1.0, "composition", "of its elements, traded in bulk, by mass"),
        _computed(
            "hhi_production",
            "HHI",
            ("hhi", "hhi_p"),
            1e4,
            250.0,
            "composition",
            "Herfindahl-Hirschman index of production of the elements by country, 0 to 10000, by mass",
        ),
        _computed(
            "hhi_reserve",
            "HHI",
            ("hhi_r", "hhi_reserves"),
            1e4,
            250.0,
            "composition",
            "Herfindahl-Hirschman index of reserves of the elements by country, 0 to 10000, by mass",
        ),
        _computed(
            "crustal_abundance",
            "mg/kg",
            ("abundance",),
            5e5,
            1.0,
            "composition",
            "of the rarest element in the continental crust",
        ),
        _computed(
            "magnetic_moment",
            "μB/atom",
            ("moment", "magmom"),
            10.0,
            0.1,
            "moments",
            "sum of the magnitudes of CHGNet's site moments per atom, as in ferromagnetic order: an upper bound",
        ),
        _computed(
            "magnetic_density",
            "μB/Å³",
            ("magnetization", "magnetisation"),
            1.0,
            0.01,
            "moments",
            "sum of the magnitudes of CHGNet's site moments per volume, as in ferromagnetic order: an upper bound",
        ),
    )
}
"""Properties of crystals that need no training; `matgen.targets.computed` has their values."""

COMPUTED_MOLECULE_PROPERTIES: dict[str, Property] = {
    p.name: p
    for p in (
        _computed(
            "molecular_weight", "g/mol", ("mw", "molar_mass"), 400.0, 1.0, "composition", "standard atomic weights"
        ),
    )
}
"""Likewise of molecules."""

LEARNED_OF = {"crystal": CRYSTAL_PROPERTIES, "molecule": MOLECULE_PROPERTIES}
"""Properties that models predict, by kind."""

COMPUTED_OF = {"crystal": COMPUTED_CRYSTAL_PROPERTIES, "molecule": COMPUTED_MOLECULE_PROPERTIES}
"""Properties that follow from composition, structure or CHGNet's moments, by kind."""

COMPUTED_PROPERTIES = COMPUTED_CRYSTAL_PROPERTIES | COMPUTED_MOLECULE_PROPERTIES
"""Those of both kinds, by name."""

PROPERTIES = CRYSTAL_PROPERTIES | MOLECULE_PROPERTIES | COMPUTED_PROPERTIES
"""Properties of both kinds, by name."""

PROPERTIES_OF = {kind: LEARNED_OF[kind] | COMPUTED_OF[kind] for kind in LEARNED_OF}
"""All that can be a target, by kind."""
