"""Results in formats of other programs: they read back as the same structures, with energies and their origin."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from monty.serialization import loadfn
from pymatgen.analysis.phase_diagram import PhaseDiagram
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor
from test_house import ABSENT
from typer.testing import CliRunner

import matgen
from matgen.cli import app
from matgen.hull.hull import ReferenceHull, hull_verdict
from matgen.hull.reference import ReferenceFileError
from matgen.interchange.item import Run, RunFolderError, read_run
from matgen.interchange.plain_files import file_names
from matgen.relaxation.calculators import hull_file
from matgen.runtime.output import OutputError
from matgen.structures.candidate import Candidate, Prediction, Relaxation, Verdict
from matgen.structures.export import CandidateWriter
from matgen.structures.files import read_structures
from matgen.structures.run_report import RunInfo
from matgen.structures.symmetry import space_group
from matgen.templates.molecular_geometry import embedded
from matgen.templates.molecule import MoleculeTemplate
from matgen.workflows.export import FORMATS, ExportError, run

HEIGHT = 0.02
"""Energy above the hull of the crystals of the run, eV/atom."""


@pytest.fixture(scope="module")
def hull() -> ReferenceHull:
    return ReferenceHull.load()


@pytest.fixture(scope="module")
def corrected_hull() -> ReferenceHull:
    """The hull of SevenNet, whose raw energies need corrections."""
    return ReferenceHull.load(hull_file("sevennet"))


def crystals() -> list[Structure]:
    """A cubic crystal, and a triclinic one whose sites have no round coordinates."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    skew = Lattice.from_parameters(4.1, 5.3, 6.2, 81.0, 97.0, 104.0)
    return [
        Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], sites),
        Structure(
            skew, ["Mg", "O", "O", "Ca"], [[0.01, 0.02, 0.03], [0.51, 0.47, 0.13], [0.12, 0.61, 0.55], [0.6, 0.1, 0.7]]
        ),
    ]


def with_energy(name: str, structure: Structure, hull: ReferenceHull, pressure: float = 0.0) -> Candidate:
    """A relaxed candidate at `HEIGHT` above the hull."""
    energy = hull.ceiling(structure.composition, HEIGHT) - hull.corrected(structure, 0.0)
    work = 0.05 if pressure else 0.0
    report = Relaxation(True, "converged", 7, energy, energy + 0.1, 0.01, 0.001, 1.0, hull.potential, pressure, work)
    candidate = Candidate(
        name,
        structure,
        structure,
        space_group(structure),
        template="a template",
        energies={"graph": 1.5, "prior": -0.25},
        properties={"band_gap": Prediction(1.5, 0.3, "eV", 0.1, math.nan)},
        relaxation=report,
    )
    return replace(candidate, verdicts={"hull": hull_verdict(candidate, hull)})


