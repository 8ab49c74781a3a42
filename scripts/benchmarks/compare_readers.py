"""Crystals of the prepared table written in eight dialects of CIF, and real CIFs, read here and by gemmi and ASE.

    python scripts/benchmarks/compare_readers.py --n 500              # rows of the test split, seed 0
    python scripts/benchmarks/compare_readers.py --n 0 folder/*.cif   # real files

Of the table, each structure must match the row that was written. Of all, the number of atoms of each element is
compared with those of ASE and gemmi. Each disagreement is listed.
"""

import argparse
import io
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ase.io
import gemmi
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from matgen.structures.cif import cif_text
from matgen.structures.cif_settings import by_hall
from matgen.structures.files import found, read
from matgen.structures.formats import Piece
from matgen.structures.reading import read_piece
from shared.crystals import crystals, sample_rows, true_structures

SAME = StructureMatcher(ltol=0.01, stol=0.02, angle_tol=0.5, scale=False)
"""Four digits of a coordinate are 0.002 Å; symmetrised cells are idealised by up to 0.01 Å."""

Dialect = Callable[[Structure], str]


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="real CIFs, compared too")
    parser.add_argument("--n", type=int, default=500, help="rows of the table, at most 500")
    parser.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    return parser.parse_args()


def symmetric(structure: Structure, group: str, *, digits: int = 6) -> str:
    """Return a CIF of the asymmetric unit, with the group as an item of a standard setting."""
    data = SpacegroupAnalyzer(structure, symprec=0.01)
    whole = data.get_refined_structure()
    again = SpacegroupAnalyzer(whole, symprec=0.01)
    dataset = again.get_symmetry_dataset()
    (setting,) = by_hall(dataset.hall)
    names = {
        "symbol": f"_symmetry_space_group_name_H-M '{setting.name}'",
        "Hall": f"_space_group_name_Hall\n;\n{dataset.hall}\n;",
        "operations": "loop_\n_symmetry_equiv_pos_as_xyz\n" + "\n".join(f"'{op.triplet()}'" for op in setting.group),
        "number": f"_symmetry_Int_Tables_number {dataset.number}\n_cell_formula_units_Z 1\n"
        f"_chemical_formula_sum '{whole.composition.formula}'",
    }
    cell = [f"_cell_length_{x} {v:.6f}" for x, v in zip("abc", whole.lattice.abc, strict=True)]
    cell += [f"_cell_angle_{x} {v:.6f}" for x, v in zip(("alpha", "beta", "gamma"), whole.lattice.angles, strict=True)]
    head = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z"
    first = sorted(set(again.get_symmetry_dataset().equivalent_atoms.tolist()))
    rows = [
        f"{whole[i].specie.symbol}{i} {whole[i].specie.symbol} "
        + " ".join(f"{x:.{digits}f}" for x in whole[i].frac_coords)
        for i in first
    ]
    return "\n".join(["data_x", *cell, names[group], head, *rows, ""])


def by_ase(structure: Structure) -> str:
    """Return the CIF that ASE writes."""
    stream = io.BytesIO()
    ase.io.write(stream, AseAtomsAdaptor.get_atoms(structure, msonable=False), format="cif")
    return stream.getvalue().decode()


DIALECTS: dict[str, Dialect] = {
    "all atoms, pymatgen": cif_text,
    "symmetrised, pymatgen": lambda one: str(CifWriter(one, symprec=0.01)),
    "all atoms, ASE": by_ase,
    "operations": lambda one: symmetric(one, "operations"),
    "symbol": lambda one: symmetric(one, "symbol"),
    "Hall symbol": lambda one: symmetric(one, "Hall"),
    "number and formula": lambda one: symmetric(one, "number"),
    "symbol, four digits": lambda one: symmetric(one, "symbol", digits=4),
}


def compared_rows(structures: Sequence[Structure]) -> Iterator[str]:
    """Yield the outcome of each row in each dialect; print those that differ."""
    for index, structure in enumerate(structures):
        for name, dialect in DIALECTS.items():
            text = dialect(structure)
            entry = next(_read(text))
            if isinstance(entry, str):
                outcome = "refused, ambiguous" if "origin or axes" in entry else "refused"
                print(f"row {index}, {name}: {structure.formula}: {outcome}: {entry[:150]}")
            else:
                outcome = "as written" if SAME.fit(entry, structure) else "differs"
                if outcome == "differs":
                    print(f"row {index}, {name}: {structure.formula}: read as {entry.formula}\n{text}")
            yield f"{name}: {outcome}"


def _read(text: str) -> Iterator[Structure | str]:
    try:
        yield read_piece(Piece("", "cif", text), "crystal").structure  # type: ignore[misc]
    except ValueError as error:
        yield str(error)


def compared_files(files: Sequence[Path]) -> Iterator[str]:
    """Yield how the number of atoms of each file compares with those of other readers; print what differs."""
    for one in found(files):
        entry = read(one, "crystal")
        others = {"ASE": atoms_by_ase(one.piece.content), "gemmi": atoms_by_gemmi(one.piece.content)}
        if entry.crystal is None:
            print(f"{one.name}: refused: {entry.error}; {others}")
            yield "refused"
            continue
        own = dict(Counter(site.specie.symbol for site in entry.crystal))
        unlike = [name for name, atoms in others.items() if atoms != own]
        if unlike:
            print(f"{one.name}: {own}; {'; '.join(f'{name}: {others[name]}' for name in unlike)}; {entry.note}")
        yield f"unlike {', '.join(unlike)}" if unlike else "as by ASE and gemmi"


def atoms_by_ase(text: str) -> dict[str, int] | str:
    """Return the number of atoms of each element by ASE, or its error."""
    try:
        return dict(Counter(ase.io.read(io.StringIO(text), format="cif").get_chemical_symbols()))
    except Exception as error:  # noqa: BLE001 (any error of the other reader is its answer)
        return f"{type(error).__name__}: {error}"


def atoms_by_gemmi(text: str) -> dict[str, int] | str:
    """Return the number of atoms of each element by gemmi, or its error."""
    try:
        small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(text)[0])
        return dict(Counter(site.element.name.replace("D", "H") for site in small.get_all_unit_cell_sites()))
    except Exception as error:  # noqa: BLE001 (any error of the other reader is its answer)
        return f"{type(error).__name__}: {error}"


def main() -> None:
    """Compare, and print the counts."""
    warnings.simplefilter("ignore")
    asked = options()
    if asked.n:
        table = crystals(asked.table)
        structures = true_structures(table, sample_rows(table, asked.n).tolist())
        for outcome, n in sorted(Counter(compared_rows(structures)).items()):
            print(f"{outcome}: {n}")
    files = list(asked.files)
    random.Random(0).shuffle(files)
    for outcome, n in Counter(compared_files(files)).most_common():
        print(f"files {outcome}: {n}")


if __name__ == "__main__":
    main()
