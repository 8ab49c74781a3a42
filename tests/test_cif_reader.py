"""A CIF is read as the crystal that its own words describe, in every setting, or refused with the contradiction."""

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest
from conftest import TextbookEntry
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

import matgen
from matgen.learning.tables import held_structure
from matgen.screening.row import cells
from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif import cif_text
from matgen.structures.cif_reader import read_cif
from matgen.structures.cif_settings import by_symbol
from matgen.structures.faithful import FromFile
from matgen.structures.files import Entry, found, read, read_structures
from matgen.structures.hosts import HostError, read_host

SITES = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
UNTYPED = SITES.replace("_atom_site_type_symbol\n", "")
FLUORITE = SITES + "Ca1 Ca 0 0 0\nF1 F 0.25 0.25 0.25\n"
POSITION = 2e-4
"""Fractional; files of the tests give five decimals, and operations add three coordinates."""


def named(symbol: str) -> str:
    return f"_symmetry_space_group_name_H-M '{symbol}'\n"


def listed(*operations: str) -> str:
    return "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{one}'\n" for one in operations)


def operations(symbol: str) -> str:
    group = gemmi.find_spacegroup_by_name(symbol)
    assert group is not None
    return listed(*(op.triplet() for op in group.operations()))


def cif(body: str, edges: tuple[float, ...] = (5.46, 5.46, 5.46), angles: tuple[float, ...] = (90, 90, 90)) -> str:
    cell = "".join(f"_cell_length_{name} {edge:.5f}\n" for name, edge in zip("abc", edges, strict=True))
    names = ("alpha", "beta", "gamma")
    return f"data_x\n{cell}" + "".join(f"_cell_angle_{n} {a:.4f}\n" for n, a in zip(names, angles, strict=True)) + body


def one(path: Path, text: str) -> Entry:
    """The entry that `screen` sees: with the structure even if it contradicts its file."""
    path.write_text(text, encoding="utf-8")
    (only,) = found([path])
    return read(only, "crystal", contradictory=True)


def refusal(text: str) -> str:
    with pytest.raises(BrokenStructureError) as caught:
        read_cif(text)
    return str(caught.value)


# ---------------------------------------------------------------- settings

EVERY_SETTING = list(gemmi.spacegroup_table())


def crystal(group: gemmi.SpaceGroup, generator: np.random.Generator) -> tuple[Lattice, list[tuple[str, np.ndarray]]]:
    """A cell with the metric of a setting, and three sites with no images close to each other."""
    triplets = list(group.operations())
    rotations = np.array([op.rot for op in triplets]) / gemmi.Op.DEN
    while True:
        basis = np.diag(generator.uniform(7, 12, 3)) + generator.uniform(-1.5, 1.5, (3, 3))
        metric = np.einsum("nji,jk,nkl->il", rotations, basis @ basis.T, rotations) / len(rotations)
        a, b, c = np.sqrt(np.diag(metric))
        pairs = ((1, 2), (0, 2), (0, 1))
        angles = [np.rad2deg(np.arccos(metric[i, j] / np.sqrt(metric[i, i] * metric[j, j]))) for i, j in pairs]
        lattice = Lattice.from_parameters(a, b, c, *angles).scale(len(triplets) * 60.0)
        sites = [(symbol, np.round(generator.uniform(0, 1, 3), 5)) for symbol in ("Sr", "Ti")] + [("O", np.zeros(3))]
        whole = expanded(group, lattice, sites)
        distances = whole.distance_matrix + 9 * np.eye(len(whole))
        if distances.min() > 0.3:
            return lattice, sites


def expanded(group: gemmi.SpaceGroup, lattice: Lattice, sites: list[tuple[str, np.ndarray]]) -> Structure:
    """All images by gemmi, one by one."""
    symbols, coords = [], []
    for symbol, position in sites:
        images: list[np.ndarray] = []
        for op in group.operations():
            image = np.array(op.apply_to_xyz(position.tolist())) % 1.0
            if all(np.abs((image - other) - np.rint(image - other)).max() > POSITION for other in images):
                images.append(image)
        symbols += [symbol] * len(images)
        coords += images
    return Structure(lattice, symbols, coords)


