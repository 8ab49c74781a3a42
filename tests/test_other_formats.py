"""Files of other programs hold what independent readers find in them, and broken ones say why."""

import io
from pathlib import Path

import ase.io
import gemmi
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule as ase_molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.io.trajectory import Trajectory
from pymatgen.core import Lattice, Structure
from rdkit import Chem

from matgen.structures.files import Entry, found, one_kind, read_structures
from matgen.structures.passed_over import files_passed_over

TILTED = Atoms(
    "LiCoO2",
    scaled_positions=[[0.1, 0.2, 0.35], [0.52, 0.61, 0.7], [0.83, 0.13, 0.9], [0.3, 0.77, 0.05]],
    cell=[[3.1, 0.2, -0.3], [-1.4, 4.2, 0.1], [0.6, 0.9, 5.7]],
    pbc=True,
)
"""A triclinic cell in no standard orientation."""

ETHANOL = ase_molecule("CH3CH2OH")


def entries(path: Path) -> list[Entry]:
    return list(read_structures([path], None))


def one(path: Path) -> Entry:
    (entry,) = entries(path)
    return entry


def same_crystal(entry: Entry, atoms: Atoms, rounding: float) -> None:
    """Elements, edges, angles and fractional coordinates agree; some formats keep no orientation."""
    assert entry.crystal is not None, entry.error
    order = np.argsort(entry.crystal.atomic_numbers, kind="stable"), np.argsort(atoms.numbers, kind="stable")
    assert np.array(entry.crystal.atomic_numbers)[order[0]].tolist() == atoms.numbers[order[1]].tolist()
    assert np.allclose(entry.crystal.lattice.parameters, atoms.cell.cellpar(), atol=rounding)
    away = entry.crystal.frac_coords[order[0]] - atoms.get_scaled_positions()[order[1]]
    assert np.abs(away - np.rint(away)).max() < rounding


def same_molecule(entry: Entry, atoms: Atoms, smiles: str, rounding: float) -> None:
    assert entry.molecule is not None, entry.error
    assert Chem.CanonSmiles(entry.template) == Chem.CanonSmiles(smiles)
    assert sorted(entry.molecule.atomic_numbers) == sorted(atoms.numbers.tolist())
    distances = np.sort(entry.molecule.distance_matrix.ravel()), np.sort(atoms.get_all_distances().ravel())
    assert np.allclose(*distances, atol=2 * rounding)


