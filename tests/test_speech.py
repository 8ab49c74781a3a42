"""What a row tells beside its verdicts, and what a terminal shows: remarks, two space groups, no foreign warnings."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

import matgen
from matgen.first_principles.xtb_minimum import minimum
from matgen.generation.request import Request
from matgen.novelty.crystals import KnownIndex, novel_verdict
from matgen.novelty.duplicates import unique
from matgen.relaxation.xtb import relax_molecule
from matgen.relaxation.xtb_properties import calibrated_gap, electronic, estimated_gap, gap_from_levels
from matgen.rules.groups import NOBLE_GASES
from matgen.runtime.plain_text import _plain
from matgen.screening.assess import assess
from matgen.screening.config import NONE, ScreenConfig
from matgen.screening.row import Row, cells, row_of, row_record
from matgen.structures.candidate import Candidate
from matgen.structures.cif import cif_text
from matgen.structures.files import found, given, read_structures
from matgen.structures.reading import READERS
from matgen.structures.symmetry import TOLERANCES
from matgen.templates.molecule import MoleculeTemplate
from matgen.workflows.screen import run

CHEAP = ScreenConfig(reference=NONE, known=NONE)


def salt(edge: float = 5.63, symbols: Sequence[str] = ("Na", "Cl")) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), list(symbols), [[0, 0, 0], [0.5, 0.5, 0.5]])


def tilted(shift: float) -> Structure:
    """A perovskite whose octahedra turn about one axis, by a shift of oxygen in fractions of the cell (I4/mcm)."""
    sites = [[0, 0.5, 0.25], [0, 0, 0], [0, 0, 0.25], [0.25 + shift, 0.75 + shift, 0]]
    return Structure.from_spacegroup("I4/mcm", Lattice.tetragonal(5.59, 7.93), ["Ca", "Sn", "O", "O"], sites)


def moved_ion(shift: float) -> Structure:
    """Rock salt, with one ion displaced towards another one, Å."""
    structure = salt().get_primitive_structure() * (2, 1, 1)
    first = structure[0].coords
    nearest = min(structure.get_neighbors(structure[0], 4.0), key=lambda other: other.nn_distance)
    structure.translate_sites([0], shift * (nearest.coords - first) / nearest.nn_distance, frac_coords=False)
    return structure


# ---------------------------------------------------------------- one failed check does not silence the others


def test_where_atoms_overlap_everything_else_is_given_with_a_remark() -> None:
    (row,) = assess(list(given([moved_ion(0.9)])), ScreenConfig())
    assert "min_distance" in row.failed
    assert row.candidate is not None
    assert {"band_gap", "evaluator_band_gap"} <= row.candidate.properties.keys()
    assert row.verdicts["hull"].value > 0.0
    assert "known with this formula" in row.verdicts["novel"].reason
    assert "atoms overlap" in row.remarks["overlap"]
    assert cells(row)["remarks"] == row.remarks["overlap"]


def test_where_no_model_says_anything_the_reason_is_in_the_row_and_novelty_is_given() -> None:
    (row,) = assess(list(given([moved_ion(2.2)])), ScreenConfig())
    assert {"min_distance", "in_domain", "hull"} <= set(row.failed)
    assert all("atoms overlap" in row.verdicts[name].reason for name in ("in_domain", "hull"))
    assert "known with this formula" in row.verdicts["novel"].reason
    assert "overlap" not in row.remarks


def test_relaxed_atoms_overlap_no_more_and_the_remark_goes() -> None:
    config = ScreenConfig(reference=NONE, known=NONE, relax="chgnet")
    (row,) = assess(list(given([moved_ion(0.9)])), config)
    assert row.verdicts["relaxed"].passed
    assert row.verdicts["min_distance"].passed
    assert "overlap" not in row.remarks


# ---------------------------------------------------------------- expanded copies


@pytest.mark.parametrize("volume", [0.7, 1.3, 1.5])
def test_an_expanded_or_compressed_copy_is_known_and_a_duplicate(volume: float) -> None:
    copy = salt(5.63 * volume ** (1 / 3))
    verdict = novel_verdict(Candidate("copy", copy, copy, None), KnownIndex.from_structures({"mine": salt()}))
    assert not verdict.passed
    assert verdict.reason.startswith("known: mine")
    assert f"{volume:.2f} times its volume" in verdict.reason
    assert unique([salt(), copy]) == [0, 0]


def test_another_structure_of_the_same_formula_is_novel_at_any_volume() -> None:
    known = KnownIndex.from_structures({"mine": salt()})
    for edge in (3.0, 3.5, 4.2):
        other = Structure(Lattice.cubic(edge), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        assert novel_verdict(Candidate("other", other, other, None), known).passed
        assert unique([salt(), other]) == [0, 1]


def test_argon_at_measured_volume_is_the_argon_of_the_index() -> None:
    argon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.26), ["Ar"], [[0, 0, 0]])
    (row,) = assess(list(given([argon])), ScreenConfig(reference=NONE))
    assert row.verdicts["novel"].reason.startswith("known: ")
    assert row.verdicts["density"].passed


# ---------------------------------------------------------------- symmetry


def test_a_row_names_both_space_groups_of_a_crystal_that_is_nearly_of_a_higher_one(tmp_path: Path) -> None:
    (tmp_path / "tilted.cif").write_text(cif_text(tilted(0.005)), encoding="utf-8")
    (tmp_path / "salt.cif").write_text(cif_text(salt()), encoding="utf-8")
    done = run([tmp_path / "tilted.cif", tmp_path / "salt.cif"], CHEAP, tmp_path / "out")
    rows = {row.name: row for row in done.rows}
    nearly, exact = rows["tilted.cif"], rows["salt.cif"]
    assert nearly.candidate is not None
    assert nearly.candidate.space_group is not None
    assert nearly.tight_space_group is not None
    assert (nearly.candidate.space_group.number, nearly.tight_space_group.number) == (221, 140)
    assert nearly.remarks["symmetry"] == "Pm-3m (221) within 0.1 Å, I4/mcm (140) within 0.01 Å"
    assert cells(nearly)["tight_space_group"] == 140
    assert "symmetry" not in exact.remarks
    assert done.summary["symmetry_tolerance"] == TOLERANCES
    assert done.summary["remarks"] == 1
    record = row_record(nearly)
    assert record["symmetry_tolerance"] == {"angstrom": 0.1, "degrees": 5.0, "tight_angstrom": 0.01}
    assert row_record(row_of(json.loads(json.dumps(record)))) == record


def test_rows_of_earlier_versions_are_still_read() -> None:
    (row,) = assess(list(given([salt()])), CHEAP)
    record = row_record(row)
    for name in ("remarks", "tight_space_group", "symmetry_tolerance"):
        del record[name]
    assert row_of(record).candidate is not None
    assert row_of(record).remarks == {}


# ---------------------------------------------------------------- molecules


def molecule_row(folder: Path, smiles: str, relax: str = "none") -> Row:
    """Screen one molecule, with a generated geometry."""
    (folder / "one.smi").write_text(smiles + "\n", encoding="utf-8")
    (row,) = assess(list(found([folder / "one.smi"])), ScreenConfig(known=NONE, kind="molecule", relax=relax))
    return row


OPEN_SHELLS = {"[CH2]C": 1, "[OH]": 1, "O=[N]": 1, "O=O": 2, "[CH2]": 2, "CC": 0, "[C-]#[O+]": 0}


@pytest.mark.parametrize(("smiles", "unpaired"), OPEN_SHELLS.items())
def test_open_shells_are_out_of_domain_and_calculated_as_such(tmp_path: Path, smiles: str, unpaired: int) -> None:
    assert MoleculeTemplate.of(smiles).unpaired_electrons == unpaired
    row = molecule_row(tmp_path, smiles)
    assert row.candidate is not None
    assert row.candidate.molecule.spin_multiplicity == unpaired + 1
    verdict = row.verdicts["in_domain"]
    assert verdict.passed is (unpaired == 0)
    assert ("open shell" in verdict.reason) is (unpaired > 0)


def test_the_gap_by_xtb_is_one_number_in_all_commands(tmp_path: Path) -> None:
    """An anion: the form by levels and the line differ by more than an electronvolt."""
    row, relaxed = (molecule_row(tmp_path, "O=C[O-]", word).candidate for word in ("none", "xtb"))
    assert row is not None
    assert relaxed is not None
    formate, template = row.molecule, MoleculeTemplate.of("O=C[O-]")
    verified = minimum(formate, template)
    assert verified.gap == pytest.approx(row.properties["xtb_gap"].value, abs=1e-6)
    assert verified.minimum_gap == pytest.approx(relaxed.properties["xtb_gap"].value, abs=1e-6)
    levels = electronic(formate)
    assert estimated_gap(levels, formate)[0] == calibrated_gap(levels)
    assert abs(gap_from_levels(levels) - calibrated_gap(levels)) > 0.5
    at_minimum, _ = relax_molecule(formate)
    again = minimum(at_minimum, template)
    assert again.gap == pytest.approx(again.minimum_gap, abs=0.02)  # forces end at 0.02 eV/Å


QM9_WATER = (
    "3\n"
    "gdb 3\t799.6\t437.9\t283.0\t1.85\t6.31\t-0.29\t0.07\t0.36\t19.0\t0.02\t-76.4\t-76.4\t-76.4\t-76.4\t6.0\n"
    "O\t-0.0343604951\t 0.9775395708\t 0.0076015923\t-0.589706\n"
    "H\t 0.0647664923\t 2.1*^-2\t 0.0015346341\t 0.294853\n"
    "H\t 0.8717903737\t 1.3007924048\t 0.0006931336\t 2.9*^-1\n"
    "1671.4222\t3803.6305\t3907.698\n"
    "O\tO\n"
    "InChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
)


def test_raw_files_of_qm9_are_molecules_and_no_row_is_broken(tmp_path: Path) -> None:
    plain = "3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
    for name, text, n in (
        ("one.xyz", QM9_WATER, 1),
        ("many.xyz", QM9_WATER * 3, 3),
        ("mixed.xyz", plain + QM9_WATER + plain, 3),
        ("no_end.xyz", QM9_WATER.rstrip("\n"), 1),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        entries = list(read_structures([tmp_path / name], "molecule"))
        assert [(entry.error, entry.template) for entry in entries] == [("", "O")] * n, name
    (tmp_path / "other.xyz").write_text(plain + "some text\nO O\nnot InChI\n", encoding="utf-8")
    sound, broken = read_structures([tmp_path / "other.xyz"], "molecule")
    assert sound.error == ""
    assert "expected a number of atoms at the head of frame 1, got 'some text'" in broken.error


# ---------------------------------------------------------------- slabs


def slabs() -> dict[str, str]:
    """One layer in all formats that can say that it is one."""
    lattice = Lattice([[3.0, 0, 0], [0, 3.1, 0], [0, 0, 18.0]], pbc=(True, True, False))
    layer = Structure(lattice, ["Ga", "Se"], [[0, 0, 0.45], [0.5, 0.5, 0.55]])
    record = layer.as_dict()
    plain = {"lattice": lattice.matrix.tolist(), "species": ["Ga", "Se"], "frac_coords": layer.frac_coords.tolist()}
    frame = (
        '2\nLattice="3 0 0 0 3.1 0 0 0 18" pbc="T T F" Properties=species:S:1:pos:R:3\nGa 0 0 8.1\nSe 1.5 1.55 9.9\n'
    )
    table = 'structure\n"' + json.dumps(record).replace('"', '""') + '"\n'
    return {
        "pymatgen.json": json.dumps(record),
        "list.json": json.dumps([record]),
        "held.json": json.dumps({"structure": record}),
        "plain.json": json.dumps(plain | {"pbc": [True, True, False]}),
        "lines.jsonl": json.dumps(record) + "\n",
        "table.csv": table,
        "frame.extxyz": frame,
    }


@pytest.mark.parametrize("name", slabs())
def test_a_slab_is_refused_in_every_format_with_the_same_words(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(slabs()[name], encoding="utf-8")
    (entry,) = read_structures([tmp_path / name])
    assert entry.structure is None
    assert "repeats along three axes, got one that repeats along a and b" in entry.error


# ---------------------------------------------------------------- warnings of other packages


def test_what_a_reader_warns_of_is_a_remark_and_its_own_affairs_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings are errors here, so that one that gets through fails the test."""

    def reader(text: str) -> Structure:
        warnings.warn("2 sites were merged", UserWarning, stacklevel=2)
        warnings.warn("2 sites were merged", UserWarning, stacklevel=2)
        warnings.warn("No Pauling electronegativity for Ne.", UserWarning, stacklevel=2)
        warnings.warn("call another function", DeprecationWarning, stacklevel=2)
        return plain(text)

    plain = READERS["cif"]
    monkeypatch.setitem(READERS, "cif", reader)
    (tmp_path / "one.cif").write_text(cif_text(salt()), encoding="utf-8")
    (row,) = assess(list(found([tmp_path / "one.cif"])), CHEAP)
    assert row.remarks["file"] == "the reader warns: 2 sites were merged"
    assert row.remarks["file"] in row.verdicts["reads"].reason
    assert row.passed


