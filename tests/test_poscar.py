"""POSCARs of every version, with comments and scales, and several in one file."""

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from matgen.structures.broken import BrokenStructureError
from matgen.structures.files import read_structures
from matgen.structures.passed_over import files_passed_over
from matgen.structures.poscar import read_poscar

RUTILE = """rutile
1.0
4.6 0 0
0 4.6 0
0 0 2.96
Sn O
2 4
Direct
0 0 0
.5 .5 .5
.305 .305 0
.695 .695 0
.805 .195 .5
.195 .805 .5
"""
EDGES = np.diag([4.6, 4.6, 2.96])


def same(text: str) -> None:
    made, plain = read_poscar(text).structure, read_poscar(RUTILE).structure
    assert np.allclose(made.lattice.matrix, EDGES)
    assert made.species == plain.species
    away = made.frac_coords - plain.frac_coords
    assert np.allclose(away, np.rint(away), atol=1e-9)


def cartesian() -> str:
    lines = RUTILE.splitlines()
    coords = np.array([line.split() for line in lines[8:]], dtype=float)
    return "\n".join([*lines[:7], "Cartesian", *(f"{x} {y} {z}" for x, y, z in coords @ EDGES)])


def selective(flags: str) -> str:
    head, coords = RUTILE.split("Direct\n")
    return f"{head}Selective dynamics\nDirect\n" + "".join(f"{line} {flags}\n" for line in coords.splitlines())


def test_the_same_crystal_is_read_in_every_notation() -> None:
    unit = RUTILE.replace("4.6 0 0\n0 4.6 0\n0 0 2.96", "1 0 0\n0 1 0\n0 0 1")
    commented = RUTILE.replace("1.0\n", "1.0 ! scale\n").replace("0 0 2.96", "0 0 2.96 # c").replace("Sn O", "Sn O !")
    for text in (
        RUTILE,
        unit.replace("1.0\n", "4.6 4.6 2.96\n", 1),
        cartesian(),
        RUTILE.replace("1.0\n", f"{-np.prod(np.diag(EDGES))}\n", 1),
        commented.replace("2 4\n", "2 4 ! numbers\n")
        .replace(".5 .5 .5", ".5 .5 .5 ! second")
        .replace("0 0 0", "0 0 0 # 1"),
        selective("T T T"),
        selective("F T F ! fixed"),
        RUTILE.replace("Sn O", "Sn_d O_s"),
        RUTILE.replace("Sn O", "Sn/4f2 O/71a"),
        RUTILE.replace("2 4\n", "2 4 atoms\n"),
        RUTILE + "\n" + "0.1 0.2 0.3\n" * 6,
    ):
        same(text)
    third = cartesian().replace("1.0\n", "2 2 2\n", 1)
    assert np.allclose(read_poscar(third).structure.lattice.matrix, 2 * EDGES)
    assert np.allclose(read_poscar(third).structure.frac_coords, read_poscar(cartesian()).structure.frac_coords)


def test_elements_are_those_of_the_title_or_beside_the_atoms_or_refused() -> None:
    without = RUTILE.replace("Sn O\n", "")
    with pytest.raises(BrokenStructureError, match=r"does not say which elements.*write their symbols"):
        read_poscar(without)
    titled = read_poscar(without.replace("rutile", "Sn O"))
    assert titled.structure.composition.formula == "Sn2 O4"
    assert "those of its title, Sn O" in titled.remarks[0]
    head, coords = without.split("Direct\n")
    rows = [f"{line} {'Ti' if i < 2 else 'O'}" for i, line in enumerate(coords.splitlines())]
    beside = read_poscar(f"{head}Direct\n" + "\n".join(rows))
    assert beside.structure.composition.formula == "Ti2 O4"
    head, coords = RUTILE.split("Direct\n")
    with pytest.raises(BrokenStructureError, match="says Sn where Ti stands"):
        read_poscar(f"{head}Direct\n" + "\n".join(rows))
    for bad, reason in (("Sn", "names 1 elements and gives 2"), ("Sn Ox", "Ox is no element"), ("A B", "A is no")):
        with pytest.raises(BrokenStructureError, match=reason):
            read_poscar(RUTILE.replace("Sn O", bad))
    with pytest.raises(BrokenStructureError, match="more coordinates than the 5 atoms"):
        read_poscar(RUTILE.replace("2 4\n", "2 3\n"))
    with pytest.raises(BrokenStructureError, match="whether coordinates are Direct or Cartesian"):
        read_poscar(RUTILE.replace("Direct\n", ""))
    with pytest.raises(BrokenStructureError, match="damaged"):
        read_poscar("\n".join(RUTILE.splitlines()[:-2]))


