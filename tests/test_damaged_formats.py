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
