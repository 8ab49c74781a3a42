"""GFN2-xTB relaxes to stable minima, independent of rotations, with the given charge, and never raises."""

import math

import numpy as np
import pytest
from ase.build import molecule as ase_molecule
from pymatgen.core.structure import Molecule
from scipy.spatial.transform import Rotation

from matgen.relaxation.force_constants import model_hessian
from matgen.relaxation.outcome import CONVERGED
from matgen.relaxation.xtb import POTENTIAL, XtbConfig, relax_molecule, relax_molecules
from matgen.relaxation.xtb_properties import GAP_SLOPE, XtbProperties, calibrated_gap, electronic
from matgen.runtime.config import ConfigError
from matgen.structures.rmsd import rmsd


def named(name: str, charge: int = 0) -> Molecule:
    """A molecule of ASE's G2 set."""
    atoms = ase_molecule(name)
    return Molecule(atoms.numbers.tolist(), atoms.positions, charge=charge)


def rattled(molecule: Molecule, distance: float = 0.05, seed: int = 0) -> Molecule:
    shift = np.random.default_rng(seed).normal(scale=distance, size=(len(molecule), 3))
    return Molecule(molecule.species, molecule.cart_coords + shift, charge=molecule.charge)


def turned(molecule: Molecule) -> Molecule:
    rotation = Rotation.from_euler("xyz", [0.3, 1.1, -2.0]).as_matrix()
    return Molecule(molecule.species, molecule.cart_coords @ rotation + [1.0, -2.0, 3.0], charge=molecule.charge)


@pytest.mark.parametrize("name", ["CH3CH2OH", "C6H6", "C2H2", "H2O"])
def test_a_relaxation_goes_down_to_a_minimum_and_stays_there(name: str) -> None:
    start = rattled(named(name))
    end, report = relax_molecule(start)
    assert report.converged
    assert report.reason == CONVERGED
    assert report.max_force < XtbConfig().fmax
    assert report.energy < report.energy_before
    assert report.potential == POTENTIAL
    again, second = relax_molecule(end)
    assert second.converged
    assert second.steps == 0
    assert rmsd(end, again) == pytest.approx(0.0, abs=1e-6)  # round-off of the alignment's square root


def test_the_order_of_atoms_and_the_initial_molecule_are_kept() -> None:
    start = rattled(named("CH3CH2OH"))
    before = start.cart_coords.copy()
    end, _ = relax_molecule(start)
    assert end.atomic_numbers == start.atomic_numbers
    np.testing.assert_array_equal(start.cart_coords, before)


def test_energies_are_per_atom() -> None:
    end, report = relax_molecule(named("H2O"))
    assert report.energy * 3 == pytest.approx(electronic(end).energy, abs=1e-5)  # the self-consistency's own accuracy


def test_nothing_depends_on_the_orientation() -> None:
    start = rattled(named("CH3CH2OH"))
    one, other = electronic(start), electronic(turned(start))
    # 1e-4 eV and D: levels are as accurate as the charges, which converge to about 1e-5 e.
    for name in ("energy", "homo", "lumo", "gap", "dipole"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4)
    (end, report), (turned_end, turned_report) = relax_molecule(start), relax_molecule(turned(start))
    # Both stop where no force exceeds 0.02 eV/Å: 1e-4 eV/atom and some hundredths of an ångström from each other.
    assert report.energy == pytest.approx(turned_report.energy, abs=1e-4)
    assert rmsd(end, turned_end) < 0.03


def test_water_has_the_dipole_and_the_angle_of_the_method() -> None:
    end, _ = relax_molecule(named("H2O"))
    assert end.get_angle(1, 0, 2) == pytest.approx(107.0, abs=1.5)
    assert electronic(end).dipole == pytest.approx(2.3, abs=0.2)


def test_methane_has_a_larger_gap_than_benzene() -> None:
    methane, benzene = (electronic(named(name)) for name in ("CH4", "C6H6"))
    assert methane.gap > benzene.gap > 0
    assert methane.gap == methane.lumo - methane.homo
    assert calibrated_gap(methane) > calibrated_gap(benzene)
    assert calibrated_gap(methane) - calibrated_gap(benzene) == pytest.approx(GAP_SLOPE * (methane.gap - benzene.gap))
    assert methane.dipole == pytest.approx(0.0, abs=1e-2)


