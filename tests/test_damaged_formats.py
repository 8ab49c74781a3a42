"""Files of other programs that are damaged, incomplete or ambiguous are rows with a reason, and lose no atom."""

from pathlib import Path

import pytest

from matgen.structures.files import Entry, read_structures


def read(path: Path, text: str) -> list[Entry]:
    path.write_text(text)
    return list(read_structures([path], None))


def said(path: Path, text: str) -> list[str]:
    """Return the formula of each structure, or the reason why there is none."""
    return [one.error or one.crystal.formula for one in read(path, text) if one.error or one.crystal]


# ---------------------------------------------------------------- SHELX

SALT = "TITL s\nCELL 0.71 4.1 4.1 4.1 90 90 90\nLATT -1\nSFAC Cs Cl\n"
ATOMS = "Cs 1 0.0 0.0 0.0 1.0\nCl 2 0.5 0.5 0.5 1.0\n"


@pytest.mark.parametrize("one_half", ["5.0E-01", "5e-1", "+.5", "0.5"])
def test_a_res_with_exponents_keeps_its_atoms(tmp_path: Path, one_half: str) -> None:
    atoms = f"Cs 1 1e-17 0 0. 1.0\nCl 2 0.5 0.5 {one_half} 1.0E0\n"
    (entry,) = read(tmp_path / "a.res", SALT + atoms)
    assert entry.crystal is not None, entry.error
    assert entry.crystal.formula == "Cs1 Cl1"
    assert entry.crystal.frac_coords[1].tolist() == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("K 3 0.5 0 0 1.0", "K is of element 3, and SFAC has 2"),
        ("K 0 0.5 0 0 1.0", "K is of element 0, and SFAC has 2"),
        ("Cs2 1 0.5 0", "got 'Cs2 1 0.5 0'"),
        ("Cs2 1 0.5 0.o 0 1.0", "expected an instruction, or an atom"),
        ("Cs2 Cs 0.5 0 0 1.0", "expected an instruction, or an atom"),
        ("Cs2 1 nan 0 0 1.0", "expected an instruction, or an atom"),
        ("XYZW 1", "expected an instruction, or an atom"),
    ],
)
def test_a_line_of_a_res_that_is_no_atom_and_no_instruction_is_told(tmp_path: Path, line: str, reason: str) -> None:
    (error,) = said(tmp_path / "a.ins", f"{SALT}{ATOMS}{line}\nEND\n")
    assert reason in error


def test_instructions_of_a_res_are_no_atoms(tmp_path: Path) -> None:
    lines = "L.S. 4\nPLAN 20 0.1\nDFIX_2 1 0.5 0.2 0.3\nTREF\n+other.txt\nMOLE 1\nFRAG 17 4 4 4 90 90 90\n"
    lines += "Cs9 1 0.1 0.2 0.3\nFEND\nWGHT 0.1 0.2\nAFIX 0\n"
    assert said(tmp_path / "a.res", f"{SALT}{lines}{ATOMS}END\n") == ["Cs1 Cl1"]


# ---------------------------------------------------------------- PDB


def cell(edge: float, group: str = "P 1") -> str:
    return f"CRYST1{edge:9.3f}{edge:9.3f}{edge:9.3f}{90:7.2f}{90:7.2f}{90:7.2f} {group:<11}   1\n"


def atom(number: int, symbol: str, place: float, *, element: str | None = None, other: str = " ") -> str:
    """Return an atom on the diagonal; `other` marks an alternative position."""
    xyz = f"{place:8.3f}" * 3
    told = symbol if element is None else element
    return f"HETATM{number:5d} {symbol:>2}  {other}UNK A   1    {xyz}{1:6.2f}{0:6.2f}          {told:>2}\n"


def pair(edge: float) -> str:
    return atom(1, "CS", 0.0) + atom(2, "CL", edge / 2)


FRAMES = {
    "between": "{0}MODEL        1\n{1}ENDMDL\nREMARK next\n{2}MODEL        2\n{3}ENDMDL\nEND\n",
    "within": "MODEL        1\n{0}{1}ENDMDL\nMODEL        2\n{2}{3}ENDMDL\n",
    "without an end": "{0}MODEL        1\n{1}{2}MODEL        2\n{3}",
    "by END": "{0}{1}END\n{2}{3}END\n",
    "by the next cell": "{0}{1}{2}{3}",
}