def dialects(group: gemmi.SpaceGroup) -> dict[str, str]:
    every = listed(*(op.triplet() for op in group.operations()))
    standard = gemmi.get_spacegroup_reference_setting(group.number)
    found = {
        "operations": every,
        "symbol": named(group.xhm()),
        "Hall": f"_space_group_name_Hall\n;\n{group.hall}\n;\n",
        "operations and symbol": every + named(group.xhm()),
    }
    only = [one for one in EVERY_SETTING if one.number == group.number and one.hm == standard.hm]
    return found | ({"number": f"_space_group_IT_number {group.number}\n"} if only == [group] else {})


@pytest.mark.parametrize("group", EVERY_SETTING[::8], ids=lambda group: group.xhm().replace(" ", ""))
def test_a_setting_is_read_from_operations_symbol_hall_symbol_or_number(group: gemmi.SpaceGroup) -> None:
    """71 of gemmi's 564 settings, two thirds of them not standard."""
    lattice, sites = crystal(group, np.random.default_rng(group.number))
    rows = "".join(f"{s}1 {s} {x:.5f} {y:.5f} {z:.5f}\n" for s, (x, y, z) in sites)
    wanted = expanded(group, lattice, sites)
    for dialect, text in dialects(group).items():
        made = read_cif(cif(text + SITES + rows, lattice.abc, lattice.angles))
        assert made.faithful.passed, (dialect, made.faithful.reason)
        assert len(made.structure) == len(wanted), dialect
        for site in wanted:
            away = made.structure.frac_coords[[other.specie == site.specie for other in made.structure]]
            away = away - site.frac_coords
            assert np.abs(away - np.rint(away)).max(axis=1).min() < POSITION, dialect


def test_the_files_of_pymatgen_give_back_the_textbook(textbook: tuple[TextbookEntry, ...]) -> None:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    # Pymatgen idealises cells within its symmetry tolerance, by less than a hundredth of a bond.
    same = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5, scale=False)
    for entry in textbook[::4]:
        for text in (cif_text(entry.structure), str(CifWriter(entry.structure, symprec=0.01))):
            made = read_cif(text)
            assert made.faithful.passed, made.faithful.reason
            assert {"formula", "Z", "multiplicities", "space group"} <= set(made.faithful.compared)
            assert same.fit(made.structure, entry.structure), entry.file


@pytest.mark.parametrize(
    ("symbol", "settings"),
    [
        ("F m 3 m", ["F m -3 m"]),
        ("Fm-3m", ["F m -3 m"]),
        ("F 4/m -3 2/m", ["F m -3 m"]),
        ("F d -3 m S", ["F d -3 m:1"]),
        ("Fd-3mZ", ["F d -3 m:2"]),
        ("P n n n (origin 2)", ["P n n n:2"]),
        ("I 41/a :2", ["I 41/a:2"]),
        ("I4(1)/a", ["I 41/a:1", "I 41/a:2"]),
        ("R-3c:H", ["R -3 c:H"]),
        ("R 3 m R", ["R 3 m:R"]),
        ("P2(1)/n", ["P 1 21/n 1", "P 1 1 21/n", "P 21/n 1 1"]),
        ("P 21/c", ["P 1 21/c 1", "P 21/c 1 1"]),
        ("C m c e", ["C m c a"]),
        ("P 3 1 2", ["P 3 1 2"]),
        ("P 31 2 1", ["P 31 2 1"]),
        ("F m -3 m Z", ["F m -3 m"]),
        ("no symbol", []),
    ],
)
def test_symbols_old_and_new_mean_their_settings(symbol: str, settings: list[str]) -> None:
    assert [setting.name for setting in by_symbol(symbol)] == settings


