"""The path of a relaxation leads from the initial geometry downhill to its result, by any calculator."""

import io
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.units import GPa
from pymatgen.core import Lattice, Molecule, Structure

from matgen.generation.relaxation_settings import RelaxationConfig
from matgen.generation.request import Request
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.path import Step, relaxation_path
from matgen.relaxation.pool import relax_many
from matgen.relaxation.xtb import relax_molecule
from matgen.report.walk import walk
from matgen.search.recording import relaxation_frames
from matgen.structures.candidate import Candidate, Relaxation
from matgen.structures.symmetry import space_group
from matgen.workflows.design import run

GOLD = Structure(Lattice.cubic(3.5), ["Au", "Cu", "Cu", "Cu"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def argon() -> LennardJones:
    return LennardJones(sigma=3.4, epsilon=0.0104, rc=8.5, smooth=True)


def check(path: list[Step], material: Structure | Molecule, report: Relaxation) -> None:
    """Energies, at a pressure enthalpies, fall from that before the relaxation to that behind it."""
    first, energies = path[0][0], [energy for _, energy in path]
    work = report.pressure * GPa * first.volume / len(first) if isinstance(first, Structure) else 0.0
    assert len(path) > 2
    assert energies == sorted(energies, reverse=True)
    assert energies[0] == pytest.approx(report.energy_before + work, abs=2e-5)
    assert energies[-1] == pytest.approx(report.enthalpy, abs=2e-5)
    assert first.composition.reduced_formula == material.composition.reduced_formula


@pytest.mark.parametrize("name", ["emt", "lj"])
def test_the_path_of_any_calculator_is_that_of_its_relaxation(name: str) -> None:
    make, crystal = (EMT, GOLD) if name == "emt" else (argon, _argon_crystal())
    path = relaxation_path(crystal, make)
    (relaxed,) = relax_many([crystal], make)
    check(path, crystal, relaxed.report)
    assert np.allclose(path[-1][0].lattice.matrix, relaxed.structure.lattice.matrix, atol=1e-6)
    assert np.allclose(path[0][0].volume, crystal.volume / (len(crystal) / len(path[0][0])))


def _argon_crystal() -> Structure:
    cell = 5.0 / 2 * (np.ones((3, 3)) - np.eye(3))
    return Structure(cell, ["Ar"], [[0, 0, 0]])


def test_at_a_pressure_the_path_is_one_of_enthalpies() -> None:
    config = RelaxConfig(pressure=5.0)
    (relaxed,) = relax_many([GOLD], EMT, config)
    assert relaxed.report.work > 0
    check(relaxation_path(GOLD, EMT, config), GOLD, relaxed.report)


def test_the_path_of_chgnet_is_that_of_its_free_parameters() -> None:
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.3), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (relaxed,) = relax_many([salt], chgnet_calculator)
    check(relaxation_path(salt), salt, relaxed.report)


def test_the_path_of_a_molecule_is_that_of_xtb() -> None:
    water = Molecule(["O", "H", "H"], [[0, 0, 0], [1.05, 0, 0], [-0.35, 0.99, 0]])
    final, report = relax_molecule(water)
    path = relaxation_path(water)
    check(path, water, report)
    assert np.allclose(path[-1][0].cart_coords, final.cart_coords, atol=1e-6)


def test_frames_of_a_candidate_end_with_its_geometry() -> None:
    (relaxed,) = relax_many([GOLD], EMT)
    group = space_group(relaxed.structure)
    candidate = Candidate("one", relaxed.structure, GOLD, group, relaxation=relaxed.report)
    settings = RelaxationConfig(method="potential", calculator="ase.calculators.emt:EMT")
    frames = relaxation_frames(candidate, settings, "cpu")
    assert [frame.label for frame in frames[:2]] == ["relaxation step 0", "relaxation step 1"]
    assert (frames[-1].label, frames[-1].material) == ("relaxed", relaxed.structure)
    assert {(frame.stage, frame.unit) for frame in frames} == {("relaxation", "eV/atom")}


def test_a_design_by_a_calculator_of_an_import_path_is_recorded_and_shown(tmp_path: Path) -> None:
    asked = {"formula": "Cu3Au", "max_atoms": 8, "calculator": "ase.calculators.emt:EMT", "allow_known": True}
    run(Request.of(kind="crystal").updated(n=1, processes=1, record=True, **asked), tmp_path)
    (path,) = (tmp_path / "trajectories").glob("*.extxyz")
    frames = ase.io.read(io.StringIO(path.read_text(encoding="utf-8")), index=":", format="extxyz")
    relaxation = [atoms for atoms in frames if atoms.info["stage"] == "relaxation"]
    assert len(relaxation) > 2
    energies = [atoms.info["step_energy"] for atoms in relaxation]
    assert energies == sorted(energies, reverse=True)
    assert {atoms.info["step_energy_unit"] for atoms in relaxation} == {"eV/atom"}
    shown = walk(tmp_path, path.stem)
    assert shown is not None
    assert sum(frame["stage"] == "relaxation" for frame in shown["frames"]) > 1