@pytest.mark.parametrize("behind", ["", " O", " T T T", " T T T O", " ! O"])
def test_an_atom_beyond_the_numbers_of_atoms_is_refused(behind: str) -> None:
    with pytest.raises(BrokenStructureError, match="more coordinates than the 6 atoms"):
        read_poscar(f"{RUTILE}.25 .25 .25{behind}\n")


def test_several_structures_in_one_file_are_all_rows(tmp_path: Path) -> None:
    moving = Poscar(read_poscar(RUTILE).structure, velocities=[[0.1, 0.2, 0.3]] * 6).get_str()
    path = tmp_path / "all.vasp"
    path.write_text(RUTILE + moving + selective("T T T").replace("Sn", "Ge") + RUTILE.replace("Sn O", "Pb F"))
    entries = list(read_structures([path]))
    assert [entry.error for entry in entries] == [""] * 4
    formulas = [entry.structure.composition.formula for entry in entries if entry.structure]
    assert formulas == ["Sn2 O4", "Sn2 O4", "Ge2 O4", "Pb2 F4"]
    assert [entry.name for entry in entries] == [f"all.vasp#{i}" for i in range(4)]


def test_the_frames_of_a_trajectory_that_is_named_are_rows(tmp_path: Path) -> None:
    frames = [Structure(Lattice.cubic(3.0 + 0.1 * i), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for i in range(3)]
    head = RUTILE.split("Direct\n", maxsplit=1)[0]
    body = RUTILE.split("Direct\n")[1]
    fixed = head + "".join(f"Direct configuration= {i + 1}\n{body}" for i in range(3))
    (tmp_path / "XDATCAR").write_text(fixed)
    assert [entry.error for entry in read_structures([tmp_path / "XDATCAR"])] == [""] * 3
    moving = "".join(
        Poscar(one).get_str().replace("direct", f"Direct configuration= {i + 1}") for i, one in enumerate(frames)
    )
    (tmp_path / "XDATCAR").write_text(moving)
    volumes = [entry.structure.volume for entry in read_structures([tmp_path / "XDATCAR"]) if entry.crystal]
    assert np.allclose(volumes, [one.volume for one in frames])


def test_no_file_of_a_folder_vanishes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    for name in ("my_POSCAR_relaxed", "final", "deep/run7.out", "3_CONTCAR"):
        (folder / name).write_text(RUTILE)
    (folder / "deep" / "magnetic.txt").write_text(
        "data_a\n"
        + "".join(
            f"_cell_length_{a} 3\n_cell_angle_{b} 90\n" for a, b in zip("abc", ("alpha", "beta", "gamma"), strict=True)
        )
        + "loop_\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nPo 0 0 0\n"
    )
    for name in ("notes.txt", "INCAR", "deep/notes.txt", ".hidden", "XDATCAR"):
        (folder / name).write_text("a line\n" if name != "XDATCAR" else RUTILE)
    entries = list(read_structures([folder]))
    assert [entry.error for entry in entries] == [""] * 5
    assert files_passed_over([folder]) == {".txt": 2, "no suffix": 2, "hidden": 1}
    assert files_passed_over([folder, folder / "deep"]) == {".txt": 2, "no suffix": 2, "hidden": 1}