def test_the_charge_is_honoured() -> None:
    neutral, cation = electronic(named("CH3")), electronic(named("CH3", charge=1))
    assert cation.energy - neutral.energy > 8.0  # the radical's ionisation energy is 9.8 eV
    end, _ = relax_molecule(rattled(named("CH3", charge=1)))
    assert end.charge == 1
    assert electronic(end).energy == pytest.approx(cation.energy, abs=0.2)


def test_a_radical_keeps_its_lone_electron() -> None:
    radical = named("CH3")
    end, report = relax_molecule(radical)
    assert radical.spin_multiplicity == end.spin_multiplicity == 2
    assert report.converged


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "overlap"),
        ([[0.0, 0.0, 0.0], [0.0, 0.0, 1e-6], [0.0, 0.0, 1.0]], "overlap"),
        ([[0.0, 0.0, 0.0], [0.0, 0.0, math.nan], [0.0, 0.0, 1.0]], "not finite"),
    ],
)
def test_an_invalid_geometry_leads_to_a_report(positions: list[list[float]], reason: str) -> None:
    start = Molecule(["C", "O", "O"], positions)
    end, report = relax_molecule(start)
    assert end is start
    assert not report.converged
    assert reason in report.reason
    found = electronic(start)
    assert reason in found.reason
    assert math.isnan(found.gap)
    assert math.isnan(calibrated_gap(found))


def test_an_unknown_element_leads_to_a_report() -> None:
    start = Molecule(["Fr", "H"], [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    assert "failed" in relax_molecule(start)[1].reason
    assert electronic(start).reason


def test_out_of_steps_gives_the_lowest_that_was_seen() -> None:
    start = rattled(named("CH3CH2OH"), 0.2)
    _, report = relax_molecule(start, XtbConfig(max_steps=2))
    assert not report.converged
    assert report.reason == "out of steps"
    assert report.energy <= report.energy_before


def test_each_of_many_molecules_yields_a_result() -> None:
    molecules = [named("CH4"), Molecule(["H", "H"], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), rattled(named("H2O"))]
    alone = {one.index: one for one in relax_molecules(iter(molecules))}
    pooled = {one.index: one for one in relax_molecules(iter(molecules), n_jobs=2)}
    assert set(alone) == set(pooled) == {0, 1, 2}
    for index, one in alone.items():
        assert one.report.converged == pooled[index].report.converged == (index != 1)
        np.testing.assert_allclose(one.structure.cart_coords, pooled[index].structure.cart_coords, atol=1e-5)


def test_the_config_is_checked_at_the_border() -> None:
    with pytest.raises(ConfigError, match="fmax"):
        XtbConfig(fmax=0.0)
    with pytest.raises(ConfigError, match="max_steps"):
        XtbConfig(max_steps=0)


def test_the_gap_of_a_failed_single_point_is_nan() -> None:
    assert math.isnan(XtbProperties(math.nan, math.nan, math.nan, math.nan, "failed: so").gap)


@pytest.mark.parametrize("name", ["CH3CH2OH", "C2H2", "C6H6", "SO2"])
def test_the_model_hessian_is_that_of_a_molecule_in_free_space(name: str) -> None:
    atoms = ase_molecule(name)
    hessian = model_hessian(atoms.numbers, atoms.positions)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-9)
    # Translations and rotations cost only the uniform part, so that six directions (five of a line) stay at 1 eV/Å².
    lowest = np.linalg.eigvalsh(hessian)
    assert lowest[0] == pytest.approx(1.0, abs=1e-6)
    shifts = np.tile(np.eye(3), (len(atoms), 1))
    rotations = np.stack([np.cross(axis, atoms.positions).ravel() for axis in np.eye(3)], 1)
    for moves in (shifts, rotations):
        np.testing.assert_allclose(hessian @ moves, moves, atol=1e-6)


def test_the_model_hessian_turns_with_the_molecule() -> None:
    atoms = ase_molecule("CH3CH2OH")
    rotation = Rotation.from_euler("xyz", [0.3, 1.1, -2.0]).as_matrix()
    whole = np.kron(np.eye(len(atoms)), rotation)
    hessian, other = (model_hessian(atoms.numbers, x) for x in (atoms.positions, atoms.positions @ rotation))
    np.testing.assert_allclose(whole.T @ hessian @ whole, other, atol=1e-9)