def test_the_setting_follows_the_cell() -> None:
    bismuth = SITES + "Bi1 Bi {0} {0} 0.2339\n"
    hexagonal = cif(named("R -3 m") + bismuth.format(0), (4.546, 4.546, 11.862), (90, 90, 120))
    rhombohedral = cif(named("R -3 m") + bismuth.format(0.2339), (4.746, 4.746, 4.746), (57.23,) * 3)
    assert [len(read_cif(text).structure) for text in (hexagonal, rhombohedral)] == [6, 2]
    zirconia = SITES + "Zr1 Zr 0.275 0.04 0.208\n"
    assert len(read_cif(cif(named("P 21/c") + zirconia, (5.15, 5.21, 5.31), (90, 99.2, 90))).structure) == 4
    assert "does not fit its cell" in refusal(cif(named("F m -3 m") + FLUORITE, (5.46, 5.46, 5.9)))
    assert "do not fit its cell" in refusal(cif(operations("R -3 m:H") + FLUORITE, (4.7,) * 3, (57,) * 3))


def test_a_number_alone_is_the_standard_setting_with_a_remark_where_others_agree() -> None:
    number = "_space_group_IT_number {}\n"
    zirconia = SITES + "Zr1 Zr 0.275 0.04 0.208\n"
    cell = (5.15, 5.21, 5.31), (90.0, 99.2, 90.0)
    made = read_cif(cif(number.format(14) + zirconia, *cell))
    named_so = read_cif(cif(named("P 1 21/c 1") + zirconia, *cell))
    assert np.allclose(made.structure.frac_coords, named_so.structure.frac_coords)
    assert "number 14 alone is read in the standard setting P 1 21/c 1; P 1 21/n 1" in "; ".join(made.remarks)
    # A symbol tells the setting, and a group of one setting leaves nothing open.
    assert "standard setting" not in "; ".join(named_so.remarks)
    assert read_cif(cif(number.format(225) + CONFIRMED + FLUORITE)).remarks == ()
    # Where the standard setting does not fit the cell, the only one that does is read.
    turned = SITES + "Zr1 Zr 0.208 0.275 0.04\n"
    made = read_cif(cif(number.format(4) + turned, (5.31, 5.15, 5.21), (90, 90, 99.2)))
    assert "read in the setting P 1 1 21" in "; ".join(made.remarks)
    assert "origin or axes are meant, P 1 1 21/a or" in refusal(
        cif(number.format(14) + turned, (5.31, 5.15, 5.21), (90, 90, 99.2))
    )


def test_a_symbol_that_is_known_without_its_spaces_alone_is_told() -> None:
    quartz = SITES + "Si1 Si 0.1 0.2 0.3\n"
    cell = (4.9, 4.9, 5.4), (90, 90, 120)
    made = read_cif(cif(named("P 3 2") + quartz, *cell))
    assert "its space group P 3 2 is read as P 32" in made.remarks
    for symbol in ("P 32", "P32", "P 3 2 1", "P 3"):
        assert read_cif(cif(named(symbol) + quartz, *cell)).remarks == (), symbol


# ---------------------------------------------------------------- contradictions

CONFIRMED = "_chemical_formula_sum 'Ca F2'\n_cell_formula_units_Z 4\n"


def test_operations_that_contradict_the_group_give_way_to_it_where_the_rest_agrees_with_it() -> None:
    text = cif(named("F m -3 m") + listed("x,y,z") + CONFIRMED + FLUORITE)
    made = read_cif(text)
    assert (made.structure.composition.formula, made.faithful.passed) == ("Ca4 F8", True)
    assert any("read in F m -3 m" in remark for remark in made.remarks)
    multiplicities = SITES + "_atom_site_symmetry_multiplicity\nCa1 Ca 0 0 0 4\nF1 F 0.25 0.25 0.25 8\n"
    assert len(read_cif(cif(named("F m 3 m") + operations("P m -3 m") + multiplicities)).structure) == 12
    assert "contradicts itself" in refusal(cif(named("F m -3 m") + listed("x,y,z") + FLUORITE))
    assert "contradicts itself" in refusal(cif(named("F m -3 m") + operations("P m -3 m") + FLUORITE))
    assert "are no group" in refusal(cif(named("F m -3 m") + listed("x,y,z", "y,z,x") + FLUORITE))


