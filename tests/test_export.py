"""What is written reads back, an interrupt loses no finished candidate, and a folder never mixes two runs."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from conftest import TextbookEntry
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from matgen.runtime.output import OutputError
from matgen.structures.candidate import Candidate, Prediction, Relaxation, Verdict
from matgen.structures.cif import faithful_cif
from matgen.structures.export import CandidateWriter
from matgen.structures.record import from_record, to_record
from matgen.structures.renamed import current_name
from matgen.structures.run_report import ResumeError, RunInfo
from matgen.structures.symmetry import space_group

RUN = RunInfo(version="0.1.0", seed=7, configuration={"band_gap": 1.5, "n": 3}, weights={"prior": "ab12"})


def primitive_rock_salt(a: float) -> Structure:
    lattice = Lattice.cubic(a).matrix
    return Structure((lattice.sum(0) - lattice) / 2, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def rock_salt(a: float = 5.64) -> Structure:
    """In the conventional cell."""
    return primitive_rock_salt(a) * [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]


def candidate(name: str, a: float = 5.64) -> Candidate:
    primitive = primitive_rock_salt(a)
    return Candidate(
        name=name,
        structure=primitive,
        unrelaxed=rock_salt(a),
        space_group=space_group(primitive),
        template="Fm-3m: Na on a, Cl on b",
        seed=3,
        energies={"prior": 4.25, "band_gap": 0.5},
        properties={"band_gap": Prediction(1.4, 0.2, "eV")},
        verdicts={
            "density": Verdict("density", passed=True, value=2.2, unit="g/cm³", reason="1.02 of the usual volume")
        },
        relaxation=Relaxation(True, "converged", 5, -3.66, -3.60, 0.01, 0.001, 0.5, "CHGNet 0.3.0"),
    )


def crooked() -> Structure:
    """Rock salt with every atom about 0.05 Å off its place: Fm-3m at 0.1 Å, and P1 when looked at closely."""
    salt = rock_salt()
    generator = np.random.default_rng(1)
    for index in range(len(salt)):
        salt.translate_sites([index], 0.03 * generator.normal(size=3), frac_coords=False)
    return salt


def polar() -> Structure:
    """Rock salt with its cations moved together by 0.05 Å: I4mm, and Fm-3m only at 0.1 Å."""
    salt = rock_salt()
    salt.translate_sites(salt.indices_from_symbol("Na"), [0, 0, 0.05], frac_coords=False)
    return salt


def read_cif(path: Path) -> Structure:
    return Structure.from_file(path)


def test_a_candidate_survives_json() -> None:
    before = candidate("one")
    after = from_record(json.loads(json.dumps(to_record(before), allow_nan=False)))
    assert after == before


def test_a_record_of_version_0_1_is_read_under_the_current_names() -> None:
    gap = Prediction(1.5, 0.1, "eV")
    met = Verdict("target_evaluator_band_gap", passed=True, value=1.5, unit="eV", reason="")
    after = replace(
        candidate("one"),
        energies={"chemical_distance": 1.0, "stereo": 0.0, "template_prior": 2.0},
        properties={"band_gap": gap, "evaluator_band_gap": gap},
        verdicts={met.name: met},
    )
    text = json.dumps(to_record(after)).replace("evaluator_", "judge_")
    old = text.replace('"chemical_distance"', '"familiarity"').replace('"stereo"', '"hands"')
    assert old != text
    assert from_record(json.loads(old)) == after


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("judge_band_gap_spread", "evaluator_band_gap_spread"),
        ("check_target_judge_gap", "check_target_evaluator_gap"),
        ("energy_familiarity", "energy_chemical_distance"),
        ("energy_hands", "energy_stereo"),
        ("check_falls_back", "check_is_minimum"),
        ("surer", "not_needed"),
        ("formation_energy", "formation_energy"),
        ("energy_above_hull", "energy_above_hull"),
        ("stereo", "stereo"),
    ],
)
def test_a_column_of_version_0_1_has_a_current_name(old: str, new: str) -> None:
    assert current_name(old) == new


def test_numbers_that_are_not_finite_survive_as_nan() -> None:
    before = replace(candidate("one"), energies={"prior": math.inf}, relaxation=None)
    after = from_record(json.loads(json.dumps(to_record(before), allow_nan=False)))
    assert math.isnan(after.energies["prior"])
    assert after.relaxation is None


def test_cifs_are_symmetrised_conventional_and_the_same_structure(tmp_path: Path) -> None:
    with CandidateWriter(tmp_path, RUN) as writer:
        written = writer.write(candidate("one"))
    text = (tmp_path / "cif" / "one.cif").read_text(encoding="utf-8")
    assert "_symmetry_Int_Tables_number   225" in text
    back = read_cif(tmp_path / "cif" / "one.cif")
    assert len(back) == 8
    assert StructureMatcher(ltol=1e-4, stol=1e-4, angle_tol=0.01, scale=False).fit(back, written.structure)
    assert written.verdicts["cif"].passed


def test_a_structure_that_symmetrising_would_change_is_listed_in_p1_and_flagged() -> None:
    structure = crooked()
    assert (space_group(structure).number, space_group(structure, 0.01).number) == (225, 1)
    text, verdict = faithful_cif(structure)
    assert not verdict.passed
    assert "P1" in verdict.reason
    assert StructureMatcher(ltol=1e-4, stol=1e-3, angle_tol=0.01, scale=False).fit(
        Structure.from_str(text, fmt="cif"), structure
    )


def test_a_distortion_is_not_symmetrised_away() -> None:
    structure = polar()
    assert space_group(structure).number == 225
    text, verdict = faithful_cif(structure)
    assert verdict.passed
    assert "_symmetry_Int_Tables_number   107" in text


def test_textbook_crystals_get_faithful_cifs(textbook: tuple[TextbookEntry, ...]) -> None:
    """With the symmetry that the book states; every third of them, to be quick."""
    for entry in textbook[::3]:
        text, verdict = faithful_cif(entry.structure.get_primitive_structure())
        assert verdict.passed, entry.file
        assert f"_symmetry_Int_Tables_number   {entry.space_group}\n" in text, entry.file


def test_all_tables_hold_the_same_candidates(tmp_path: Path) -> None:
    """Also if a later candidate brings a term that the first did not have."""
    later = replace(candidate("two", 5.7), energies={"prior": 1.0, "band_gap": 0.1, "rule": 2.0})
    with CandidateWriter(tmp_path, RUN) as writer:
        for one in (candidate("one"), later, candidate("three", 5.5)):
            writer.write(one)
    with (tmp_path / "candidates.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = (tmp_path / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
    frames = ase.io.read(tmp_path / "candidates.extxyz", index=":")
    names = ["one", "two", "three"]
    assert [row["name"] for row in rows] == names
    assert [json.loads(line)["name"] for line in lines] == names
    assert [frame.info["name"] for frame in frames] == names
    assert [row["energy_rule"] for row in rows] == ["", "2.0", ""]
    assert [float(row["energy"]) for row in rows] == pytest.approx([4.75, 3.1, 4.75])
    assert rows[0]["check_density"] == "pass"
    assert frames[1].get_volume() == pytest.approx(later.structure.volume)
    assert frames[1].info["band_gap"] == pytest.approx(1.4)


def test_a_written_candidate_is_on_disk_before_the_next_one(tmp_path: Path) -> None:
    with CandidateWriter(tmp_path, RUN) as writer:
        for count, name in enumerate(("one", "two"), start=1):
            writer.write(candidate(name))
            lines = (tmp_path / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
            assert len(lines) == count


def test_the_run_report_says_how_candidates_came_about(tmp_path: Path) -> None:
    with CandidateWriter(tmp_path, RUN) as writer:
        assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["status"] == "running"
        writer.stage("propose", 1.25, requested=3, legal=2)
        writer.write(candidate("one"))
    report = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert report["status"] == "finished"
    assert report["candidates"] == 1
    assert report["stages"] == [{"name": "propose", "seconds": 1.25, "counts": {"requested": 3, "legal": 2}}]
    assert {name: report[name] for name in ("version", "seed", "configuration", "weights")} == {
        "version": "0.1.0",
        "seed": 7,
        "configuration": {"band_gap": 1.5, "n": 3},
        "weights": {"prior": "ab12"},
    }


def interrupt(folder: Path) -> None:
    with CandidateWriter(folder, RUN) as writer:
        writer.stage("propose", 1.0, requested=3)
        writer.write(candidate("one"))
        raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_after_its_finished_candidates(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    with CandidateWriter(tmp_path, RUN) as writer:
        assert writer.finished == {"one"}
        assert writer.candidates[0].structure == candidate("one").structure
        with pytest.raises(ValueError, match="already"):
            writer.write(candidate("one"))
        writer.write(candidate("two"))
    assert len((tmp_path / "candidates.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert len(ase.io.read(tmp_path / "candidates.extxyz", index=":")) == 2
    report = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert report["candidates"] == 2
    assert [stage["name"] for stage in report["stages"]] == ["propose"]


def test_half_a_line_and_tables_out_of_step_are_repaired(tmp_path: Path) -> None:
    """As a power cut leaves them: the last line torn, the tables behind or ahead."""
    with CandidateWriter(tmp_path, RUN) as writer:
        writer.write(candidate("one"))
        writer.write(candidate("two"))
    jsonl = tmp_path / "candidates.jsonl"
    jsonl.write_text(jsonl.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    (tmp_path / "candidates.csv").unlink()
    with CandidateWriter(tmp_path, RUN) as writer:
        assert writer.finished == {"one"}
        writer.write(candidate("two"))
    assert len(jsonl.read_text(encoding="utf-8").splitlines()) == 2
    assert len((tmp_path / "candidates.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert len(ase.io.read(tmp_path / "candidates.extxyz", index=":")) == 2


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(RUN, seed=8), "seed was 7 and is now 8"),
        (replace(RUN, configuration={"band_gap": 3.0, "n": 3}), "band_gap was 1.5 and is now 3.0"),
        (replace(RUN, weights={"prior": "cd34"}), "prior was 'ab12' and is now 'cd34'"),
    ],
)
def test_another_run_is_refused_unless_overwritten(tmp_path: Path, other: RunInfo, words: str) -> None:
    with CandidateWriter(tmp_path, RUN) as writer:
        writer.write(candidate("one"))
    with pytest.raises(ResumeError, match=words), CandidateWriter(tmp_path, other):
        pass
    assert (tmp_path / "cif" / "one.cif").exists()
    with CandidateWriter(tmp_path, other, overwrite=True) as writer:
        assert not writer.finished
    assert not (tmp_path / "cif" / "one.cif").exists()


def test_overwriting_spares_what_no_run_wrote(tmp_path: Path) -> None:
    (tmp_path / "cif").mkdir()
    mine = tmp_path / "cif" / "mine.cif"
    mine.write_text("data_mine\n", encoding="utf-8")
    with CandidateWriter(tmp_path, RUN, overwrite=True):
        pass
    assert mine.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", "not JSON"])
def test_a_report_that_is_none_is_not_resumed(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(ResumeError, match=r"run\.json is not a report"), CandidateWriter(tmp_path, RUN):
        pass


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    with CandidateWriter(tmp_path, RUN) as writer:
        writer.write(candidate("one"))
    jsonl = tmp_path / "candidates.jsonl"
    jsonl.write_text("{}\n" + jsonl.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ResumeError, match="damaged"), CandidateWriter(tmp_path, RUN):
        pass


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file stands where the folder should be (permissions do not stop root, who may run the tests)."""
    blocker = tmp_path / "file"
    blocker.write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="choose another folder"), CandidateWriter(blocker / "out", RUN):
        pass


def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    with CandidateWriter(tmp_path, RUN) as writer, pytest.raises(ValueError, match="expected a name"):
        writer.write(candidate("../../etc"))
