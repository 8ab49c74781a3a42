"""Screening of molecules: the same rows, tables and guarantees as for crystals, for every file format."""

import csv
import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Molecule, Structure

from matgen import cli
from matgen.novelty.molecules import KnownMolecules
from matgen.runtime.processes import Chunk
from matgen.screening.assess import assess
from matgen.screening.config import NONE, ScreenConfig, ScreenError, run_info
from matgen.screening.files import Journal
from matgen.screening.molecules import MOST_HEAVY
from matgen.screening.ordered_rows import OrderedRows
from matgen.screening.row import Row, cells, row_of, row_record
from matgen.screening.workers import assess_alone
from matgen.structures.candidate import Candidate
from matgen.structures.candidate_table import XTB_GAP
from matgen.structures.cif import cif_text
from matgen.structures.files import Found, MixedKindsError, found
from matgen.structures.sdf import sdf_text
from matgen.targets.target import TargetError
from matgen.templates.molecular_geometry import embedded
from matgen.templates.molecule import MoleculeTemplate, inchi_key
from matgen.workflows.screen import chunks, run, screen

CHEAP = ScreenConfig(reference=NONE, known=NONE, kind="molecule")
"""Without GFN2-xTB, and without the check of novelty."""

SMALL = ("CCO", "CC(N)=O", "c1ccccc1", "C[C@H](N)C(=O)O")