def test_a_list_of_all_atoms_may_name_the_group_of_the_whole() -> None:
    sites = SITES + "Cs1 Cs 0 0 0\nCl1 Cl 0.5 0.5 0.5\n"
    made = read_cif(cif(named("P m -3 m") + listed("x,y,z", "-x,-y,-z") + sites, (4.12,) * 3))
    assert (len(made.structure), made.faithful.passed) == (2, True)


def test_all_atoms_of_a_primitive_cell_may_be_listed_under_the_name_of_their_group() -> None:
    sites = SITES + "C1 C 0 0 0\nC2 C 0.25 0.25 0.25\n"
    made = read_cif(cif(named("F d -3 m") + sites, (2.52,) * 3, (60,) * 3))
    assert (len(made.structure), made.faithful.passed) == (2, True)
    assert "all atoms of a primitive cell" in made.remarks[0]
    assert "does not fit its cell" in refusal(cif(named("F m -3 m") + sites, (2.52,) * 3, (60,) * 3))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (named("Q m -3 m") + FLUORITE, "Q m -3 m is unknown, and it lists no symmetry operations"),
        ("_space_group_name_Hall 'nothing'\n" + FLUORITE, "is unknown, and it lists no symmetry operations"),
        (named("F d -3 m") + SITES + "Si1 Si 0 0 0\n", "which origin or axes are meant, F d -3 m:1 or F d -3 m:2"),
        (named("F m -3 m") + "_space_group_IT_number 221\n" + FLUORITE, "of different space groups"),
        (listed("x,y,z", "2x,y,z") + FLUORITE, "is no symmetry operation"),
        ("_cell_length_a 5.5\n" + FLUORITE, "gives _cell_length_a twice"),
        ("_cell_modulation_dimension 1\n" + FLUORITE, "modulated"),
        (SITES + "Mg1 Mg 0 0 0\nO1 OH 0.5 0.5 0.5\n", "OH is no element: it stands for several atoms"),
        (SITES + "Ca1 M 0 0 0\n", "M is no element"),
        (SITES + "Ca1 Ca 0 0 0\nX1 X 0.5 0.5 0.5\n", "X is no element"),
        (FLUORITE + "Q1 Q 0.1 0 0\n", "a peak of unknown origin"),
        (SITES + "Si1 T 0 0 0\nO1 O 0.5 0.5 0.5\n", "tetrahedral site"),
        (UNTYPED + "CA1 0 0 0\n", "may be C or Ca"),
        (UNTYPED + "Zz1 0 0 0\n", "tells no element"),
        (UNTYPED + "Va1 0 0 0\nO1 0.5 0.5 0.5\n", "may be vanadium or a vacancy"),
        (SITES + "Ca1 Ca 0 0 0\nMg1 Mg 0 0 0.0\n", "occupied 2 times"),
        (SITES + "Ca1 Ca 0 0 zero\n", "expected a number as coordinate"),
        (SITES + "Ca1 Ca 0 0\n", "not readable as cif"),
        (SITES + "_atom_site_occupancy\nCa1 Ca 0 0 0 1.2\n", "occupied 1.2 times"),
        (SITES + "_atom_site_occupancy\nCa1 Ca 0 0 0 0.8\n", "disordered"),
        (SITES + "_atom_site_disorder_group\nCa1 Ca 0 0 0 1\nCa2 Ca 0.5 0 0 2\n", "disordered"),
    ],
)
def test_what_does_not_determine_a_crystal_is_refused_with_the_reason(tmp_path: Path, body: str, reason: str) -> None:
    entry = one(tmp_path / "x.cif", cif(body))
    assert entry.structure is None
    assert reason in entry.error, entry.error


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("_chemical_formula_sum 'Ca H F2'\n", "its formula is Ca H F2"),
        ("_chemical_formula_sum 'Ca F'\n", "atoms are missing or too many"),
        ("_chemical_formula_sum 'Ca F2'\n_cell_formula_units_Z 8\n", "Z 8 of Ca F2 are 24"),
        ("_cell_formula_units_Z 4\n_chemical_formula_weight 98.1\n", "formula weight is 98.1"),
        ("_exptl_crystal_density_diffrn 2.2\n", "the file says 2.2"),
        ("_cell_volume 200\n", "the volume of its cell"),
        ("loop_\n_atom_type_symbol\nCa2+\nF1-\nH\n", "H is listed as a type of atoms"),
    ],
)
def test_a_structure_that_contradicts_its_file_fails_and_is_an_error_elsewhere(
    tmp_path: Path, body: str, reason: str
) -> None:
    text = cif(named("F m -3 m") + body + FLUORITE)
    entry = one(tmp_path / "x.cif", text)
    assert entry.structure is not None
    assert not entry.faithful.passed
    assert reason in entry.faithful.reason, entry.faithful.reason
    (strict,) = read_structures([tmp_path / "x.cif"])
    assert strict.structure is None
    assert reason in strict.error
    table = tmp_path / "t.json"
    table.write_text(json.dumps([{"cif": text}]))
    (within,) = read_structures([table])
    assert reason in within.error


