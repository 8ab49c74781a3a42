"""Relaxation in free parameters agrees with that of all atoms, in energies, forces, stresses and minima."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.units import GPa
from pymatgen.core import Lattice, Structure

from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.operations import Operations, operations
from matgen.relaxation.pool import relax_many
from matgen.relaxation.symmetric import primitive, relax
from matgen.structures.conversion import described, structures, without_symmetry
from matgen.structures.symmetry import space_group
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand, unit_directions

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"
NAMES = [
    "Cu_fcc",
    "NaCl_rock_salt",
    "SiO2_alpha_quartz",
    "Cu2ZnSnS4_kesterite",
    "MoS2_molybdenite_2h",
    "Bi2Te3_tetradymite",
]

Description = tuple[TemplateBatch, Geometry]


@pytest.fixture(scope="module")
def surface() -> CHGNetSurface:
    return CHGNetSurface()


def textbook_structure(name: str) -> Structure:
    return primitive(Structure.from_file(TEXTBOOK / f"{name}.cif"), 0.01)


def description(crystal: Structure, *, symmetric: bool = True) -> Description:
    template, geometry = described(crystal, 0.01) if symmetric else without_symmetry(crystal)
    return TemplateBatch.of([template]), Geometry(geometry.lattice.double(), geometry.coords.double())


def shaken(crystal: Structure, seed: int, strain: float = 0.03, move: float = 0.1) -> Structure:
    """The crystal with random changes of its free parameters."""
    generator = torch.Generator().manual_seed(seed)
    batch, geometry = description(crystal)
    _, length = unit_directions(batch, geometry)
    lattice = geometry.lattice + strain * batch.free_lattice * torch.randn(1, 6, generator=generator)
    coords = (
        geometry.coords + move * batch.free_coords * torch.randn(geometry.coords.shape, generator=generator) / length
    )
    return structures(expand(batch, Geometry(lattice, coords)))[0]


def symmetry_of(batch: TemplateBatch, geometry: Geometry) -> Operations:
    found, fits = operations(batch, expand(batch, geometry))
    assert fits.all()
    return found


@pytest.mark.parametrize("symmetric", [True, False])
def test_energy_and_stress_are_those_of_all_atoms(surface: CHGNetSurface, *, symmetric: bool) -> None:
    """One batch of unlike crystals against CHGNet on each whole crystal."""
    parts = [
        description(shaken(textbook_structure(name), seed), symmetric=symmetric) for seed, name in enumerate(NAMES)
    ]
    batch, geometry = concatenated(parts)
    slope = surface.slope(batch, geometry, symmetry_of(batch, geometry))
    for k, crystal in enumerate(structures(expand(batch, geometry))):
        whole = surface.model.predict_structure(crystal, task="efs")
        assert float(slope.energy[k]) / len(crystal) == pytest.approx(float(whole["e"]), abs=2e-5)
        np.testing.assert_allclose(slope.stress[k], whole["s"] * GPa, atol=3e-5)


@pytest.mark.parametrize("name", ["SiO2_alpha_quartz", "MoS2_molybdenite_2h"])
def test_slopes_are_differences_of_energies(surface: CHGNetSurface, name: str) -> None:
    batch, geometry = description(shaken(textbook_structure(name), 5))
    symmetry = symmetry_of(batch, geometry)
    slope = surface.slope(batch, geometry, symmetry)
    generator = torch.Generator().manual_seed(0)
    along_lattice = batch.free_lattice * torch.randn(1, 6, generator=generator)
    along_coords = batch.free_coords * torch.randn(geometry.coords.shape, generator=generator)
    h = 1e-3

    def energy(sign: int) -> float:
        moved = Geometry(geometry.lattice + sign * h * along_lattice, geometry.coords + sign * h * along_coords)
        return float(surface.slope(batch, moved, symmetry).energy[0])

    expected = float((slope.lattice * along_lattice).sum() + (slope.coords * along_coords).sum())
    assert (energy(1) - energy(-1)) / (2 * h) == pytest.approx(expected, rel=0.01, abs=0.05)


def test_crystals_without_angles_have_energies(surface: CHGNetSurface) -> None:
    """All bonds of caesium are longer than the cutoff of angles."""
    caesium = Structure(Lattice([[-3.1, 3.1, 3.1], [3.1, -3.1, 3.1], [3.1, 3.1, -3.1]]), ["Cs"], [[0, 0, 0]])
    batch, geometry = description(caesium)
    slope = surface.slope(batch, geometry, symmetry_of(batch, geometry))
    assert float(slope.energy[0]) == pytest.approx(float(surface.model.predict_structure(caesium)["e"]), abs=2e-5)


def test_the_minimum_is_the_one_that_all_atoms_find(surface: CHGNetSurface) -> None:
    initial = [shaken(textbook_structure(name), seed) for seed, name in enumerate(NAMES[:4])]
    found = {
        index: (final, report)
        for index, final, report in relax_batch(((i, s, math.inf) for i, s in enumerate(initial)), surface)
    }
    for index, start in enumerate(initial):
        final, report = found[index]
        _, expected = relax(start, chgnet_calculator())
        assert report.converged
        assert expected.converged
        assert report.potential == expected.potential
        assert report.energy == pytest.approx(expected.energy, abs=2e-3)
        assert report.energy < report.energy_before
        assert space_group(final, 1e-3).number == space_group(start, 1e-3).number
        again = surface.model.predict_structure(final, task="ef")
        assert float(again["e"]) == pytest.approx(report.energy, abs=2e-5)
        assert np.linalg.norm(again["f"], axis=1).max() == pytest.approx(report.max_force, abs=1e-3)


def test_without_symmetry_a_displaced_atom_relaxes_back(surface: CHGNetSurface) -> None:
    """A displaced atom relaxes back to the symmetric crystal, in P1."""
    crystal = textbook_structure("NaCl_rock_salt")
    moved = crystal.copy()
    moved.translate_sites([0], [0.03, 0.01, 0.0])
    free = RelaxConfig(keep_symmetry=False, fmax=0.005)
    ((_, final, report),) = relax_batch([(0, moved, math.inf)], surface, free)
    ((_, _, symmetric),) = relax_batch([(0, crystal, math.inf)], surface)
    assert report.converged
    assert report.energy == pytest.approx(symmetric.energy, abs=2e-3)
    assert space_group(final, 0.1).number == 225


def test_the_number_of_slots_does_not_matter(surface: CHGNetSurface) -> None:
    tasks = [(i, shaken(textbook_structure(name), 3 + i), math.inf) for i, name in enumerate(NAMES[:4])]
    alone = {index: report.energy for index, _, report in relax_batch(tasks, surface, slots=1)}
    together = {index: report.energy for index, _, report in relax_batch(tasks, surface, slots=3)}
    assert alone == pytest.approx(together, abs=1e-4)


def test_a_hopeless_relaxation_ends_early_and_another_does_not(surface: CHGNetSurface) -> None:
    start = shaken(textbook_structure("SiO2_alpha_quartz"), 7, strain=0.06)
    ((_, _, plain),) = relax_batch([(0, start, math.inf)], surface)
    ((_, _, hopeful),) = relax_batch([(0, start, plain.energy + 0.05)], surface)
    ((_, _, hopeless),) = relax_batch([(0, start, plain.energy - 2.0)], surface)
    assert hopeful == replace(plain, seconds=hopeful.seconds)
    assert not hopeless.converged
    assert hopeless.reason.startswith("hopeless")
    assert hopeless.steps < plain.steps


def test_what_free_parameters_cannot_describe_is_left_out(surface: CHGNetSurface) -> None:
    isolated = Structure(Lattice.cubic(20.0), ["Na"], [[0, 0, 0]])
    unknown = Structure(Lattice.cubic(4.0), ["Fm"], [[0, 0, 0]])
    infinite = Structure(Lattice.cubic(4.0), ["Na"], [[math.nan, 0, 0]])
    assert list(relax_batch([(i, s, math.inf) for i, s in enumerate([isolated, unknown, infinite])], surface)) == []
    reports = {outcome.index: outcome.report for outcome in relax_many([isolated, unknown, infinite])}
    assert all(report.reason.startswith("failed") for report in reports.values())
    assert "isolated" in reports[0].reason


class Deadly(Structure):
    """A structure that kills the process which reads it."""

    def __reduce__(self) -> tuple:
        return os._exit, (1,)


def test_a_deadly_structure_takes_no_other_with_it() -> None:
    copper = textbook_structure("Cu_fcc")
    outcomes = {
        outcome.index: outcome.report for outcome in relax_many([copper, Deadly.from_sites(copper), copper], n_jobs=2)
    }
    assert "died" in outcomes[1].reason
    assert sorted(outcomes) == [0, 1, 2]
    assert outcomes[0].converged
    assert outcomes[2].converged