@pytest.mark.parametrize(
    ("name", "form", "rounding"),
    [
        ("a.xsf", "xsf", 1e-6),
        ("a.gen", "gen", 1e-6),
        ("geometry.in", "aims", 1e-6),
        ("relaxed_geometry.in", "aims", 1e-6),
        ("a.res", "res", 1e-5),
        ("a.pdb", "proteindatabank", 6e-3),  # angles have two decimals, lengths three
        ("a.traj", "traj", 1e-9),
        ("a.db", "db", 1e-9),
        ("a.json", "json", 1e-9),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_crystal_that_ase_writes_is_the_same(tmp_path: Path, name: str, form: str, rounding: float) -> None:
    ase.io.write(tmp_path / name, TILTED, format=form)
    same_crystal(one(tmp_path / name), TILTED, rounding)
    assert one_kind(found([tmp_path / name])) == "crystal"


@pytest.mark.parametrize(
    ("name", "form", "rounding"),
    [
        ("a.xsf", "xsf", 1e-6),
        ("a.gen", "gen", 1e-6),
        ("geometry.in", "aims", 1e-6),
        ("a.pdb", "proteindatabank", 6e-3),  # angles have two decimals, lengths three
        ("a.traj", "traj", 1e-9),
        ("a.db", "db", 1e-9),
        ("a.json", "json", 1e-9),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_molecule_that_ase_writes_is_the_same(tmp_path: Path, name: str, form: str, rounding: float) -> None:
    ase.io.write(tmp_path / name, ETHANOL, format=form)
    same_molecule(one(tmp_path / name), ETHANOL, "CCO", rounding)
    assert one_kind(found([tmp_path / name])) == "molecule"


def test_frames_of_a_trajectory_are_structures_and_nothing_else_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.traj"
    frames = [TILTED.copy() for _ in range(3)]
    with Trajectory(path, "w") as trajectory:
        for index, frame in enumerate(frames):
            frame.positions += 0.05 * index
            frame.set_cell(frame.cell * (1 + 0.01 * index), scale_atoms=True)
            frame.set_constraint([FixAtoms([0]), FixCartesian(1)])
            frame.calc = SinglePointCalculator(frame, energy=-1.5 * index, forces=np.zeros((4, 3)))
            trajectory.write(frame)
    made = entries(path)
    assert [entry.name for entry in made] == ["run.traj#0", "run.traj#1", "run.traj#2"]
    for entry, frame in zip(made, ase.io.read(path, index=":"), strict=True):
        same_crystal(entry, frame, 1e-9)
    data = path.read_bytes()
    for damaged in (data[:60], data[: len(data) // 2], data.replace(b'"float64"', b'"object" '), b"x" + data):
        path.write_bytes(damaged)
        assert any(entry.error for entry in entries(path))


def test_steps_of_an_animated_xsf_are_structures(tmp_path: Path) -> None:
    frames = [TILTED.copy(), TILTED.copy()]
    frames[1].positions[0] += 0.2
    ase.io.write(tmp_path / "a.axsf", frames, format="xsf")
    for entry, frame in zip(entries(tmp_path / "a.axsf"), frames, strict=True):
        same_crystal(entry, frame, 1e-6)


def test_densities_behind_a_structure_are_no_obstacle(tmp_path: Path) -> None:
    text = io.StringIO()
    ase.io.write(text, TILTED, format="xsf", data=np.ones((2, 2, 2)))
    (tmp_path / "a.xsf").write_text(text.getvalue())
    same_crystal(one(tmp_path / "a.xsf"), TILTED, 1e-6)


# ---------------------------------------------------------------- SHELX

RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
OF_RUTILE = """TITL rutile, from memory
CELL 0.71073 4.594 4.594 2.959 90 90 90
ZERR 2 0.001 0.001 0.001 0 0 0
LATT 1
SYMM -x, -y, z
SYMM 0.5-y, 0.5+x, 0.5+z
SYMM 0.5+y, 0.5-x, 0.5+z
SYMM 0.5-x, 0.5+y, 0.5-z
SYMM 0.5+x, 0.5-y, 0.5-z
SYMM y, x, -z
SYMM -y, -x, -z
SFAC Ti O
UNIT 2 4
FVAR 1.0
Ti1 1 10.000000 10.000000 10.000000 10.12500 0.01 0.01 =
     0.01 0 0 0
O1  2 0.305 0.305 10.0 10.25000 0.02
HKLF 4
Q1 1 0.1 0.2 0.3 11.0 0.05 1.2
END
"""


def test_symmetry_of_shelx_makes_the_crystal(tmp_path: Path) -> None:
    (tmp_path / "a.res").write_text(OF_RUTILE)
    entry = one(tmp_path / "a.res")
    assert entry.crystal is not None, entry.error
    assert {"formula", "Z"} <= set(entry.faithful.compared)
    assert entry.crystal.matches(RUTILE, scale=False)
    group = gemmi.find_spacegroup_by_number(136).operations()
    assert len(entry.crystal) == len(RUTILE) == 6
    assert len(group) == 16


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("UNIT 2 4", "UNIT 2 8", "its formula is"),
        ("Ti1 1 10.000000", "Ti1 1 21.000000", "free variable"),
        ("10.25000", "21.00000", "free variable"),
        ("10.25000", "10.12500", "disordered"),
        ("SYMM -x, -y, z", "SYMM -x, -y, w", "not understood"),
        ("LATT 1", "LATT 9", "LATT from 1 to 7"),
        ("CELL 0.71073 4.594", "CELL 4.594", "expected a line CELL"),
        ("SFAC Ti O", "", "expected a line SFAC"),
        ("SFAC Ti O", "SFAC Ti Xx", "no element"),
    ],
)
def test_a_res_that_is_not_whole_says_why(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in OF_RUTILE
    (tmp_path / "a.res").write_text(OF_RUTILE.replace(old, new))
    assert reason in one(tmp_path / "a.res").error


def test_airss_lists_all_atoms_under_the_name_of_the_group(tmp_path: Path) -> None:
    text = "TITL Ti-1 0.01 62.4 -1.5 0 0 6 (P42/mnm) n - 1\nREM a\n"
    text += "CELL 1.54 4.594 4.594 2.959 90 90 90\nLATT -1\nSFAC Ti O\n"
    atoms = "".join(
        f"{site.specie} {1 + (site.specie.symbol == 'O')} {' '.join(f'{x:.9f}' for x in site.frac_coords)} 1.0\n"
        for site in RUTILE
    )
    (tmp_path / "a.res").write_text(f"{text}{atoms}END\n")
    entry = one(tmp_path / "a.res")
    assert entry.crystal is not None, entry.error
    assert entry.crystal.matches(RUTILE, scale=False)


# ---------------------------------------------------------------- PDB


def test_the_space_group_of_a_pdb_makes_the_crystal(tmp_path: Path) -> None:
    lines = ["CRYST1    4.594    4.594    2.959  90.00  90.00  90.00 P 42/m n m    2"]
    for number, (symbol, x) in enumerate((("TI", 0.0), ("O", 0.305 * 4.594)), start=1):
        place = f"{x:8.3f}{x:8.3f}{0.0:8.3f}"
        lines.append(f"HETATM{number:5d} {symbol:>2s}   UNK A   1    {place}  1.00  0.00          {symbol:>2s}")
    (tmp_path / "a.pdb").write_text("\n".join([*lines, "END"]))
    entry = one(tmp_path / "a.pdb")
    assert entry.crystal is not None, entry.error
    assert entry.crystal.matches(RUTILE, scale=False)
    (tmp_path / "a.pdb").write_text("\n".join([*lines, "END"]).replace("P 42/m n m", "P 99/m x y"))
    assert "space group" in one(tmp_path / "a.pdb").error


def test_models_charges_and_partial_atoms_of_a_pdb(tmp_path: Path) -> None:
    block = Chem.MolToPDBBlock(placed_by_rdkit("CC(=O)[O-]"))
    (tmp_path / "a.pdb").write_text(block)
    assert one(tmp_path / "a.pdb").template == "CC(=O)[O-]"
    atoms = "".join(line + "\n" for line in block.splitlines() if line.startswith(("ATOM", "HETATM")))
    (tmp_path / "b.pdb").write_text(f"MODEL        1\n{atoms}ENDMDL\nMODEL        2\n{atoms}ENDMDL\nEND\n")
    assert [entry.template for entry in entries(tmp_path / "b.pdb")] == ["CC(=O)[O-]"] * 2
    (tmp_path / "c.pdb").write_text(atoms.replace("  1.00  0.00", "  0.50  0.00", 1))
    assert "disordered" in one(tmp_path / "c.pdb").error
    (tmp_path / "d.pdb").write_text("HEADER    NOTHING\nEND\n")
    assert "no atoms" in one(tmp_path / "d.pdb").error


# ---------------------------------------------------------------- MOL2 and InChI


def placed_by_rdkit(smiles: str) -> Chem.Mol:
    from rdkit.Chem import rdDistGeom

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=1) == 0
    return molecule


TYPES = {"C": "C.3", "O": "O.3", "H": "H", "N": "N.am"}


def mol2(smiles: str, *, hydrogens: bool = True) -> str:
    """A MOL2 of a molecule with acids and amides, whose types RDKit needs."""
    molecule = placed_by_rdkit(smiles)
    molecule = molecule if hydrogens else Chem.RemoveHs(molecule)
    kinds = [TYPES[atom.GetSymbol()] for atom in molecule.GetAtoms()]
    words = ["1", "2", "3", "ar"]
    bonds = []
    for acid in molecule.GetSubstructMatches(Chem.MolFromSmarts("C(=O)[O-]")):
        kinds[acid[0]], kinds[acid[1]], kinds[acid[2]] = "C.2", "O.co2", "O.co2"
    for amide in molecule.GetSubstructMatches(Chem.MolFromSmarts("C(=O)N")):
        kinds[amide[0]], kinds[amide[1]] = "C.2", "O.2"
    for number, bond in enumerate(molecule.GetBonds(), start=1):
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        order = "ar" if {"C.2", "O.co2"} == {kinds[i] for i in ends} else words[int(bond.GetBondTypeAsDouble()) - 1]
        bonds.append(f"{number} {ends[0] + 1} {ends[1] + 1} {order}")
    places = molecule.GetConformer().GetPositions()
    atoms = [
        f"{i + 1} {kind[0]}{i + 1} {' '.join(f'{x:.4f}' for x in places[i])} {kind} 1 UNL 0.0"
        for i, kind in enumerate(kinds)
    ]
    head = ["@<TRIPOS>MOLECULE", "mine", f"{len(atoms)} {len(bonds)} 1", "SMALL", "NO_CHARGES", "", "@<TRIPOS>ATOM"]
    return "\n".join([*head, *atoms, "@<TRIPOS>BOND", *bonds]) + "\n"


@pytest.mark.parametrize("smiles", ["CCO", "CC(=O)[O-]", "CC(=O)NC"])
def test_a_mol2_holds_the_molecule_that_rdkit_finds(tmp_path: Path, smiles: str) -> None:
    (tmp_path / "a.mol2").write_text(mol2(smiles))
    entry = one(tmp_path / "a.mol2")
    assert entry.template == Chem.CanonSmiles(smiles), entry.error
    (tmp_path / "b.mol2").write_text("# two\n" + mol2(smiles) * 2)
    assert [each.template for each in entries(tmp_path / "b.mol2")] == [entry.template] * 2


def test_a_mol2_without_hydrogens_atoms_or_with_a_cell_says_so(tmp_path: Path) -> None:
    for text, reason in (
        (mol2("CCO", hydrogens=False), "all hydrogens"),
        ("@<TRIPOS>MOLECULE\nx\n 0 0\n", "not readable as mol2"),
        (mol2("CCO") + "@<TRIPOS>CRYSIN\n4 4 4 90 90 90 1 1\n", "with a cell"),
    ):
        (tmp_path / "a.mol2").write_text(text)
        assert reason in one(tmp_path / "a.mol2").error


def test_an_inchi_is_a_molecule_whose_inchi_it_is(tmp_path: Path) -> None:
    smiles = ["CCO", "C/C=C/F", "C[C@H](F)Cl", "CC(=O)[O-]", "c1ccccc1O", "O"]
    lines = [f"{Chem.MolToInchi(Chem.MolFromSmiles(one))}\tname{i}" for i, one in enumerate(smiles)]
    (tmp_path / "a.inchi").write_text("\n".join(["InChI", *lines, "InChI=1S/CX9Q/c1"]))
    *made, broken = entries(tmp_path / "a.inchi")
    assert [entry.template for entry in made] == [Chem.CanonSmiles(one) for one in smiles]
    assert made[1].name == "a.inchi#name1"
    assert "not readable as InChI" in broken.error


# ---------------------------------------------------------------- broken files


def written(form: str, atoms: Atoms = TILTED) -> str:
    text = io.StringIO()
    ase.io.write(text, atoms, format=form)
    return text.getvalue()


def of_aims() -> str:
    vectors = [f"lattice_vector {x} {y} {z}" for x, y, z in TILTED.cell.tolist()]
    atoms = [f"atom {x} {y} {z} {s}" for (x, y, z), s in zip(TILTED.positions.tolist(), TILTED.symbols, strict=True)]
    return "\n".join([*vectors, *atoms]) + "\n"


def test_a_broken_file_is_a_row_with_a_reason(tmp_path: Path) -> None:
    slab = TILTED.copy()
    slab.pbc = (True, True, False)
    cases = [
        ("a.xsf", written("xsf").replace("4 1", "3 1"), "announces"),
        ("b.xsf", written("xsf", slab), "repeats along a and b"),
        ("c.xsf", "CRYSTAL\nPRIMVEC\n1 0 0\n", "damaged: expected CRYSTAL"),
        ("a.gen", written("gen").replace("4  S", "3  S"), "announces"),
        ("b.gen", "\n".join(written("gen").splitlines()[:-1]), "three vectors"),
        ("c.gen", "x", "not readable as gen"),
        ("d.gen", written("gen").replace("Li", "Xq"), "not readable as gen"),
        (
            "1/geometry.in",
            of_aims().replace("lattice_vector", "#", 1),
            "three lines",
        ),
        ("2/geometry.in", of_aims().replace("atom ", "empty ", 1), "without atoms"),
        ("3/geometry.in", "", "empty"),
        ("4/geometry.in", of_aims().replace(" Li", " Xq"), "not readable as aims"),
        ("a.traj", "- of UlmSomething-Else", "not a trajectory"),
        ("b.traj", "", "not a trajectory"),
        ("a.pdb", "ATOM      1", "pdb"),
        ("a.inchi", "", "the file is empty"),
    ]
    for name, text, reason in cases:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        errors = [entry.error for entry in entries(tmp_path / name)]
        assert any(reason in error for error in errors), (name, errors)


def test_expressions_of_a_symmetry_block_are_not_evaluated(tmp_path: Path) -> None:
    block = ["symmetry_n_params 1 1 0", "symmetry_params a", *["symmetry_lv a.__class__, 0, 0"] * 3, "symmetry_frac a"]
    (tmp_path / "geometry.in").write_text(of_aims() + "\n".join([*block, "symmetry_frac __import__('os'), 0, 0"]))
    same_crystal(one(tmp_path / "geometry.in"), TILTED, 1e-6)


def test_densities_of_vasp_are_passed_over_in_a_folder(tmp_path: Path) -> None:
    head = "Cu\n1.0\n3.6 0 0\n0 3.6 0\n0 0 3.6\nCu\n1\nDirect\n0 0 0\n"
    grid = "\n   2   2   2\n 0.1 0.2 0.3 0.4 0.5\n 0.6 0.7 0.8\n"
    (tmp_path / "POSCAR").write_text(head)
    for name in ("CHGCAR", "LOCPOT", "ELFCAR"):
        (tmp_path / name).write_text(head + grid)
    assert [entry.name.rpartition("/")[2] for entry in entries(tmp_path)] == ["POSCAR"]
    assert sum(files_passed_over([tmp_path]).values()) == 3
    named = entries(tmp_path / "CHGCAR")
    assert [entry.crystal is not None and len(entry.crystal) for entry in named] == [1]
