"""Structures as a page draws them: the conventional cell of a crystal as CIF in P1, a molecule as SDF or XYZ."""

from pathlib import Path
from typing import Any

from pymatgen.core.structure import Molecule, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

from matgen.structures.candidate import Candidate
from matgen.structures.kind_formats import KIND_FORMATS
from matgen.structures.sdf import sdf_text
from matgen.structures.symmetry import SYMPREC
from matgen.templates.molecule import MoleculeTemplate

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


def lattice(structure: Structure) -> dict[str, float]:
    """Return lengths, Å, and angles, degrees, of a cell."""
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    values = {"a": a, "b": b, "c": c, "alpha": alpha, "beta": beta, "gamma": gamma}
    return {name: round(value, 4) for name, value in values.items()}


def molecule_text(candidate: Candidate) -> dict[str, str]:
    """Return a molecule as SDF with its bonds, or as XYZ where its graph is not known."""
    molecule = candidate.molecule
    if not candidate.template:
        return {"format": "xyz", "text": xyz(molecule, candidate.name)}
    template = MoleculeTemplate(candidate.template)
    return {"format": "sdf", "text": sdf_text(template, molecule.cart_coords, candidate.name, {})}


def xyz(molecule: Molecule, title: str = "") -> str:
    """Return a molecule as XYZ."""
    rows = [f"{site.specie.symbol} {site.x:.4f} {site.y:.4f} {site.z:.4f}" for site in molecule]
    return "\n".join([str(len(molecule)), " ".join(title.split()), *rows]) + "\n"


def own_file(candidate: Candidate, folder: Path) -> dict[str, Any] | None:
    """Return name and text of the file of a candidate in the folder of its run; None if there is none."""
    form = KIND_FORMATS[candidate.kind]
    path = form.folder(folder) / f"{candidate.name}.{form.suffix}"
    if not path.is_file():
        return None
    return {"name": path.name, "text": path.read_text(encoding="utf-8", errors="replace")}
