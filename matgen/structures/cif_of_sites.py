"""Write sites, cell and symmetry of another format as the text of a CIF, so that one reader expands and checks them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ListedSite:
    """A site of an asymmetric unit: its label, element, fractional coordinates and occupancy."""

    label: str
    symbol: str
    coords: Sequence[float]
    occupancy: float = 1.0


def cif_of_sites(
    cell: Sequence[float],
    sites: Iterable[ListedSite],
    *,
    operations: Sequence[str] = (),
    symbol: str = "",
    formula: str = "",
) -> str:
    """Return the text of a CIF.

    Args:
        cell: a, b and c, Å, and alpha, beta and gamma, degrees.
        sites: of the asymmetric unit.
        operations: such as `-x, y+1/2, -z`; empty for those of the symbol.
        symbol: of the space group; empty if it is not told.
        formula: of the whole cell; empty if it is not told.
    """
    names = (*(f"_cell_length_{axis}" for axis in "abc"), *(f"_cell_angle_{one}" for one in ("alpha", "beta", "gamma")))
    lines = ["data_sites", *(f"{name} {value!r}" for name, value in zip(names, cell, strict=True))]
    if symbol:
        lines.append(f"_space_group_name_H-M_alt {_quoted(symbol)}")
    if formula:
        lines += [f"_chemical_formula_sum {_quoted(formula)}", "_cell_formula_units_Z 1"]
    if operations:
        lines += ["loop_", "_space_group_symop_operation_xyz", *map(_quoted, operations)]
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{axis}" for axis in "xyz"] + ["_atom_site_occupancy"]
    for site in sites:
        coords = " ".join(repr(float(x)) for x in site.coords)
        lines.append(f"{_quoted(site.label)} {_quoted(site.symbol)} {coords} {site.occupancy!r}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + "".join(letter for letter in text if letter.isprintable() and letter != "'") + "'"