# ---------------------------------------------------------------- noble gases


def allowed(**asked: object) -> frozenset[int]:
    return Request.of(**asked).crystal_rules.allowed_elements


def test_noble_gases_are_proposed_only_where_asked_for(tmp_path: Path) -> None:
    assert not allowed() & NOBLE_GASES
    assert not allowed(exclude=["O"]) & NOBLE_GASES
    assert not allowed(rules=["count(nonmetal) >= 1"]) & NOBLE_GASES
    assert allowed(elements=["Xe", "F"]) == {54, 9}
    assert allowed(include=["Xe"]) & NOBLE_GASES == {54}
    assert allowed(formula="XeF2") & NOBLE_GASES == {54}
    assert allowed(rules=["count(Kr) >= 1"]) & NOBLE_GASES == {36}
    assert allowed(prefer=["noble_gas"]) & NOBLE_GASES == NOBLE_GASES
    fluoride = Structure(Lattice.tetragonal(4.32, 6.99), ["Xe", "F", "F"], [[0, 0, 0], [0, 0, 0.287], [0, 0, 0.713]])
    (tmp_path / "xef2.cif").write_text(cif_text(fluoride), encoding="utf-8")
    assert allowed(like=[str(tmp_path / "xef2.cif")]) & NOBLE_GASES == {54}
    assert allowed(host=str(tmp_path / "xef2.cif"), replace=["F -> any"]) & NOBLE_GASES == {54}
    assert allowed(host=str(tmp_path / "xef2.cif"), replace=["Xe -> Kr"]) & NOBLE_GASES == {36, 54}


