"""Verification of molecules by GFN2-xTB: minima are stable, nothing is lost or repeated, and tables join."""

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Molecule, Structure

from matgen import cli
from matgen.first_principles import xtb_minimum
from matgen.first_principles.calculations import CalculationFile, MoleculePlan, calculated
from matgen.first_principles.subjects import chosen, kind_of_all, subjects
from matgen.first_principles.xtb_minimum import XtbMinimum, from_record, key, minima, minimum, to_record
from matgen.relaxation.xtb import POTENTIAL, XtbConfig, relax_molecule
from matgen.structures.candidate import Candidate, Prediction
from matgen.structures.cif import cif_text
from matgen.structures.export import CandidateWriter
from matgen.structures.files import MixedKindsError
from matgen.structures.run_report import RunInfo
from matgen.structures.sdf import sdf_text
from matgen.templates.molecular_geometry import embedded
from matgen.templates.molecule import MoleculeTemplate
from matgen.workflows.verify import default_folder, run

ETHANOL, ACETAMIDE = MoleculeTemplate.of("CCO"), MoleculeTemplate.of("CC(N)=O")


def placed(template: MoleculeTemplate, seed: int | None = None) -> Molecule:
    """A geometry, rattled by 0.05 Å if a seed is given."""
    positions = embedded(template).positions
    shift = 0.0 if seed is None else np.random.default_rng(seed).normal(scale=0.05, size=positions.shape)
    return Molecule(template.graph.elements.tolist(), positions + shift)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two molecules, and one that is none."""
    place = tmp_path / "files"
    place.mkdir()
    texts = [sdf_text(one, embedded(one).positions, str(one), {}) for one in (ETHANOL, ACETAMIDE)]
    (place / "some.sdf").write_text("".join([*texts, "broken\n\n\n  x y z\nM  END\n$$$$\n"]), encoding="utf-8")
    return place


def lines(path: Path) -> dict[str, dict[str, str]]:
    """The lines of a CSV by name."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


# ---------------------------------------------------------------- one molecule


def test_a_minimum_stays_where_it_is() -> None:
    relaxed, _ = relax_molecule(placed(ETHANOL), XtbConfig(fmax=0.005))
    found = minimum(relaxed, ETHANOL)
    assert found.converged
    assert found.kept
    # Forces at the start lie below a quarter of the threshold already.
    assert found.rmsd == pytest.approx(0.0, abs=1e-6)
    assert found.energy_drop == pytest.approx(0.0, abs=1e-6)


def test_a_rattled_molecule_falls_back_to_the_same_minimum() -> None:
    calm, rattled = (minimum(placed(ETHANOL, seed), ETHANOL) for seed in (None, 0))
    assert rattled.energy_drop > calm.energy_drop > 0
    assert rattled.rmsd > 0.02
    assert rattled.energy == pytest.approx(calm.energy, abs=1e-3)  # eV/atom; forces end at 0.02 eV/Å
    assert rattled.minimum_gap == pytest.approx(calm.minimum_gap, abs=0.05)
    assert abs(rattled.gap - calm.gap) > 0.05  # of the geometries as given
    assert calm.raw_gap == pytest.approx(calm.lumo - calm.homo)


def test_a_molecule_that_becomes_another_one_is_reported() -> None:
    """A detached oxygen does not bind again."""
    template = MoleculeTemplate.of("C[N+](=O)[O-]")
    start = placed(template)
    coords = start.cart_coords.copy()
    oxygen = list(start.atomic_numbers).index(8)
    coords[oxygen] += 4.0
    found = minimum(Molecule(start.species, coords), template)
    assert not (found.converged and found.kept)
    assert found.reason


def test_overlap_is_a_reason_and_not_an_error() -> None:
    start = placed(ETHANOL)
    coords = start.cart_coords.copy()
    coords[1] = coords[0] + 0.01
    found = minimum(Molecule(start.species, coords), ETHANOL)
    assert not found.converged
    assert "overlap" in found.reason
    assert math.isnan(found.gap)


def test_a_result_survives_json_whether_it_is_one_or_not() -> None:
    found = minimum(placed(ETHANOL), ETHANOL)
    assert from_record(json.loads(json.dumps(to_record(found), allow_nan=False))) == found
    nothing = from_record(json.loads(json.dumps(to_record(xtb_minimum.failed("why not", 3.0)), allow_nan=False)))
    assert math.isnan(nothing.rmsd)
    assert (nothing.reason, nothing.seconds, nothing.converged) == ("why not", 3.0, False)


