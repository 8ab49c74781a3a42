"""Phonons by any potential: laws of the lattice, known instabilities, and what is refused."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.phonons import Phonons as AsePhonons
from ase.spacegroup import crystal
from phonopy.structure.atoms import PhonopyAtoms
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from matgen import screen
from matgen.generation.errors import RequestError
from matgen.generation.request import Request
from matgen.phonons import PhononConfig, PhononError, Phonons, elasticity, phonons
from matgen.phonons.asked import UNITS, LatticeError, check_asked, time_text
from matgen.phonons.checks import with_lattice_checks
from matgen.phonons.elastic_tensor import eigenvalues
from matgen.phonons.elasticity import Elasticity
from matgen.phonons.frequencies import Lowest, at, distance_from_gamma, told
from matgen.phonons.supercell import SupercellError, shortest, smallest_supercell
from matgen.relaxation.calculators import chgnet_calculator
from matgen.report.columns import columns, values
from matgen.screening.config import ScreenConfig, ScreenError
from matgen.structures.attached_files import attached_path
from matgen.structures.candidate import Candidate, Relaxation, SpaceGroup
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.export import CandidateWriter
from matgen.structures.record import from_record, to_record
from matgen.structures.run_report import RunInfo

SMALL = PhononConfig(length=7.0, max_atoms=60, length_if_uncertain=7.0, mesh=15.0)
"""Enough for forces of short range."""

HALF = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.5], [0.25, 0.5, 0.75]])
"""Wave vectors that a 4 × 4 × 4 supercell repeats."""

argon = partial(LennardJones, sigma=3.4, epsilon=0.0104, rc=8.0, smooth=True)
"""Its face-centred cubic crystal is stable, its body-centred one is not (Born and Huang, 1954)."""


@pytest.fixture(scope="module")
def copper() -> Phonons:
    return phonons(bulk("Cu"), EMT(), PhononConfig(length=10.0, max_atoms=64, mesh=20.0))


@pytest.fixture(scope="module")
def perovskite() -> Phonons:
    cubic = crystal(
        ["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[3.94] * 3 + [90] * 3
    )
    return phonons(cubic, "chgnet", SMALL)


def test_frequencies_are_those_of_another_program(copper: Phonons, tmp_path: Path) -> None:
    atoms = AseAtomsAdaptor.get_atoms(copper.crystal)
    other = AsePhonons(atoms, EMT(), supercell=(4, 4, 4), delta=0.03, name=tmp_path / "ase")
    other.run()
    other.read(acoustic=True)
    expected = other.band_structure(HALF) / (units._hplanck / units._e * 1e12)
    # The supercells differ; the range of EMT, 6 Å, lies within half of either. Differences are anharmonic, 0.03 Å.
    assert at(copper.constants, HALF) == pytest.approx(expected, abs=0.03)
    assert at(copper.constants, HALF[:1])[0] == pytest.approx([5.5, 5.5, 8.1], abs=0.2)  # EMT; 5.1, 5.1, 7.2 measured


def test_acoustic_modes_are_zero_at_gamma_and_the_rest_is_positive(copper: Phonons) -> None:
    assert copper.acoustic < 1e-3
    assert copper.stable
    assert copper.lowest.thz > 0
    assert copper.verdict.passed
    assert "lowest frequency" in copper.verdict.reason
    assert at(copper.constants, np.array([[0.0, 0.01, 0.01]]))[0].min() > 0  # linear dispersion


def test_forces_obey_the_acoustic_sum_rule(perovskite: Phonons) -> None:
    constants = perovskite.constants.force_constants
    assert np.abs(constants.sum(axis=0)).max() < 1e-6
    assert perovskite.acoustic < 1e-2


def test_tilts_of_octahedra_are_found_in_a_cubic_perovskite(perovskite: Phonons) -> None:
    # Octahedra of SrTiO3 rotate at R below 105 K: oxygen moves, at q = (1/2, 1/2, 1/2).
    verdict = perovskite.verdict
    assert not verdict.passed
    assert verdict.value < -0.5
    assert np.abs(perovskite.lowest.q) == pytest.approx([0.5, 0.5, 0.5])
    assert "[R]" in verdict.reason
    assert "O moves (100%)" in verdict.reason
    assert perovskite.heat is None


def test_a_close_packed_crystal_of_argon_is_stable_and_a_body_centred_one_is_not() -> None:
    config = PhononConfig(length=9.0, max_atoms=32, length_if_uncertain=9.0, mesh=15.0)
    assert phonons(bulk("Ar", "fcc", a=5.26), argon(), config).stable
    assert not phonons(bulk("Ar", "bcc", a=4.2), argon(), config).stable


def test_the_heat_capacity_nears_that_of_dulong_and_petit(copper: Phonons) -> None:
    found = copper.heat
    assert found is not None
    classical = 3 * units.kB / units.J * units.mol
    assert 0.9 * classical < found.heat_capacity < classical
    # F = U - TS; both by an independent sum over the modes of a mesh.
    copper.constants.run_mesh(20.0, is_gamma_center=True)
    modes, weights = copper.constants.mesh.frequencies, copper.constants.mesh.weights
    energy = np.where(modes > 1e-3, modes * units._hplanck / units._e * 1e12, np.nan)
    each = energy / 2 + units.kB * 300 * np.log(1 - np.exp(-energy / (units.kB * 300)))
    assert found.free_energy == pytest.approx(np.nansum(each * weights[:, None]) / weights.sum(), abs=1e-4)


def test_the_density_of_states_counts_all_modes(copper: Phonons) -> None:
    found = copper.spectrum
    assert np.trapezoid(found.density, found.frequency) == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("matrix", [[[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[1, 0, 0], [1, 1, 0], [0, 0, 1]]])
def test_another_cell_another_origin_and_a_rotation_change_nothing(matrix: list[list[int]]) -> None:
    salt = crystal(["Cu", "Au"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=221, cellpar=[2.96] * 3 + [90] * 3)
    turned = Structure(
        Lattice(np.array(matrix) @ salt.cell.array), list(salt.numbers), salt.positions + 0.3, coords_are_cartesian=True
    )
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = Structure(Lattice(turned.lattice.matrix @ turn), turned.species, turned.frac_coords)
    one, other = phonons(salt, EMT(), SMALL), phonons(turned, EMT(), SMALL)
    assert len(one.constants.supercell) == len(other.constants.supercell)
    assert other.gamma == pytest.approx(one.gamma, abs=5e-3)
    assert other.lowest.thz == pytest.approx(one.lowest.thz, abs=0.02)  # meshes of the turned cell lie elsewhere


def test_a_mode_that_is_imaginary_by_interpolation_alone_is_told_and_not_counted(copper: Phonons) -> None:
    between = Lowest(-1.0, np.array([0.1, 0.0, 0.1]), np.array([1.0]))
    found = replace(copper, near_gamma=between)
    assert found.uncertain
    assert not copper.uncertain
    assert found.verdict.passed
    assert found.verdict.value == copper.verdict.value > 0
    assert "imaginary mode of 1.00i THz" in found.verdict.reason
    assert "is not counted: a larger supercell would tell" in found.verdict.reason
    assert "interpolated" not in found.verdict.reason
    assert found.heat is None
    assert found.record["lowest_near_gamma_thz"] == -1.0
    further = replace(copper, lowest=between)
    assert further.uncertain
    assert not further.verdict.passed
    assert ", interpolated," in further.verdict.reason
    assert not replace(further, exact=between).uncertain


def test_an_interpolated_mode_counts_unless_it_is_nearer_to_gamma_than_the_supercell_tells() -> None:
    """A body-centred crystal of argon shears at N, (0, 0, 1/2), which 3 × 3 × 3 cells do not repeat."""
    config = PhononConfig(length=9.0, max_atoms=32, max_atoms_if_uncertain=32, mesh=15.0, tolerance=0.4)
    found = phonons(bulk("Ar", "bcc", a=4.2), argon(), config)
    assert len(found.constants.supercell) == 27
    assert found.uncertain
    assert not found.stable
    assert np.abs(found.lowest.q).tolist() == [0, 0, 0.5]
    assert found.exact.thz > -0.4 > found.lowest.thz
    q = np.array([[0, 0, 0.5], [0, 0, 0.2], [0.9, 0, 0], [1 / 3, 0, 0], [1, 1, 0]])
    assert told(found.constants, q).tolist() == [True, False, False, True, False]
    edge = np.cbrt(2 * found.crystal.volume)
    assert distance_from_gamma(found.constants, q[:1])[0] == pytest.approx(np.sqrt(0.5) / edge)


def test_a_larger_supercell_is_taken_where_the_first_leaves_it_open() -> None:
    small = PhononConfig(
        length=9.0, max_atoms=32, length_if_uncertain=12.5, max_atoms_if_uncertain=70, mesh=15.0, tolerance=0.4
    )
    assert len(phonons(bulk("Ar", "bcc", a=4.2), argon(), small).constants.supercell) == 54
    assert len(phonons(bulk("Ar"), argon(), small).constants.supercell) <= 32  # which is stable


def test_a_larger_supercell_changes_little(copper: Phonons) -> None:
    larger = phonons(bulk("Cu"), EMT(), PhononConfig(length=12.6, max_atoms=125, mesh=20.0))
    assert len(larger.constants.supercell) > len(copper.constants.supercell)
    assert at(larger.constants, HALF[:3]) == pytest.approx(at(copper.constants, HALF[:3]), abs=0.05)


def test_phonopy_reads_the_file_back(copper: Phonons, tmp_path: Path) -> None:
    path = tmp_path / "copper.yaml"
    path.write_text(copper.yaml, encoding="utf-8")
    read = phonopy.load(path, log_level=0)
    assert at(read, HALF) == pytest.approx(at(copper.constants, HALF), abs=1e-3)


def test_the_record_is_json_and_says_what_the_verdict_says(perovskite: Phonons) -> None:
    record = json.loads(json.dumps(perovskite.record, allow_nan=False))
    assert record["text"] == perovskite.verdict.reason
    assert record["stable"] is False
    assert len(record["bands"]["x"]) == len(record["bands"]["frequencies"]) == len(record["bands"]["q"])
    assert np.shape(record["bands"]["frequencies"])[1] == 15
    assert {tick["label"] for tick in record["bands"]["ticks"]} == {"Γ", "X", "M", "R"}
    assert min(map(min, record["bands"]["frequencies"])) == pytest.approx(record["lowest_thz"], abs=0.01)
    assert record["at_300_K"] is None
    assert sum(record["shares"]) == pytest.approx(1.0, abs=1e-3)


# ---------------------------------------------------------------- supercells


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("fcc", bulk("Cu")),
        ("bcc", bulk("Fe")),
        ("hcp", bulk("Mg")),
        ("diamond", bulk("Si")),
        (
            "triclinic",
            Atoms(
                "NaCl",
                cell=[[4, 0, 0], [0.5, 5, 0], [0.3, 0.7, 6]],
                pbc=True,
                scaled_positions=[[0, 0, 0], [0.4, 0.3, 0.6]],
            ),
        ),
    ],
)
def test_a_supercell_is_long_enough_and_keeps_the_point_group(name: str, structure: Atoms) -> None:
    primitive = AseAtomsAdaptor.get_structure(structure)
    matrix = smallest_supercell(primitive, 9.0, 200, 1e-3)
    assert np.linalg.det(matrix) > 0
    assert shortest(matrix.T @ primitive.lattice.matrix) >= 9.0, name
    cell = PhonopyAtoms(
        numbers=primitive.atomic_numbers, cell=primitive.lattice.matrix, scaled_positions=primitive.frac_coords
    )
    whole = phonopy.Phonopy(cell, supercell_matrix=matrix, primitive_matrix="P")
    alone = phonopy.Phonopy(cell, supercell_matrix=np.eye(3, dtype=int), primitive_matrix="P")
    assert len(whole.symmetry.pointgroup_operations) == len(alone.symmetry.pointgroup_operations), name


def test_no_smaller_diagonal_supercell_is_as_long() -> None:
    primitive = AseAtomsAdaptor.get_structure(bulk("Cu"))
    size = round(np.linalg.det(smallest_supercell(primitive, 9.0, 200, 1e-3)))
    for n in range(1, 6):
        if n**3 < size:
            assert shortest(n * primitive.lattice.matrix) < 9.0


def test_few_atoms_make_a_shorter_supercell_and_too_few_are_refused() -> None:
    primitive = AseAtomsAdaptor.get_structure(bulk("Si"))
    matrix = smallest_supercell(primitive, 30.0, 20, 1e-3)
    assert 2 * round(np.linalg.det(matrix)) <= 20
    with pytest.raises(SupercellError, match="2 atoms, at most 1"):
        smallest_supercell(primitive, 5.0, 1, 1e-3)


# ---------------------------------------------------------------- elasticity


def test_the_elastic_tensor_is_the_curvature_of_the_energy() -> None:
    found = elasticity(bulk("Cu"), EMT())
    atoms = AseAtomsAdaptor.get_atoms(found.crystal)

    def energy(strain: np.ndarray) -> float:
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        strained.calc = EMT()
        return float(strained.get_potential_energy())

    step, volume = 5e-3, atoms.get_volume() * units.GPa
    tension, shear = np.diag([step, 0, 0]), step / 2 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    for strain, expected in ((tension, found.tensor[0, 0]), (shear, found.tensor[5, 5])):
        curvature = (energy(strain) - 2 * energy(0 * strain) + energy(-strain)) / step**2 / volume
        assert curvature == pytest.approx(expected, rel=0.05)  # steps of the tensor are 0.01
    assert found.born_stable
    assert found.bulk == pytest.approx(134, abs=10)  # EMT's own
    assert found.verdict.passed


def test_the_tensor_turns_with_the_crystal() -> None:
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    plain = elasticity(bulk("Cu"), EMT())
    atoms = bulk("Cu")
    atoms.set_cell(atoms.cell.array @ turn, scale_atoms=True)
    turned = elasticity(atoms, EMT())
    assert turned.stiffness == pytest.approx(plain.stiffness, rel=0.02)
    assert turned.bulk == pytest.approx(plain.bulk, rel=0.02)


def test_borns_criterion_rejects_a_tensor_that_is_soft_in_one_strain() -> None:
    cubic = np.zeros((6, 6))
    cubic[:3, :3] = 120.0
    cubic[range(3), range(3)] = 100.0  # C11 < C12: unstable against tetragonal strain, though K is positive
    cubic[range(3, 6), range(3, 6)] = 50.0
    report = Relaxation(True, "converged", 0, 0.0, 0.0, 0.0, 0.0, 0.0, "none")
    found = Elasticity(AseAtomsAdaptor.get_structure(bulk("Cu")), report, cubic)
    assert eigenvalues(cubic) == pytest.approx([-20, -20, 100, 100, 100, 340])
    assert not found.born_stable
    assert not found.verdict.passed
    assert "Born" in found.verdict.reason
    assert found.record["shear"] is None


# ---------------------------------------------------------------- what is refused


class WithoutStress(EMT):
    implemented_properties = ["energy", "forces"]  # noqa: RUF012 (as ASE's)


class NotFinite(Calculator):
    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        large = len(self.atoms) > 1
        self.results = {
            "energy": 0.0,
            "forces": np.full((len(self.atoms), 3), np.nan if large else 0.0),
            "stress": np.zeros(6),
        }


@pytest.mark.parametrize(
    ("structure", "calculator", "message"),
    [
        (bulk("Cu"), WithoutStress(), "without stress"),
        (bulk("Cu"), NotFinite(), "not finite"),
        (bulk("Si"), EMT(), "does not relax"),  # which EMT does not know
        (Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.7]]), EMT(), "a molecule has vibrations"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), EMT(), "repeats along three axes"),
        (Structure(Lattice.cubic(3.6), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]), EMT(), "partial occupancies"),
        (Structure(Lattice.cubic(20.0), ["Cu"], [[0, 0, 0]]), EMT(), "do not act on each other"),
        (Structure(Lattice.cubic(3.6), ["Cu", "Cu"], [[0, 0, 0], [0.001, 0, 0]]), EMT(), "closer than 0.5 Å"),
        (Structure(Lattice.cubic(3.6), ["Cu"], [[np.nan, 0, 0]]), EMT(), "not finite"),
        (None, EMT(), "got NoneType"),
    ],
)
def test_what_has_no_phonons_is_told(structure: Any, calculator: Calculator, message: str) -> None:
    with pytest.raises(PhononError, match=message):
        phonons(structure, calculator, SMALL)


def test_a_cell_above_the_limit_is_told() -> None:
    with pytest.raises(PhononError, match=r"in Python, phonons\(crystal, config=PhononConfig\(max_atoms=200\)\) does"):
        phonons(bulk("Cu", "hcp", a=2.55, covera=1.63), EMT(), PhononConfig(max_atoms=1))
    with pytest.raises(PhononError, match="less than 5 Å"):
        phonons(bulk("Cu"), EMT(), PhononConfig(max_atoms=2))


def candidate(atoms: Atoms) -> Candidate:
    structure = AseAtomsAdaptor.get_structure(atoms)
    return Candidate("one", structure, structure, None)


def test_a_candidate_gets_verdicts_and_files_or_reasons() -> None:
    found = with_lattice_checks(candidate(bulk("Cu")), EMT(), ["phonons", "elasticity"])
    assert {name: verdict.passed for name, verdict in found.verdicts.items()} == {"phonons": True, "elasticity": True}
    assert set(found.files) == {"phonons/json", "phonons/yaml", "elasticity/json"}
    assert json.loads(found.files["elasticity/json"])["born_stable"] is True
    silent = with_lattice_checks(candidate(bulk("Si")), EMT(), ["phonons", "elasticity"])
    assert not silent.files
    assert all("not assessed" in verdict.reason for verdict in silent.verdicts.values())
    assert not any(verdict.passed for verdict in silent.verdicts.values())


def test_phonons_in_the_given_cell_keep_it_and_the_elastic_tensor_does_not() -> None:
    strained = bulk("Cu", a=3.7)  # 3.59 by EMT
    free, kept = (with_lattice_checks(candidate(strained), EMT(), UNITS, keep_cell=keep) for keep in (False, True))
    low = {keep: json.loads(one.files["phonons/json"]) for keep, one in ((False, free), (True, kept))}
    assert max(low[True]["dos"]["frequency"]) < 0.95 * max(low[False]["dos"]["frequency"])
    assert "in the given cell" in kept.verdicts["phonons"].reason
    assert "in the given cell" not in free.verdicts["phonons"].reason
    assert kept.files["elasticity/json"] == free.files["elasticity/json"]
    found = phonons(strained, EMT(), PhononConfig(keep_cell=True))
    assert found.crystal.volume == pytest.approx(strained.cell.volume)


def test_a_pressure_rules_out_an_elastic_tensor() -> None:
    check_asked(["phonons"], pressure=10.0)
    with pytest.raises(LatticeError, match="10 GPa"):
        check_asked(["elasticity"], pressure=10.0)


def test_the_time_is_told_before() -> None:
    assert time_text([], "chgnet") == ""
    assert "phonons" in time_text(["phonons"], "chgnet")
    assert "chgnet" in time_text(["elasticity"], "chgnet")


def test_chgnet_and_its_name_are_the_same_potential() -> None:
    structure = bulk("NaCl", "rocksalt", a=5.7)
    one, other = (phonons(structure, by, SMALL) for by in ("chgnet", chgnet_calculator))
    assert one.gamma == pytest.approx(other.gamma)
    assert one.potential == "CHGNet 0.3.0"


# ---------------------------------------------------------------- in screen and design

BY_EMT: dict[str, Any] = {"calculator": "ase.calculators.emt:EMT", "reference": "none", "known": "none"}


def test_a_screening_has_verdicts_columns_and_files_and_is_resumed(tmp_path: Path) -> None:
    what = [bulk("Cu"), bulk("Cu", "bcc", a=2.87)]
    rows = screen(what, phonons=True, elasticity=True, out=tmp_path, **BY_EMT)
    assert [row.failed for row in rows] == [(), ("phonons", "elasticity")]
    with (tmp_path / "results.csv").open(encoding="utf-8") as stream:
        lines = sorted(csv.DictReader(stream), key=lambda line: line["name"])
    assert [line["check_phonons"] for line in lines] == ["True", "False"]
    assert [float(line["lowest_phonon_THz"]) > 0 for line in lines] == [True, False]
    assert [float(line["least_stiffness_GPa"]) > 0 for line in lines] == [True, False]
    moduli = json.loads(attached_path(tmp_path, "elasticity/json", lines[0]["name"]).read_text(encoding="utf-8"))
    assert float(lines[0]["elastic_bulk_GPa"]) == pytest.approx(moduli["bulk"], abs=0.01)
    assert lines[1]["elastic_bulk_GPa"] == ""  # which is none of a crystal that a strain makes lower
    for row in rows:
        record = json.loads(attached_path(tmp_path, "phonons/json", row.name).read_text(encoding="utf-8"))
        assert record["text"] == row.verdicts["phonons"].reason
        phonopy.load(attached_path(tmp_path, "phonons/yaml", row.name), log_level=0)
    again = screen(what, phonons=True, elasticity=True, out=tmp_path, **BY_EMT)
    assert [row.verdicts["phonons"] for row in again] == [row.verdicts["phonons"] for row in rows]


def test_the_writer_of_candidates_keeps_their_files_and_removes_those_of_another_run(tmp_path: Path) -> None:
    structure = AseAtomsAdaptor.get_structure(bulk("Cu"))
    with_files = Candidate("0-Cu", structure, structure, SpaceGroup(225, "Fm-3m"), files={"phonons/json": "{}\n"})
    with CandidateWriter(tmp_path, RunInfo("1", 0, {}, {})) as writer:
        assert not writer.write(with_files).files
    path = attached_path(tmp_path, "phonons/json", "0-Cu")
    assert path.read_text(encoding="utf-8") == "{}\n"
    assert from_record(to_record(with_files)).files == with_files.files
    with CandidateWriter(tmp_path, RunInfo("2", 0, {}, {}), overwrite=True):
        assert not path.exists()


def test_the_table_of_a_design_and_its_report_have_what_was_asked_for(tmp_path: Path) -> None:
    asked = with_lattice_checks(candidate(bulk("Cu")), EMT(), ["phonons", "elasticity"])
    with CandidateWriter(tmp_path, RunInfo("1", 0, {}, {})) as writer:
        writer.write(replace(candidate(bulk("Cu")), name="plain"))
        writer.write(asked)
    with (tmp_path / "candidates.csv").open(encoding="utf-8") as stream:
        plain, line = csv.DictReader(stream)
    tensor = json.loads(attached_path(tmp_path, "elasticity/json", "one").read_text(encoding="utf-8"))
    bands = json.loads(attached_path(tmp_path, "phonons/json", "one").read_text(encoding="utf-8"))
    assert float(line["elastic_bulk_GPa"]) == pytest.approx(tensor["bulk"], abs=0.01)
    assert float(line["elastic_shear_GPa"]) == pytest.approx(tensor["shear"], abs=0.01)
    assert float(line["least_stiffness_GPa"]) == pytest.approx(min(tensor["stiffness_gpa"]), abs=0.01)
    assert float(line["lowest_phonon_THz"]) == pytest.approx(bands["lowest_thz"], abs=1e-3)
    assert not any(plain[name] for name in line if name.startswith(("elastic_", "least_", "lowest_")))
    assert "elastic_bulk_GPa_spread" not in line

    read = CandidateFile(tmp_path / "candidates.jsonl").read()
    shown = {one["key"]: one["unit"] for one in columns(read, [], "crystal")}
    names = ("elastic_bulk_GPa", "elastic_shear_GPa", "least_stiffness_GPa", "lowest_phonon_THz")
    assert {name: name.rpartition("_")[2] for name in names}.items() <= shown.items()
    cells = values(read[1])
    for name in names:
        assert cells[name] == pytest.approx(float(line[name]), abs=1e-3)
    assert not set(names) & {one["key"] for one in columns(read[:1], [], "crystal")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "molecule", "phonons": True}, "only a crystal has one"),
        ({"relax": "none", "phonons": True}, "a relaxation beside phonons"),
        ({"formula": "NaCl", "pressure": 5.0, "elasticity": True}, "5 GPa"),
    ],
)
def test_a_design_that_cannot_have_them_says_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises((RequestError, LatticeError), match=message):
        Request.of(**options)


def test_a_screening_of_molecules_has_none() -> None:
    with pytest.raises(ScreenError, match="phonons for a molecule"):
        ScreenConfig(kind="molecule", phonons=True)