def test_hydrogens_that_are_announced_and_not_placed_fail() -> None:
    brucite = cif(
        named("P -3 m 1") + SITES + "_atom_site_attached_hydrogens\nMg1 Mg 0 0 0 0\nO1 O 0.33333 0.66667 0.22 1\n",
        (3.14, 3.14, 4.77),
        (90, 90, 120),
    )
    assert "attached to sites" in read_cif(brucite).faithful.reason
    nowhere = cif(named("F m -3 m") + FLUORITE + "H1 H ? ? ?\n")
    assert "H1 without a position" in read_cif(nowhere).faithful.reason


# ---------------------------------------------------------------- sites


def formula_and_remarks(text: str) -> tuple[str, str]:
    made: FromFile = read_cif(text)
    assert made.faithful.passed, made.faithful.reason
    return made.structure.composition.formula, "; ".join(made.remarks)


@pytest.mark.parametrize(
    ("sites", "formula", "remark"),
    [
        (SITES + "_atom_site_occupancy\nCa1 Ca 0 0 0 .\nF1 F 0.25 0.25 0.25 ?\n", "Ca4 F8", ""),
        (SITES + "_atom_site_occupancy\nCa1 Ca 0 0 0 0.9985(9)\nF1 F 0.25 0.25 0.25 1.00\n", "Ca4 F8", ""),
        (SITES + "_atom_site_occupancy\nCa1 Ca 0 0 0 1.03\nF1 F 0.25 0.25 0.25 1\n", "Ca4 F8", "1.03 of Ca1 is read"),
        (SITES + "Ca1 Ca 0 0 0\nF1 F 1/4 0.25(1) 2.5e-1\n", "Ca4 F8", ""),
        (SITES + "Ca1 Ca2+ 0 0 0\nF1 F1- .25 .25 .25\n", "Ca4 F8", ""),
        (SITES + "Ca1 CA+2 0 0 0\nF1 Fv 0.25 0.25 0.25\n", "Ca4 F8", ""),
        ("_chemical_formula_sum 'Ca F2'\n" + FLUORITE + "Q1 Q 0.1 0 0\n", "Ca4 F8", "Q1 left out"),
        (SITES + "Ca1 Ca 0 0 0\nD1 D 0.25 0.25 0.25\n", "Ca4 H8", "isotopes"),
        (SITES + "Ca1 Ca 0 0 0\nF1 F 0.25 0.25 0.25\nVac1 Vac 0.5 0.5 0.5\n", "Ca4 F8", "Vac1 left out"),
        (SITES + "F1 Ca 0 0 0\nCa1 F 0.25 0.25 0.25\n", "Ca4 F8", "labels F1, Ca1 tell other elements"),
        (FLUORITE + "F2 F 0.75 0.25 0.25\n", "Ca4 F8", "F1, F2 are listed as several sites, and are one"),
        (UNTYPED + "Ca1 0 0 0\nF1A 0.25 0.25 0.25\n", "Ca4 F8", ""),
        ("_chemical_formula_sum 'Ca F2'\n" + UNTYPED + "CA1 0 0 0\nF1 0.25 0.25 0.25\n", "Ca4 F8", ""),
        (
            SITES + "_atom_site_occupancy\nCe1 Ce3+ 0 0 0 0.3\nCe2 Ce4+ 0 0 0 0.7\nO1 O2- 0.25 0.25 0.25 1\n",
            "Ce4 O8",
            "",
        ),
        (
            SITES + "_atom_site_calc_flag\nCa1 Ca 0 0 0 d\nF1 F 0.25 0.25 0.25 d\nC9 C 0.1 0.1 0.1 dum\n",
            "Ca4 F8",
            "C9 left out",
        ),
    ],
)
def test_sites_are_read_as_they_are_meant(sites: str, formula: str, remark: str) -> None:
    found_formula, remarks = formula_and_remarks(cif(named("F m -3 m") + sites))
    assert found_formula == formula
    assert remark in remarks