@pytest.mark.parametrize("layout", FRAMES)
def test_each_model_of_a_pdb_has_the_cell_that_was_told_last(tmp_path: Path, layout: str) -> None:
    text = FRAMES[layout].format(cell(4.1), pair(4.1), cell(6.0), pair(6.0))
    found = read(tmp_path / "a.pdb", text)
    assert [one.crystal and one.crystal.formula for one in found] == ["Cs1 Cl1", "Cs1 Cl1"]
    assert [one.crystal.lattice.a for one in found if one.crystal] == pytest.approx([4.1, 6.0])
    assert [one.crystal.frac_coords[1, 0] for one in found if one.crystal] == pytest.approx([0.5, 0.5])


def test_models_of_a_pdb_share_a_cell_and_an_empty_one_is_told(tmp_path: Path) -> None:
    text = f"{cell(4.1)}MODEL        1\n{pair(4.1)}ENDMDL\nMODEL        2\nENDMDL\n{pair(4.1)}"
    assert said(tmp_path / "a.pdb", text) == ["Cs1 Cl1", "no atoms", "Cs1 Cl1"]
    assert said(tmp_path / "b.pdb", f"{pair(4.1)}{cell(4.1)}END\n") == ["Cs1 Cl1"]


MATRIX = "MTRIX1{0:4d}  1.000000  0.000000  0.000000     {1:10.5f}    {2}\n" + "".join(
    f"MTRIX{row}{{0:4d}}  {row == 1:.6f}  {row == 2:.6f}  {row == 3:.6f}        0.00000    {{2}}\n" for row in (2, 3)
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            pair(6.0) + atom(3, "CA", 1.5, element=""),
            "the element of the atom CA is not told in columns 77 and 78",
        ),
        (pair(6.0) + atom(3, "ZZ", 1.5), "the element of the atom ZZ is not told"),
        (pair(6.0) + atom(3, "CL", 1.5, other="A") + atom(4, "CL", 4.5, other="B"), "alternative positions (A, B)"),
        (MATRIX.format(1, 0.0, 1) + MATRIX.format(2, 4.0, " ") + pair(6.0), "1 copies by MTRIX are not listed"),
    ],
)
def test_a_pdb_that_leaves_atoms_open_is_refused(tmp_path: Path, body: str, reason: str) -> None:
    (error,) = said(tmp_path / "a.pdb", cell(6.0) + body)
    assert reason in error


def test_copies_that_a_pdb_lists_and_one_chosen_alternative_are_read(tmp_path: Path) -> None:
    given = MATRIX.format(1, 0.0, 1) + MATRIX.format(2, 4.0, 1)
    assert said(tmp_path / "a.pdb", cell(6.0) + given + pair(6.0)) == ["Cs1 Cl1"]
    assert said(tmp_path / "b.pdb", cell(6.0) + atom(1, "CS", 0.0) + atom(2, "CL", 3.0, other="A")) == ["Cs1 Cl1"]


def test_a_pdb_without_a_group_is_read_as_p1_with_a_remark(tmp_path: Path) -> None:
    (untold,) = read(tmp_path / "a.pdb", cell(6.0, "") + pair(6.0))
    (told,) = read(tmp_path / "b.pdb", cell(6.0) + pair(6.0))
    assert untold.crystal == told.crystal
    assert "nothing about symmetry, and is read as P 1" in untold.note
    assert told.note == ""


# ---------------------------------------------------------------- animated XSF

VECTORS = "PRIMVEC{0}\n{1} 0 0\n0 {1} 0\n0 0 {1}\n"
STEP = "PRIMCOORD {0}\n2 1\nCs 0 0 0\n17 {1} {1} {1}\n"
FIXED = "# two steps\nANIMSTEPS 2\n\nCRYSTAL\n" + VECTORS.format("", 4.1) + STEP.format(1, 2.05) + STEP.format(2, 2.0)
VARIABLE = (
    "ANIMSTEPS 2\nCRYSTAL\n"
    + VECTORS.format(" 1", 4.1)
    + STEP.format(1, 2.05)
    + VECTORS.format(" 2", 6.0)
    + STEP.format(2, 3.0)
)


