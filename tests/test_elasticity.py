"""Elastic tensors by linear response, against plain strains and relaxations."""

from collections.abc import Sequence

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from matgen.phonons import elastic_tensor as elasticity
from matgen.phonons.elastic_tensor import (
    EV_PER_A3,
    FACTORS,
    Response,
    basis,
    elastic_tensor,
    independent_atoms,
    independent_strains,
    is_positive,
    mandel,
    operations,
)


def by_emt(cells: Sequence[Structure]) -> list[Response]:
    found = []
    for cell in cells:
        atoms = AseAtomsAdaptor.get_atoms(cell)
        atoms.calc = EMT()
        found.append(Response(atoms.get_forces(), atoms.get_stress(voigt=False) * EV_PER_A3))
    return found


@pytest.fixture(scope="module")
def hexagonal() -> Structure:
    """Hexagonal copper at its minimum: two atoms, which move against each other under strain in the plane."""
    atoms = bulk("Cu", "hcp", a=2.55, covera=1.63)
    atoms.calc = EMT()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=200)
    return AseAtomsAdaptor.get_structure(atoms)


def relaxed_stress(crystal: Structure, strain: np.ndarray) -> np.ndarray:
    atoms = AseAtomsAdaptor.get_atoms(crystal)
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=1e-5, steps=200)
    return atoms.get_stress(voigt=False) * EV_PER_A3


@pytest.fixture
def small_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMT is smooth, so that differences may be small, and the response is linear."""
    monkeypatch.setattr(elasticity, "STRAIN", 1e-3)
    monkeypatch.setattr(elasticity, "MOVE", 1e-3)


@pytest.mark.usefixtures("small_differences")
def test_it_agrees_with_strained_and_relaxed_cells(hexagonal: Structure) -> None:
    tensor = np.array(elastic_tensor(hexagonal, by_emt).voigt) * np.outer(FACTORS, FACTORS)
    for mode in (0, 3, 5):
        step = 1e-3 * basis(mode)
        plain = mandel(relaxed_stress(hexagonal, step) - relaxed_stress(hexagonal, -step)) / 2e-3
        assert tensor[mode] == pytest.approx(plain, abs=0.5)  # GPa; of up to 200
    moved = by_emt([elasticity.strained(hexagonal, 1e-3 * basis(5))])[0].forces
    assert np.abs(moved).max() > 1e-3  # the atoms do relax


@pytest.mark.usefixtures("small_differences")
def test_symmetry_saves_cells_and_changes_nothing(hexagonal: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
    group = operations(hexagonal)
    assert len(group) == 24
    assert len(independent_strains(group)) == 3
    assert independent_atoms(group, 2) == [0]
    with_symmetry = np.array(elastic_tensor(hexagonal, by_emt).voigt)
    monkeypatch.setattr(elasticity, "operations", lambda crystal: operations(crystal)[:1])
    assert len(independent_strains(group[:1])) == 6
    assert with_symmetry == pytest.approx(np.array(elastic_tensor(hexagonal, by_emt).voigt), abs=0.5)


def test_a_crystal_that_is_no_minimum_is_told() -> None:
    assert not is_positive(elastic_tensor(AseAtomsAdaptor.get_structure(bulk("Cu", "bcc", a=2.9)), by_emt))
    assert is_positive(elastic_tensor(AseAtomsAdaptor.get_structure(bulk("Cu", "fcc", a=3.6)), by_emt))
    line = Structure(np.diag([5.0, 5.0, 2.4]), ["Cu", "Cu"], [[0.0, 0.0, 0.0], [0.3, 0.0, 0.5]])
    with pytest.raises(elasticity.ElasticityError, match="zone centre"):
        elastic_tensor(line, by_emt)