@pytest.fixture(scope="module")
def design_folder(hull: ReferenceHull, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "some_design"
    info = RunInfo("0.9", 5, {"targets": {"band_gap": "1.5"}}, {"graph_energy": "abc"})
    with CandidateWriter(folder, info) as writer:
        for index, structure in enumerate(crystals()):
            writer.write(with_energy(f"5-{index}-one", structure, hull))
    return folder


def molecule(name: str, smiles: str) -> Candidate:
    template = MoleculeTemplate(smiles)
    placed = embedded(template)
    found = Molecule(template.graph.elements.tolist(), placed.positions)
    return Candidate(name, found, found, None, template=str(template), verdicts={})


def same_crystal(one: Structure, other: Structure, tolerance: float = 1e-6) -> bool:
    """The same cell and sites, in any order of the sites."""
    if len(one) != len(other) or not np.allclose(one.lattice.matrix, other.lattice.matrix, atol=tolerance):
        return False
    for site in one:
        same = [x for x in other if x.specie.symbol == site.specie.symbol and site.distance(x) < max(tolerance, 1e-6)]
        if len(same) != 1:
            return False
    return True


def exported(folder: Path, form: str, tmp_path: Path, suffix: str = "") -> Path:
    return run(folder, form, tmp_path / f"out{suffix or FORMATS[form].suffix}").path


# ---------------------------------------------------------------- crystals


@pytest.mark.parametrize("form", [form for form, one in FORMATS.items() if "crystal" in one.kinds])
def test_every_format_reads_back_as_the_same_crystals(form: str, design_folder: Path, tmp_path: Path) -> None:
    path = exported(design_folder, form, tmp_path)
    entries = list(read_structures([path]))
    assert [one.error for one in entries] == [""] * 2
    tolerance = 1e-4 if form == "cif" else 1e-6  # a CIF has eight decimals, and another cell
    for entry, written in zip(entries, crystals(), strict=True):
        found = entry.crystal
        assert found is not None
        if form == "cif":
            assert found.composition.reduced_formula == written.composition.reduced_formula
            assert found.volume / len(found) == pytest.approx(written.volume / len(written), rel=1e-5)
        else:
            assert same_crystal(written, found, tolerance), entry.name


def test_the_database_of_ase_has_energies_properties_and_provenance(design_folder: Path, tmp_path: Path) -> None:
    path = exported(design_folder, "ase-db", tmp_path)
    with ase.db.connect(str(path)) as database:
        rows = list(database.select())
        (titanate,) = database.select("Ti", band_gap=1.5)
    run_of = read_run(design_folder)
    for row, item in zip(rows, run_of.items, strict=True):
        assert row.energy == pytest.approx(item.candidate.relaxation.energy * len(item.candidate.crystal), abs=1e-9)
        assert row.calculator == "chgnet"
        assert row.energy_of_terms == pytest.approx(sum(item.candidate.energies.values()))
        assert row.key_value_pairs["e_above_hull" if "e_above_hull" in row.key_value_pairs else "check_hull"]
        whole = row.data["matgen"]
        assert whole["provenance"]["version"] == "0.9"
        assert whole["provenance"]["seed"] == 5
        assert whole["candidate"]["verdicts"]["hull"]["value"] == pytest.approx(HEIGHT, abs=1e-6)
    assert titanate.name == "5-0-one"
    assert titanate.potential.startswith("CHGNet")


def test_pymatgen_takes_atoms_of_the_database(design_folder: Path, tmp_path: Path) -> None:
    """ASE's atoms are what AiiDA's `StructureData(ase=...)` takes, too."""
    path = exported(design_folder, "ase-db", tmp_path)
    for atoms, written in zip(ase.io.read(path, ":"), crystals(), strict=True):
        assert atoms.pbc.all()
        assert same_crystal(written, AseAtomsAdaptor.get_structure(atoms))


@pytest.mark.parametrize("name", ["12", "1e5", "True", "nan", "Fe", "user", "gap (eV)", "größe"])
def test_labels_that_ase_refuses_do_not_stop_the_database(name: str, tmp_path: Path) -> None:
    """ASE takes no text that looks like a number, no names that it keeps, and no letters beyond ASCII in keys."""
    source = tmp_path / "in.jsonl"
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    folder = tmp_path / "run"
    with CandidateWriter(folder, RunInfo("0", 0, {})) as writer:
        writer.write(
            Candidate("x", salt, salt, space_group(salt), properties={name: Prediction(1.0, 0.1, name)}, template=name)
        )
    path = exported(folder, "ase-db", tmp_path)
    with ase.db.connect(str(path)) as database:
        (row,) = database.select()
    assert row.data["matgen"]["columns"][name] == 1.0
    assert row.data["matgen"]["columns"]["template"] == name
    assert not source.exists()


def test_optimade_is_what_its_models_accept(design_folder: Path, tmp_path: Path) -> None:
    models = pytest.importorskip("optimade.models")
    text = exported(design_folder, "optimade", tmp_path).read_text(encoding="utf-8")
    answer = models.StructureResponseMany(**json.loads(text))
    assert len(answer.data) == 2
    adapters = pytest.importorskip("optimade.adapters")
    for one, written in zip(json.loads(text)["data"], crystals(), strict=True):
        assert same_crystal(written, adapters.Structure(one).convert("pymatgen"))


REQUIRED = (
    *("elements", "nelements", "elements_ratios", "chemical_formula_descriptive", "chemical_formula_reduced"),
    *("chemical_formula_anonymous", "dimension_types", "nperiodic_dimensions", "lattice_vectors", "last_modified"),
    *("cartesian_site_positions", "nsites", "species", "species_at_sites", "structure_features"),
)
"""Attributes of `/structures` that OPTIMADE 1.2 says SHOULD or MUST be there."""


def test_optimade_has_the_required_attributes_and_ours(design_folder: Path, tmp_path: Path) -> None:
    answer = json.loads(exported(design_folder, "optimade", tmp_path).read_text(encoding="utf-8"))
    assert answer["meta"]["api_version"].startswith("1.")
    assert answer["meta"]["_matgen_provenance"]["weights"] == {"graph_energy": "abc"}
    for one in answer["data"]:
        attributes = one["attributes"]
        assert set(REQUIRED) <= set(attributes)
        assert attributes["last_modified"].endswith("Z")
        others = set(attributes) - set(REQUIRED) - {"immutable_id", "space_group_it_number"}
        assert all(name.startswith("_matgen_") and name == name.lower() for name in others)
        assert attributes["_matgen_verdicts"]["hull"]["passed"] is True
        assert attributes["_matgen_predictions"]["band_gap"]["probability"] is None  # NaN is no JSON
        assert set(answer["meta"]["_matgen_units"]) >= {"_matgen_energy_of_potential", "_matgen_energies"}
    titanate = answer["data"][0]["attributes"]
    assert titanate["chemical_formula_reduced"] == "O3SrTi"
    assert titanate["chemical_formula_anonymous"] == "A3BC"
    assert sum(titanate["elements_ratios"]) == pytest.approx(1.0)


def heights(path: Path, run_of: Run, hull: ReferenceHull) -> list[float]:
    """Energies above the hull by pymatgen, eV/atom, checked against those that the run tells."""
    found = []
    for entry, item in zip(loadfn(path), run_of.items, strict=True):
        assert isinstance(entry, ComputedStructureEntry)
        assert entry.parameters["potential"] == hull.potential
        diagram = PhaseDiagram([*hull.phases(item.candidate.crystal.composition.chemical_system_set), entry])
        found.append(diagram.get_e_above_hull(entry))
        assert found[-1] == pytest.approx(item.candidate.verdicts["hull"].value, abs=1e-9)
    return found


def test_entries_give_the_height_above_the_hull_that_the_run_tells(
    design_folder: Path, hull: ReferenceHull, tmp_path: Path
) -> None:
    path = exported(design_folder, "entries", tmp_path)
    assert heights(path, read_run(design_folder), hull) == pytest.approx([HEIGHT] * 2, abs=1e-6)
    assert [entry.correction for entry in loadfn(path)] == [0.0, 0.0]


def test_entries_have_the_corrections_of_the_hull(corrected_hull: ReferenceHull, tmp_path: Path) -> None:
    """Those of a named potential, and those of a hull of one's own; raw energies would lie 0.34 eV/atom too high."""
    magnesia = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    candidate = with_energy("x", magnesia, corrected_hull)
    for folder, calculator in (("named", "sevennet"), ("own", f"my:potential={hull_file('sevennet')}")):
        with CandidateWriter(tmp_path / folder, RunInfo("0", 0, {"relaxation": {"calculator": calculator}})) as writer:
            writer.write(candidate)
        path = run(tmp_path / folder, "entries", tmp_path / f"{folder}.json").path
        assert heights(path, read_run(tmp_path / folder), corrected_hull) == pytest.approx([HEIGHT], abs=1e-6)
        (entry,) = loadfn(path)
        assert entry.correction_per_atom == pytest.approx(-0.687 / 2, abs=1e-3)
        assert entry.parameters["corrections"].startswith("MP2020;")


def test_a_hull_that_is_gone_is_told(hull: ReferenceHull, tmp_path: Path) -> None:
    with CandidateWriter(
        tmp_path / "run", RunInfo("0", 0, {"relaxation": {"calculator": "a:b=gone.parquet"}})
    ) as writer:
        writer.write(with_energy("x", crystals()[0], hull))
    with pytest.raises(ReferenceFileError, match=r"gone\.parquet"):
        exported(tmp_path / "run", "entries", tmp_path)


def test_at_a_pressure_the_energy_of_an_entry_is_the_enthalpy(hull: ReferenceHull, tmp_path: Path) -> None:
    folder = tmp_path / "pressed"
    with CandidateWriter(folder, RunInfo("0", 0, {})) as writer:
        candidate = writer.write(with_energy("x", crystals()[0], hull, pressure=10.0))
    (entry,) = loadfn(exported(folder, "entries", tmp_path))
    assert candidate.relaxation is not None
    assert entry.energy_per_atom == pytest.approx(candidate.relaxation.enthalpy)
    assert entry.uncorrected_energy_per_atom == pytest.approx(candidate.relaxation.energy)
    assert "10 GPa" in entry.parameters["corrections"]


def test_structures_without_an_energy_make_no_entries(tmp_path: Path) -> None:
    folder = tmp_path / "unrelaxed"
    with CandidateWriter(folder, RunInfo("0", 0, {})) as writer:
        writer.write(Candidate("x", crystals()[0], crystals()[0], None))
    with pytest.raises(ExportError, match="got none for 1 structures; relax"):
        exported(folder, "entries", tmp_path)
    assert not (tmp_path / "out.json").exists()


def test_what_verify_calculated_is_exported(design_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "verified"
    folder.mkdir()
    for name in ("candidates.jsonl", "run.json"):
        (folder / name).write_bytes((design_folder / name).read_bytes())
    table = "name,gpaw_gap,gpaw_converged,gpaw_reason\n5-0-one,1.25,True,settled\n"
    (folder / "verified.csv").write_text(table, encoding="utf-8")
    with ase.db.connect(str(exported(folder, "ase-db", tmp_path))) as database:
        (row,) = database.select(gpaw_gap=1.25, gpaw_converged=True)
    assert (row.name, row.gpaw_reason) == ("5-0-one", "settled")


# ---------------------------------------------------------------- a screening, and back into one


@pytest.fixture(scope="module")
def screen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("screened")
    for index, structure in enumerate(crystals()):
        structure.to(str(place / f"in{index}.cif"), fmt="cif")
    (place / "broken.cif").write_text("data_x\n", encoding="utf-8")
    folder = tmp_path_factory.mktemp("screens") / "run"
    matgen.screen(place, reference="none", known="none", out=folder)
    return folder


def test_a_screening_is_exported_and_screened_again(screen_folder: Path, tmp_path: Path) -> None:
    done = run(screen_folder, "optimade", tmp_path / "o.json")
    assert (done.written, done.without_structure) == (2, 1)
    first = {item.name: item.candidate for item in read_run(screen_folder).items}
    again = matgen.screen(tmp_path / "o.json", reference="none", known="none")
    assert len(again) == 2
    for row in again:
        assert row.candidate is not None, row.error
        (same,) = [one for name, one in first.items() if name in {row.id, row.name} or row.id == name]
        assert row.formula == same.crystal.composition.reduced_formula
        assert row.candidate.space_group == same.space_group
        for name, found in row.candidate.properties.items():
            # The same cell to eight decimals: networks return the same to rounding.
            assert found.value == pytest.approx(same.properties[name].value, rel=1e-3, abs=1e-3), name


def test_an_unfinished_screening_gives_the_last_row_of_each_name(screen_folder: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (screen_folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["candidate"]]
    anew = rows[0] | {"digest": "another", "id": "changed"}
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "results.jsonl").write_text(json.dumps(rows[1]) + "\n", encoding="utf-8")  # of the earlier screening
    os.utime(folder / "results.jsonl", (0, 0))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, anew]), encoding="utf-8")
    items = read_run(folder).items
    assert sorted(item.name for item in items) == sorted(row["name"] for row in rows)
    assert sum(item.columns.get("id") == "changed" for item in items) == 1