def record(smiles: str, shift: float = 0.0) -> str:
    """One SDF record; `shift` moves its first atom, Å."""
    template = MoleculeTemplate.of(smiles)
    positions = embedded(template).positions.copy()
    positions[0] += shift
    return sdf_text(template, positions, smiles, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with valid, broken, charged and torn molecules."""
    place = tmp_path_factory.mktemp("molecules") / "set"
    place.mkdir()
    broken = "broken\n\n\n  x y z\nM  END\n$$$$\n"
    (place / "some.sdf").write_text("".join(map(record, SMALL)) + broken + record("CCl"), encoding="utf-8")
    (place / "list.smi").write_text("OCC ethanol\nC1CC1( bad\nC[N+](C)(C)C cation\n", encoding="utf-8")
    (place / "torn.sdf").write_text(record("CCN", shift=2.0), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, Row]:
    """The row of each molecule, by name."""
    return {row.name: row for row in assess(list(found([folder])), ScreenConfig(kind="molecule"))}


def texts(several: list[Row]) -> list[str]:
    return [json.dumps(row_record(row)) for row in several]


def of(row: Row) -> Candidate:
    assert row.candidate is not None
    return row.candidate


# ---------------------------------------------------------------- one chunk


def test_each_failure_has_its_named_reason(rows: dict[str, Row]) -> None:
    assert len(rows) == 10
    assert rows["set/some.sdf#4"].failed == ("reads",)
    assert "not readable as sdf" in rows["set/some.sdf#4"].error
    assert "expected a SMILES" in rows["set/list.smi#bad"].error
    torn = rows["set/torn.sdf"]
    assert {"graph_kept", "in_domain"} <= set(torn.failed)
    assert not of(torn).properties  # not assessed, with a reason
    assert "the geometry is not that of the graph" in torn.verdicts["in_domain"].reason
    chlorine = rows["set/some.sdf#5"]
    assert "have never seen Cl" in chlorine.verdicts["in_domain"].reason
    assert set(of(chlorine).properties) == {XTB_GAP}  # by no network
    cation = rows["set/list.smi#cation"]
    assert "charge +1" in cation.verdicts["in_domain"].reason
    assert "gap" in of(cation).properties  # predicted, with a warning
    for index, smiles in enumerate(SMALL):
        row = rows[f"set/some.sdf#{index}"]
        assert set(row.failed) <= {"novel"}, row.failed
        assert of(row).template == MoleculeTemplate.of(smiles).smiles
        assert {"gap", "dipole", "evaluator_gap", XTB_GAP} <= set(of(row).properties)


def test_what_a_file_lacks_is_reported(rows: dict[str, Row]) -> None:
    assert rows["set/some.sdf#0"].verdicts["reads"].reason == "read from its file"
    assert len(rows["set/list.smi#ethanol"].verdicts["reads"].reason) > len("read from its file; ")


def test_large_molecules_get_a_warning_and_far_too_large_ones_no_prediction() -> None:
    inside, beyond, far = ("C" * n for n in (9, 10, MOST_HEAVY + 1))
    found_rows = screen([_molecule(smiles) for smiles in (inside, beyond, far)], reference=NONE, known=NONE)
    assert [row.verdicts["in_domain"].passed for row in found_rows] == [True, False, False]
    assert ["gap" in of(row).properties for row in found_rows] == [True, True, False]
    assert "predictions mean little" in found_rows[1].verdicts["in_domain"].reason


def _molecule(smiles: str) -> Molecule:
    template = MoleculeTemplate.of(smiles)
    return Molecule(template.graph.elements.tolist(), embedded(template).positions)


def test_batch_mates_do_not_matter_to_evaluator_energies_and_verdicts(folder: Path, rows: dict[str, Row]) -> None:
    together, alone = _with_mates_and_without(folder, rows)
    for name, row in alone.items():
        assert together[name].energy == row.energy
        # Networks in float32 sum in another order when there are more systems.
        assert of(together[name]).energies == pytest.approx(of(row).energies, rel=1e-4, abs=1e-4)
        for label in (XTB_GAP, *(label for label in of(row).properties if label.startswith("evaluator_"))):
            assert of(together[name]).properties[label].value == pytest.approx(
                of(row).properties[label].value, rel=1e-4, abs=1e-4
            )


def test_batch_mates_do_not_matter_to_the_predictor(folder: Path, rows: dict[str, Row]) -> None:
    together, alone = _with_mates_and_without(folder, rows)
    for name, row in alone.items():
        found_gap = of(together[name]).properties["gap"].value
        assert found_gap == pytest.approx(of(row).properties["gap"].value, rel=1e-4, abs=1e-4)


def _with_mates_and_without(folder: Path, rows: dict[str, Row]) -> tuple[dict[str, Row], dict[str, Row]]:
    some = [one for one in found([folder]) if one.name in {"set/some.sdf#0", "set/some.sdf#3"}]
    return rows, {one.name: assess([one], ScreenConfig(kind="molecule"))[0] for one in some}


def test_a_rotated_molecule_in_another_order_of_atoms_has_the_same_verdicts() -> None:
    first = _molecule("CC(N)=O")
    order = random.Random(0).sample(range(len(first)), len(first))
    c, s = math.cos(0.7), math.sin(0.7)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    second = Molecule([first.species[i] for i in order], first.cart_coords[order] @ turn + 2.0)
    one, other = screen([first, second], known=NONE)
    assert of(one).template == of(other).template
    assert "unique" in other.failed
    assert other.energy == pytest.approx(one.energy, abs=1e-5)  # xTB is converged to about that
    for name, prediction in of(one).properties.items():
        assert of(other).properties[name].value == pytest.approx(prediction.value, rel=1e-3, abs=1e-3), name


def test_relaxing_moves_to_a_minimum_and_says_so(folder: Path) -> None:
    entries = [one for one in found([folder]) if one.name in {"set/some.sdf#0", "set/some.sdf#4"}]
    as_given, relaxed = (
        {row.name: row for row in assess(entries, ScreenConfig(known=NONE, kind="molecule", relax=word))}
        for word in ("none", "xtb")
    )
    before, after = as_given["set/some.sdf#0"], relaxed["set/some.sdf#0"]
    assert (before.geometry, after.geometry) == ("as given", "relaxed")
    assert after.energy < before.energy
    assert after.verdicts["relaxed"].passed
    assert after.verdicts["posebusters"].passed
    drop = (before.energy - after.energy) * len(of(after).structure)
    assert after.verdicts["strain"].value == pytest.approx(drop, abs=1e-4)
    assert relaxed["set/some.sdf#4"].failed == ("reads",)


def test_targets_are_checked_by_predictor_and_evaluator_and_the_predictor_decides(folder: Path) -> None:
    config = ScreenConfig(reference=NONE, known=NONE, kind="molecule", properties={"bandgap": ">19"})
    entries = [one for one in found([folder]) if one.name.startswith("set/some.sdf") and one.index < len(SMALL)]
    for row in assess(entries, config):
        assert row.failed == ("target_gap",)
        assert not row.verdicts["target_evaluator_gap"].passed


def test_known_molecules_are_those_of_the_file_whatever_their_stereo(tmp_path: Path) -> None:
    KnownMolecules.of([MoleculeTemplate.of("C[C@@H](N)C(=O)O")]).save(tmp_path / "known.npz")
    known = str(tmp_path / "known.npz")
    alanine, ethanol = screen([_molecule("C[C@H](N)C(=O)O"), _molecule("CCO")], reference=NONE, known=known)
    assert (alanine.verdicts["novel"].passed, ethanol.verdicts["novel"].passed) == (False, True)


# ---------------------------------------------------------------- many chunks, in any order, more than once


def test_rows_in_any_order_give_the_same_result(folder: Path, tmp_path: Path) -> None:
    def scrambled(seed: int) -> list[str]:
        entries = list(found([folder]))
        with Journal(tmp_path / f"out{seed}", run_info(CHEAP, []), kind="molecule") as journal:
            ordered = OrderedRows(journal, lambda *_, **__: None, lambda _: None)
            parts: list[Chunk[Found]] = list(chunks(ordered.unknown(iter(entries)), 2, 1))
            random.Random(seed).shuffle(parts)
            for part in parts:
                rows = assess_alone(part.items, CHEAP)
                journal.write(rows)
                ordered.put(rows)
            return texts(ordered.ranked())

    first = scrambled(0)
    assert first == scrambled(1)
    by_name = {row["name"]: row for row in map(json.loads, first)}
    assert (
        "the same structure as set/list.smi#ethanol"
        in (by_name["set/some.sdf#0"]["candidate"]["verdicts"]["unique"]["reason"])
    )


def test_the_order_of_the_files_does_not_matter(folder: Path, tmp_path: Path) -> None:
    paths = [folder / "some.sdf", folder / "torn.sdf"]
    one, other = (run(order, CHEAP, tmp_path / name) for order, name in ((paths, "one"), (paths[::-1], "other")))
    verdicts = [{row.name: row.failed for row in done.rows} for done in (one, other)]
    assert verdicts[0] == verdicts[1]
    assert one.summary == other.summary


def test_cut_short_and_resumed_gives_the_same_table(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = run([folder], CHEAP, out)
    lines, table = (out / "rows.jsonl").read_bytes(), (out / "results.csv").read_bytes()
    assert whole.new == len(whole.rows) == 10
    failed = {name: row.failed for name, row in _by_name(whole.rows).items()}
    cut = len(lines) // 2
    (out / "rows.jsonl").write_bytes(lines[:cut])
    again = run([folder], CHEAP, out)
    assert again.new == 10 - lines[:cut].count(b"\n")
    assert {name: row.failed for name, row in _by_name(again.rows).items()} == failed
    assert _rounded(out / "results.csv") == _rounded_bytes(table)


def _by_name(several: Sequence[Row]) -> dict[str, Row]:
    return {row.name: row for row in several}


def _rounded(path: Path) -> list[list[str]]:
    return _rounded_bytes(path.read_bytes())


def _rounded_bytes(table: bytes) -> list[list[str]]:
    """Cells, numbers to three digits: chunks of other sizes sum in float32 in another order."""

    def cell(text: str) -> str:
        try:
            return f"{float(text):.3f}"
        except ValueError:
            return text

    return [[cell(text) for text in line] for line in csv.reader(table.decode().splitlines())]


def test_the_tables_say_the_same_in_all_formats(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run([folder], CHEAP, out)
    parquet = pq.read_table(out / "results.parquet").to_pylist()
    assert parquet == [cells(row, "molecule") for row in done.rows]
    records = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row_record(row_of(record)) for record in records] == records
    alanine = next(line for line in parquet if line["name"] == "set/some.sdf#3")
    assert alanine["smiles"] == MoleculeTemplate.of("C[C@H](N)C(=O)O").smiles
    assert alanine["inchikey"] == inchi_key(alanine["smiles"])
    assert (alanine["formula"], alanine["n_heavy"], alanine["charge"]) == ("C3H7NO2", 6, 0)
    broken = next(line for line in parquet if line["name"] == "set/some.sdf#4")
    assert broken["smiles"] is None
    assert broken["reason"]


# ---------------------------------------------------------------- kinds


def test_a_mixed_folder_is_refused_unless_a_kind_is_named(folder: Path, tmp_path: Path) -> None:
    salt = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "salt.cif").write_text(cif_text(salt), encoding="utf-8")
    paths = [folder / "some.sdf", tmp_path / "salt.cif"]
    with pytest.raises(MixedKindsError, match=r"salt\.cif is a crystal and some\.sdf#0 is a molecule"):
        screen(paths)
    with pytest.raises(ScreenError, match="a mixture"):
        screen([salt, _molecule("CCO")])
    kept = {row.name: row for row in screen(paths, kind="molecule", reference=NONE, known=NONE)}
    assert "expected atoms in free space" in kept["salt.cif"].error
    assert of(kept["some.sdf#0"]).kind == "molecule"


def test_settings_that_molecules_do_not_have_are_refused_at_once() -> None:
    with pytest.raises(ScreenError, match="expected relax as none or xtb for a molecule"):
        ScreenConfig(kind="molecule", relax="chgnet")
    with pytest.raises(ScreenError, match="expected relax as none or potential or chgnet for a crystal"):
        ScreenConfig(relax="xtb")
    with pytest.raises(ScreenError, match="expected no max_ehull for a molecule"):
        ScreenConfig(kind="molecule", max_ehull=0.2)
    with pytest.raises(TargetError, match="expected one of gap, homo"):
        ScreenConfig(kind="molecule", properties={"formation_energy": "<0"})
    with pytest.raises(ScreenError, match="expected kind as crystal or molecule"):
        ScreenConfig(kind="liquid")  # type: ignore[arg-type]


# ---------------------------------------------------------------- the command


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["matgen", "screen", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_infers_the_kind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--reference", "none", "--known", "none", "--jobs", "1", "--out", str(tmp_path / "out")]
    targets = ["--gap", ">0", "--property", "dipole=<20"]
    assert called(monkeypatch, str(folder), *common, *targets) == 0
    shown = capsys.readouterr()
    assert "the best 10 of 10" in shown.out
    assert "c1ccccc1" in shown.out
    assert called(monkeypatch, str(folder), *common, *targets, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == [one.name for one in found([folder])]
    assert called(monkeypatch, str(folder), *common, "--relax", "chgnet") == 2
    assert "for a molecule" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_agree_with_one(folder: Path, tmp_path: Path) -> None:
    one, two = (run([folder], CHEAP, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert _rounded(one.folder / "results.csv") == _rounded(two.folder / "results.csv")
