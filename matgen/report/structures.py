"""Structures as a page draws them: the conventional cell of a crystal, a molecule with its bonds; and their files."""

from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core.structure import Molecule, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

from matgen.structures.attached_files import inside
from matgen.structures.candidate import Candidate
from matgen.structures.kind_formats import KIND_FORMATS
from matgen.structures.sdf import sdf_text
from matgen.structures.symmetry import SYMPREC
from matgen.templates.molecule import MoleculeTemplate, with_positions

MOST_ATOMS = 200
"""Atoms up to which the conventional cell of a crystal is drawn in place of its primitive one."""


def conventional(structure: Structure) -> Structure:
    """Return the conventional standard cell; the structure itself where no symmetry is found, or where it is large."""
    try:
        found = SpacegroupAnalyzer(structure, symprec=SYMPREC).get_conventional_standard_structure()
    except (SymmetryUndeterminedError, ValueError, TypeError):  # spglib finds none, as with overlapping atoms
        return structure
    return found if len(found) <= MOST_ATOMS else structure


def p1_cif(structure: Structure, name: str = "structure") -> str:
    """Return a CIF that lists all atoms; coordinates have five decimals, which no drawing tells apart from more."""
    a, b, c = structure.lattice.abc
    alpha, beta, gamma = structure.lattice.angles
    title = "".join(letter if letter.isalnum() else "_" for letter in name)
    lines = [
        f"data_{title}",
        "_symmetry_space_group_name_H-M 'P 1'",
        "_symmetry_Int_Tables_number 1",
        *(f"_cell_length_{axis} {length:.5f}" for axis, length in zip("abc", (a, b, c), strict=True)),
        f"_cell_angle_alpha {alpha:.4f}",
        f"_cell_angle_beta {beta:.4f}",
        f"_cell_angle_gamma {gamma:.4f}",
        "loop_",
        "_symmetry_equiv_pos_as_xyz",
        "'x, y, z'",
        "loop_",
        "_atom_site_label",
        "_atom_site_type_symbol",
        "_atom_site_fract_x",
        "_atom_site_fract_y",
        "_atom_site_fract_z",
    ]
    for i, site in enumerate(structure):
        x, y, z = (value % 1.0 for value in site.frac_coords)
        lines.append(f"{site.specie.symbol}{i + 1} {site.specie.symbol} {x:.5f} {y:.5f} {z:.5f}")
    return "\n".join(lines) + "\n"


def crystal_drawing(cell: Structure, text: str) -> dict[str, Any]:
    """Return what draws a crystal: cell and positions, Å; and the text of its file.

    Args:
        cell: that is shown.
        text: of its file.
    """
    return {
        "format": "cif",
        "text": text,
        "cell": [[round(x, 5) for x in row] for row in cell.lattice.matrix.tolist()],
        "symbols": [site.specie.symbol for site in cell],
        "positions": _rounded((cell.frac_coords % 1.0) @ cell.lattice.matrix),
    }


def lattice(cell: Structure) -> dict[str, float]:
    """Return lengths, Å, angles, degrees, volume, Å³, and density, g/cm³, of a cell."""
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    found = {name: round(x, 4) for name, x in zip(names, cell.lattice.parameters, strict=True)}
    return found | {"volume": round(float(cell.volume), 3), "density": round(float(cell.density), 4)}


def molecule_drawing(candidate: Candidate, text: str | None) -> dict[str, Any]:
    """Return what draws a molecule: positions, Å, bonds with their orders, and the text of its file.

    Args:
        candidate: a molecule; its atoms are in the order of its graph.
        text: of its file; None to make one.
    """
    molecule = candidate.molecule
    found: dict[str, Any] = {
        "cell": None,
        "symbols": [site.specie.symbol for site in molecule],
        "positions": _rounded(molecule.cart_coords),
    }
    if not candidate.template:
        return found | {"format": "xyz", "text": text or xyz(molecule, candidate.name)}
    graph = with_positions(MoleculeTemplate(candidate.template), molecule.cart_coords)
    found["bonds"] = [
        [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondTypeAsDouble()] for bond in graph.GetBonds()
    ]
    template = MoleculeTemplate(candidate.template)
    return found | {
        "format": "sdf",
        "text": text or sdf_text(template, molecule.cart_coords, candidate.name, {}),
    }


def _rounded(positions: np.ndarray) -> list[list[float]]:
    return [[round(x, 3) + 0.0 for x in row] for row in positions.tolist()]


def xyz(molecule: Molecule, title: str = "") -> str:
    """Return a molecule as XYZ."""
    rows = [f"{site.specie.symbol} {site.x:.4f} {site.y:.4f} {site.z:.4f}" for site in molecule]
    return "\n".join([str(len(molecule)), " ".join(title.split()), *rows]) + "\n"


def own_file(candidate: Candidate, folder: Path) -> Path | None:
    """Return the file of a candidate in the folder of its run; None if there is none, or it lies elsewhere."""
    form = KIND_FORMATS[candidate.kind]
    return inside(folder, form.folder(folder) / f"{candidate.name}.{form.suffix}")