@pytest.mark.parametrize(
    ("loop", "reason"),
    [
        ("_atom_site_label\n_atom_site_occupancy\nF1 0.5\nCa1 1.0\n", "gives _atom_site_label twice"),
        ("_atom_site_label\n_atom_site_type_symbol\nF1 F\nCa1 Ca\n", "gives _atom_site_label twice"),
        ("_atom_site_type_symbol\nF\nCa\n", "gives _atom_site_type_symbol twice"),
        ("_atom_site_occupancy\n1.0\n0.5\n1.0\n", "one _atom_site_occupancy for each of its 2 sites, got 3"),
    ],
)
def test_a_second_loop_of_sites_in_another_order_is_refused(loop: str, reason: str) -> None:
    assert reason in refusal(cif(named("F m -3 m") + FLUORITE + "loop_\n" + loop))


def test_a_second_loop_of_the_same_sites_is_read() -> None:
    loop = "loop_\n_atom_site_label\n_atom_site_occupancy\n'Ca1' 1.0\nF1 1.0\n"
    assert read_cif(cif(named("F m -3 m") + FLUORITE + loop)).structure.composition.formula == "Ca4 F8"


def test_a_label_is_the_element_that_the_formula_has() -> None:
    sites = UNTYPED + "CD1 0.1 0.2 0.3\nHB1 0.4 0.1 0.2\n"
    assert "C or Cd" in refusal(cif(listed("x,y,z") + sites))
    assert formula_and_remarks(cif("_chemical_formula_sum 'C H'\n" + sites))[0] == "H1 C1"
    assert formula_and_remarks(cif("_chemical_formula_sum 'Cd H'\n" + sites))[0] == "Cd1 H1"


def test_coordinates_of_few_digits_lie_on_their_special_position() -> None:
    wurtzite = SITES + "Zn1 Zn 0.33 0.67 0\nS1 S 0.33 0.67 0.375\n"
    made = read_cif(cif(named("P 63 m c") + wurtzite, (3.82, 3.82, 6.26), (90, 90, 120)))
    assert made.structure.composition.formula == "Zn2 S2"
    # All images of a site under the mirrors lie at x, 2x: a third and two thirds of the cell.
    assert np.allclose(np.sort(made.structure.frac_coords[:, 0]), [1 / 3, 1 / 3, 2 / 3, 2 / 3], atol=1e-9)