def test_keys_differ_between_molecules_and_settings() -> None:
    config = XtbConfig()
    keys = [
        key(placed(ETHANOL), ETHANOL, config),
        key(placed(ETHANOL, 0), ETHANOL, config),
        key(placed(ACETAMIDE), ACETAMIDE, config),
        key(placed(ETHANOL), ETHANOL, XtbConfig(fmax=0.01)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(placed(ETHANOL), ETHANOL, config) == keys[0]


# ---------------------------------------------------------------- results that survive


def test_an_interrupt_loses_no_result_and_repeats_none(tmp_path: Path) -> None:
    plan, file = MoleculePlan(), CalculationFile(tmp_path / "verified.jsonl")
    several = [(f"ethanol {seed}", placed(ETHANOL, seed), ETHANOL.smiles) for seed in range(3)]
    first = calculated(several, file, plan)
    begun = next(first)[0]
    first.close()
    with file.path.open("a", encoding="utf-8") as stream:
        stream.write('{"name": "ethanol 2", "key": "ab')  # cut short
    again = list(calculated(several, file, plan))
    assert again[0][0] == begun
    assert sorted(name for name, _ in again) == [name for name, *_ in several]
    assert [json.loads(line)["name"] for line in file.path.read_text().splitlines()] == [name for name, _ in again]


def test_the_order_does_not_matter() -> None:
    initial_geometries = [("a", placed(ETHANOL), ETHANOL), ("b", placed(ACETAMIDE), ACETAMIDE)]
    one, other = (
        {name: to_record(found) | {"seconds": 0} for name, found in minima(order)}
        for order in (initial_geometries, initial_geometries[::-1])
    )
    assert one == other


def test_what_failed_is_done_anew_only_if_asked() -> None:
    failure = xtb_minimum.failed("out of steps")
    assert [MoleculePlan(retry=retry).stands(failure) for retry in (False, True)] == [True, False]


# ---------------------------------------------------------------- the table


def test_a_broken_record_is_a_row_with_a_reason(folder: Path) -> None:
    every = subjects([folder])
    assert kind_of_all(every) == "molecule"
    outcome = run(every, every, folder, MoleculePlan())
    table = lines(outcome.table)
    assert outcome.converged == 2
    ethanol, broken = table["files/some.sdf#0"], table["files/some.sdf#2"]
    assert (ethanol["smiles"], ethanol["formula"]) == ("CCO", "C2H6O")
    assert ethanol["xtb_potential"] == POTENTIAL
    assert float(ethanol["xtb_energy_drop"]) > 0
    assert (broken["xtb_gap"], broken["xtb_converged"]) == ("", "False")
    assert "not readable" in broken["xtb_reason"]
    assert pq.read_table(outcome.table.with_suffix(".parquet")).num_rows == 3
    assert [one.name for one in subjects([folder])] == [one.name for one in every]  # not what was written there
    before = outcome.table.read_bytes()
    run(every, every, folder, MoleculePlan())
    assert outcome.table.read_bytes() == before


def test_results_join_the_table_of_the_candidates(tmp_path: Path) -> None:
    designs = tmp_path / "run"
    with CandidateWriter(designs, RunInfo("1", 0, {}), kind="molecule") as writer:
        for name, template in (("a", ETHANOL), ("b", ACETAMIDE)):
            predicted = {"gap": Prediction(7.0, 0.2, "eV"), "evaluator_gap": Prediction(7.1, 0.2, "eV")}
            molecule = placed(template)
            writer.write(Candidate(name, molecule, molecule, None, template.smiles, properties=predicted))
    every = subjects([designs])
    outcome = run(every, chosen(every, ["b"]), designs, MoleculePlan())
    table = lines(outcome.table)
    assert (float(table["b"]["gap"]), float(table["b"]["evaluator_gap"])) == (7.0, 7.1)
    assert float(table["b"]["xtb_gap"]) > 0
    assert table["a"]["xtb_gap"] == ""  # not chosen
    assert default_folder([designs]) == designs
    (verified,) = outcome.verified
    assert isinstance(verified.result, XtbMinimum)


def test_crystals_and_molecules_are_not_verified_together(folder: Path, tmp_path: Path) -> None:
    salt = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "salt.cif").write_text(cif_text(salt), encoding="utf-8")
    with pytest.raises(MixedKindsError, match=r"salt\.cif is a crystal and some\.sdf#0 is a molecule"):
        subjects([tmp_path / "salt.cif", folder / "some.sdf"])


# ---------------------------------------------------------------- the command


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `matgen verify ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["matgen", "verify", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_needs_no_gpaw_for_molecules(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [str(folder), "--out", str(folder), "--jobs", "1", "--python", "/nowhere/python3"]
    assert called(monkeypatch, *common) == 0
    shown = capsys.readouterr()
    assert "CC(N)=O" in shown.out
    assert "2 of 3 calculated by GFN2-xTB" in " ".join(shown.err.split())
    assert called(monkeypatch, *common, "--top", "1", "--json") == 0
    record = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (record["name"], record["smiles"]) == ("files/some.sdf#0", "CCO")
    assert record["xtb_gap"] > 0