# ---------------------------------------------------------------- terminals


def called(*arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Call the program on a terminal of ASCII."""
    environment = os.environ | {"PYTHONPATH": str(Path(matgen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONIOENCODING": "ascii", "LANG": "C", "LC_ALL": "C", "TERM": "dumb", **more}
    return subprocess.run(
        [sys.executable, "-m", "matgen", *arguments], env=environment, capture_output=True, check=False
    )


def test_an_ascii_terminal_gets_a_table(tmp_path: Path) -> None:
    (tmp_path / "tilted.cif").write_text(cif_text(tilted(0.005)), encoding="utf-8")
    neon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.46), ["Ne"], [[0, 0, 0]])
    (tmp_path / "neon.cif").write_text(cif_text(neon), encoding="utf-8")
    without = ("--reference", "none", "--known", "none", "--jobs", "1", "--out", str(tmp_path / "out"))
    done = called("screen", str(tmp_path / "tilted.cif"), str(tmp_path / "neon.cif"), *without)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"within 0.1 A, 5 degrees" in done.stdout
    assert b"| tilted.cif" in done.stdout
    assert b"Pauling" not in done.stdout + done.stderr
    assert b"Warning" not in done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(b"|")]
    assert len({len(line) for line in lines}) == 2  # of the ranking and of the summary: replacing shifts no column


def test_help_is_shown_on_an_ascii_terminal() -> None:
    done = called("screen", "--help")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"0.1 A and 5" in b" ".join(done.stdout.split())


def test_every_plain_character_is_one_of_ascii() -> None:
    for character in "Å±–—…°³⁻μσéØ─━│┃┏┓╇█→≤×ß漢\udcff":
        assert len(_plain(character)) == 1, character
        assert _plain(character).isascii(), character


def test_rows_without_a_structure_have_no_remarks() -> None:
    assert cells(Row("", "", 0, ""))["remarks"] == ""
