"""How the page draws elements: Jmol's colours, covalent radii, and what decides who is bonded to whom."""

from collections.abc import Iterable
from typing import Any

from matgen.runtime.late import Late

ase_data = Late("ase.data")
jmol = Late("ase.data.colors")
periodic_table = Late("pymatgen.core.periodic_table")


def element_style(symbol: str) -> dict[str, Any]:
    """Return name, colour (Jmol), covalent radius (Å, Cordero 2008), electronegativity (Pauling), and whether a metal.

    Args:
        symbol: of an element.
    """
    z = ase_data.atomic_numbers[symbol]
    red, green, blue = (round(255 * float(share)) for share in jmol.jmol_colors[z])
    return {
        "name": ase_data.atomic_names[z],
        "colour": f"#{red:02x}{green:02x}{blue:02x}",
        "radius": round(float(ase_data.covalent_radii[z]), 3),
        "electronegativity": periodic_table.Element(symbol).data.get("X"),
        "metal": bool(periodic_table.Element(symbol).is_metal),
    }


def element_styles(symbols: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the style of each of these symbols; those that are no element are left to the page's default."""
    return {symbol: element_style(symbol) for symbol in sorted(set(symbols)) if symbol in ase_data.atomic_numbers}