def test_only_those_that_pass_and_the_first(screen_folder: Path, tmp_path: Path) -> None:
    passing = [item.name for item in read_run(screen_folder).items if item.columns["passed"]]
    assert run(screen_folder, "extxyz", tmp_path / "top.extxyz", top=1).written == 1
    if passing:
        done = run(screen_folder, "extxyz", tmp_path / "a.extxyz", passed=True)
        assert (done.written, done.not_passing) == (len(passing), 2 - len(passing))
    else:
        with pytest.raises(ExportError, match="leave --passed out"):
            run(screen_folder, "extxyz", tmp_path / "a.extxyz", passed=True)


# ---------------------------------------------------------------- molecules


@pytest.fixture(scope="module")
def molecule_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("molecules") / "run"
    with CandidateWriter(folder, RunInfo("0", 0, {}), kind="molecule") as writer:
        for name, smiles in (("ethanol", "CCO"), ("olefin", "C/C=C\\F")):
            writer.write(molecule(name, smiles))
    return folder


@pytest.mark.parametrize("form", [form for form, one in FORMATS.items() if "molecule" in one.kinds])
def test_every_format_reads_back_as_the_same_molecules(form: str, molecule_folder: Path, tmp_path: Path) -> None:
    path = exported(molecule_folder, form, tmp_path)
    entries = list(read_structures([path], "molecule"))
    assert [one.error for one in entries] == ["", ""]
    assert [one.template for one in entries] == [item.candidate.template for item in read_run(molecule_folder).items]