def test_magnetic_operations_make_the_magnetic_cell() -> None:
    head = "_parent_space_group.name_H-M_alt 'F m -3 m'\n"
    moved = "loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n-x,-y,-z,+1\n"
    centring = "loop_\n_space_group_symop_magn_centering.xyz\nx,y,z,+1\nx+1/2,y+1/2,z+1/2,-1\n"
    sites = SITES.replace("_atom_site_", "_atom_site.") + "Ni1 Ni 0 0 0\nO1 O 0.25 0.25 0.25\n"
    moments = "loop_\n_atom_site_moment.label\n_atom_site_moment.crystalaxis_x\nNi1 1.0\n"
    formula, remarks = formula_and_remarks(cif(head + moved + centring + sites + moments))
    assert formula == "Ni2 O2"
    assert "magnetic moments are left out" in remarks
    formula, _ = formula_and_remarks(cif(named("F m -3 m") + FLUORITE + moments.replace("Ni1", "Ca1")))
    assert formula == "Ca4 F8"


def test_text_fields_other_letters_and_repeated_items_are_no_obstacle(tmp_path: Path) -> None:
    field = "_publ_section_title\n;\ndata_were collected twice; □ is a vacancy, at 20 °C\n;\n"
    repeated = "_chemical_formula_sum 'Ca F2'\n_chemical_formula_sum ''\n_note größe\n"
    sites = FLUORITE + "V1 □ 0.5 0.5 0.5\n"
    entry = one(tmp_path / "a.cif", cif(field + repeated + named("F m -3 m") + sites))
    assert entry.error == ""
    assert entry.structure is not None
    assert (entry.name, entry.structure.composition.formula) == ("a.cif", "Ca4 F8")
    dotted = cif(named("F m -3 m") + FLUORITE).replace("_atom_site_", "_ATOM_SITE.").replace("_cell_", "_cell.")
    entry = one(tmp_path / "b.cif", dotted)
    assert entry.structure is not None
    assert len(entry.structure) == 12


def test_without_any_comparison_nothing_is_claimed() -> None:
    made = read_cif(cif(SITES + "Po1 Po 0 0 0\n", (3.36,) * 3))
    assert (made.faithful.passed, made.faithful.compared) == (True, ())
    assert made.faithful.reason.startswith("not applicable")
    assert "read as P 1" in "; ".join(made.remarks)


# ---------------------------------------------------------------- in the commands

LESS = named("F m -3 m") + "_chemical_formula_sum 'Ca F2'\n_cell_formula_units_Z 2\n" + FLUORITE


def test_screen_fails_a_contradiction_and_says_nothing_where_nothing_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    texts = {
        "agrees": named("F m -3 m") + CONFIRMED + FLUORITE,
        "less": LESS,
        "silent": operations("F m -3 m") + FLUORITE,
    }
    for name, body in texts.items():
        (folder / f"{name}.cif").write_text(cif(body))
    (folder / "notes.txt").write_text("about these\n")
    out = tmp_path / "out"
    rows = {row.name: row for row in matgen.screen(folder, reference="none", known="none", out=out)}
    agrees, less, silent = (rows[f"set/{name}.cif"] for name in texts)
    assert [row.verdicts["faithful"].passed for row in (agrees, less, silent)] == [True, False, True]
    assert "faithful" in less.failed
    assert not less.passed
    assert "Z 2 of Ca F2 are 6" in less.verdicts["faithful"].reason
    assert [cells(row)["check_faithful"] for row in (agrees, less, silent)] == [True, False, None]
    summary = json.loads((out / "run.json").read_text())["summary"]
    assert summary["passed_over"] == {".txt": 1}
    assert summary["checks"]["faithful"] == {"passed": 2, "of": 3}


def test_hosts_and_tables_for_learning_refuse_a_contradiction(tmp_path: Path) -> None:
    path = tmp_path / "less.cif"
    path.write_text(cif(LESS))
    with pytest.raises(HostError, match="Z 2 of Ca F2 are 6"):
        read_host(path)
    for held in (cif(LESS), "less.cif"):
        with pytest.raises(BrokenStructureError, match="Z 2 of Ca F2 are 6"):
            held_structure(held, tmp_path)