def test_steps_of_an_animation_have_their_cells(tmp_path: Path) -> None:
    for text, edges, places in ((FIXED, [4.1, 4.1], [2.05, 2.0]), (VARIABLE, [4.1, 6.0], [2.05, 3.0])):
        crystals = [one.crystal for one in read(tmp_path / "a.axsf", text) if one.crystal]
        assert [one.lattice.a for one in crystals] == pytest.approx(edges)
        assert [one.cart_coords[1, 0] for one in crystals] == pytest.approx(places)
        assert {one.formula for one in crystals} == {"Cs1 Cl1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FIXED.replace("PRIMCOORD 2", "K 2 0 0\nPRIMCOORD 2"), ["announces 2 atoms and lists 3", "Cs1 Cl1"]),
        (FIXED + "K 2 0 0\n", ["Cs1 Cl1", "announces 2 atoms and lists 3"]),
        (FIXED.replace("Cs 0 0 0\n", "", 1), ["damaged: expected CRYSTAL", "Cs1 Cl1"]),
        (FIXED.replace("17 2.05 2.05", "17 2.05 x"), ["not readable as xsf: ", "Cs1 Cl1"]),
        (
            FIXED.replace("ANIMSTEPS 2", "ANIMSTEPS 3"),
            ["Cs1 Cl1", "Cs1 Cl1", "announces 3 steps (ANIMSTEPS), and holds 2"],
        ),
        (
            FIXED.replace("ANIMSTEPS 2", "ANIMSTEPS 1"),
            ["Cs1 Cl1", "Cs1 Cl1", "announces 1 steps (ANIMSTEPS), and holds 2"],
        ),
        (FIXED.replace("ANIMSTEPS 2", "ANIMSTEPS"), ["Cs1 Cl1", "Cs1 Cl1", "announces no number of steps"]),
        (VARIABLE.replace(VECTORS.format(" 2", 6.0), ""), ["Cs1 Cl1", "expected a cell (PRIMVEC 2) of this step"]),
        (FIXED.replace("CRYSTAL", "SLAB"), ["repeats along a and b", "repeats along a and b"]),
    ],
)
def test_a_damaged_step_is_told_beside_those_that_are_whole(tmp_path: Path, text: str, expected: list[str]) -> None:
    results = said(tmp_path / "a.axsf", text)
    assert len(results) == len(expected)
    assert all(part in result for part, result in zip(expected, results, strict=True)), results


# ---------------------------------------------------------------- extxyz

LATTICE = 'Lattice="4.1 0 0 0 4.1 0 0 0 4.1"'


def frame(comment: str, *rows: str) -> str:
    return "\n".join([str(len(rows)), comment, *rows]) + "\n"


OF_SYMBOLS = "Properties=species:S:1:pos:R:3"


@pytest.mark.parametrize(
    ("comment", "rows", "reason"),
    [
        (f"{LATTICE} {OF_SYMBOLS}:occupancy:R:1", ("Cs 0 0 0 0.5", "Cl 2 2 2 1"), "an atom has occupancy 0.5"),
        (f"{LATTICE} {OF_SYMBOLS}:occ:R:1", ("Cs 0 0 0 nan", "Cl 2 2 2 1"), "disordered: an atom has occ nan"),
        (f"{LATTICE} {OF_SYMBOLS} occupancy=half", ("Cs 0 0 0", "Cl 2 2 2"), "an atom has occupancy nan"),
        (f"{LATTICE} {LATTICE.replace('4.1', '6')}", ("Cs 0 0 0", "Cl 2 2 2"), "its comment has Lattice 2 times"),
        (f"{LATTICE} {OF_SYMBOLS}:Z:I:1", ("Cs 0 0 0 55", "Cl 2 2 2 35"), "an atom is Cl, and its atomic number is 35"),
        (
            f"{LATTICE} Properties=Z:I:1:species:S:1:pos:R:3",
            ("3 Cs 0 0 0", "17 Cl 2 2 2"),
            "is Cs, and its atomic number is 3",
        ),
        (f"{OF_SYMBOLS}:occupancy:R:1", ("H 0 0 0 0.5", "Cl 1.27 0 0 1"), "disordered: an atom has occupancy 0.5"),
    ],
)
def test_an_extxyz_that_is_disordered_or_contradicts_itself_is_refused(
    tmp_path: Path, comment: str, rows: tuple[str, str], reason: str
) -> None:
    (found,) = read(tmp_path / "a.extxyz", frame(comment, *rows))
    assert reason in found.error


def test_an_extxyz_that_agrees_with_itself_is_read(tmp_path: Path) -> None:
    cases = [
        (f"{LATTICE} {OF_SYMBOLS}:Z:I:1", "Cs 0 0 0 55", "Cl 2 2 2 17"),
        (f"{LATTICE} {OF_SYMBOLS}:Z:I:1", "Cs1+ 0 0 0 55", "cl 2 2 2 17"),
        (f"{LATTICE} Properties=Z:I:1:pos:R:3", "55 0 0 0", "17 2 2 2"),
        (f"{LATTICE} {OF_SYMBOLS}:occupancy:R:1", "Cs 0 0 0 1.0", "Cl 2 2 2 0.999"),
        (f'{LATTICE} note="was Lattice = 4 Lattice=5" {OF_SYMBOLS}', "Cs 0 0 0", "Cl 2 2 2"),
    ]
    for comment, *rows in cases:
        assert said(tmp_path / "a.extxyz", frame(comment, *rows)) == ["Cs1 Cl1"], comment