# ---------------------------------------------------------------- what is refused


def test_a_format_of_the_other_kind_is_refused(design_folder: Path, molecule_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"for crystals \(ase-db, optimade.*got sdf"):
        exported(design_folder, "sdf", tmp_path)
    with pytest.raises(ExportError, match=r"for molecules .*got optimade"):
        exported(molecule_folder, "optimade", tmp_path)
    with pytest.raises(ExportError, match="got 'xyz'"):
        run(design_folder, "xyz", tmp_path / "x")


def test_nothing_is_overwritten_unless_asked(design_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(ExportError, match="which is there; add --overwrite"):
        run(design_folder, "optimade", path)
    assert path.read_text(encoding="utf-8") == "mine"
    assert run(design_folder, "optimade", path, overwrite=True).written == 2
    with pytest.raises(ExportError, match="which holds it"):
        run(design_folder, "poscar", design_folder, overwrite=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(ExportError, match="which holds others"):
        run(design_folder, "poscar", tmp_path / "folder", overwrite=True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "mine.json"]  # no scratch is left


@pytest.mark.parametrize(("name", "text"), [("candidates.jsonl", '{"name": 1}\n{}\n'), ("run.json", "{}")])
def test_a_damaged_run_is_told(name: str, text: str, design_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for file in ("candidates.jsonl", "run.json"):
        (folder / file).write_bytes((design_folder / file).read_bytes())
    (folder / name).write_text(text, encoding="utf-8")
    answer = CliRunner().invoke(app, ["export", str(folder), "--format", "optimade", "--out", str(tmp_path / "o")])
    assert answer.exit_code == 2, answer.output
    assert name in answer.output


def test_a_folder_that_is_no_run_and_one_without_candidates(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="expected a folder of `matgen design`"):
        run(tmp_path, "optimade", tmp_path / "o")
    with CandidateWriter(tmp_path / "empty", RunInfo("0", 0, {})):
        pass
    with pytest.raises(RunFolderError, match="a run without any"):
        run(tmp_path / "empty", "optimade", tmp_path / "o")


def test_a_path_that_cannot_be_written_is_told(design_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write"):
        run(design_folder, "optimade", tmp_path / "file" / "o.json")


def test_names_of_files_are_unique_and_plain() -> None:
    found = list(file_names(["a/b.cif#1", "a_b.cif_1", "A_B.CIF_1", "../..", "", "ß"]))
    assert len({one.lower() for one in found}) == 6
    assert not any(set(one) & set("/#.ß") - {"."} or one.startswith(".") for one in found)


def test_the_command_says_what_it_wrote(design_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["export", str(design_folder), "--format", "entries", "--top", "1"])
    assert answer.exit_code == 0, answer.output
    assert "1 structures are in some_design-entries.json" in answer.output
    assert (tmp_path / "some_design-entries.json").is_file()


def test_a_failing_verdict_is_told(hull: ReferenceHull, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    bad = Verdict("charge_balance", passed=False, value=1.0, unit="e", reason='no "balance", <i>at</i> all')
    with CandidateWriter(folder, RunInfo("0", 0, {})) as writer:
        writer.write(replace(with_energy("x", crystals()[0], hull), verdicts={"charge_balance": bad}))
    (one,) = json.loads(exported(folder, "optimade", tmp_path).read_text(encoding="utf-8"))["data"]
    assert one["attributes"]["_matgen_verdicts"]["charge_balance"]["reason"] == bad.reason
    assert one["attributes"]["_matgen_passed"] is False


def test_without_jobflow_one_line_says_what_to_install() -> None:
    code = ABSENT.format(names=("jobflow",)) + "import matgen.jobflow"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    last = answer.stderr.strip().splitlines()[-1]
    assert last == 'ModuleNotFoundError: expected jobflow for matgen.jobflow, found none; pip install "jobflow>=0.2"'
