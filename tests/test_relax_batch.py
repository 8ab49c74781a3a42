"""Relaxations in batches end where one after another ends, on every device."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_relaxation import relaxed
from pymatgen.core import Lattice, Structure
from test_relax_free import NAMES, Description, description, shaken, textbook_structure

from matgen.batch.neighbors import neighbors
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.operations import joined, operations
from matgen.relaxation.pool import ON_GPU, relax_many
from matgen.relaxation.problem import RelaxationProblems
from matgen.relaxation.quotient_graph import quotient_graph
from matgen.structures.conversion import structures
from matgen.templates.batch import TemplateBatch, concatenated
from matgen.templates.expand import expand

CUTOFF, ANGLE_CUTOFF = 6.0, 3.0


@pytest.fixture(scope="module")
def some() -> Description:
    return concatenated([description(shaken(textbook_structure(name), seed)) for seed, name in enumerate(NAMES)])


def test_slopes_on_a_device_are_those_of_whole_crystals(some: Description, device: str) -> None:
    """Energy per atom, largest force, and stress against CHGNet on all atoms; stress and forces are float32."""
    batch, geometry = some[0].to(device), some[1].to(device)
    symmetry, fits = operations(batch, expand(batch, geometry))
    assert fits.all()
    problems = RelaxationProblems(batch, geometry, symmetry, geometry.lattice[:, 0], (0,) * 6, (0.0,) * 6)
    slope = CHGNetSurface(device).slope(batch, geometry, symmetry)
    forces = problems.max_force(geometry, slope.coords).tolist()
    whole = CHGNetSurface()
    for k, crystal in enumerate(structures(expand(*some))):
        expected = whole.model.predict_structure(crystal, task="efs")
        assert float(slope.energy[k]) / len(crystal) == pytest.approx(float(expected["e"]), abs=1e-5)
        assert forces[k] == pytest.approx(np.linalg.norm(expected["f"], axis=1).max(), rel=1e-4, abs=1e-4)
        np.testing.assert_allclose(slope.stress[k].cpu(), expected["s"] / 160.21766208, atol=3e-5)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_batch_ends_where_one_after_another_ends(device: str, *, symmetric: bool) -> None:
    names = NAMES if symmetric else NAMES[:2]
    initial = [shaken(textbook_structure(name), 20 + seed) for seed, name in enumerate(names)]
    config = RelaxConfig(keep_symmetry=symmetric, max_steps=40)
    tasks = [(10 * i, structure, math.inf) for i, structure in enumerate(initial)]
    found = {index: (final, report) for index, final, report in relax_batch(tasks, CHGNetSurface(device), config, 4)}
    assert sorted(found) == [10 * i for i in range(len(initial))]
    for i, structure in enumerate(initial):
        (final, report), plain = found[10 * i], relaxed(structure, CHGNetSurface(), config)
        assert report.reason == plain.reason
        # A step may fall on the other side of a threshold by the rounding of float32.
        assert abs(report.steps - plain.steps) <= 1
        assert report.energy == pytest.approx(plain.energy, abs=1e-4)
        np.testing.assert_allclose(final.lattice.abc, plain.structure.lattice.abc, rtol=2e-3)
        assert final.composition == plain.structure.composition


def test_the_hopeless_the_slow_and_the_stalled_end_as_one_after_another(device: str) -> None:
    start = shaken(textbook_structure("SiO2_alpha_quartz"), 7, strain=0.06)
    usual = RelaxConfig()
    for config, ceiling in (
        (usual, -9.8),
        (replace(usual, max_steps=2), math.inf),
        (replace(usual, patience=1, progress=1.0), math.inf),
        (replace(usual, max_volume_change=1.0001), math.inf),
    ):
        ((_, _, report),) = relax_batch([(0, start, ceiling)], CHGNetSurface(device), config)
        plain = relaxed(start, CHGNetSurface(), config, ceiling)
        assert not report.converged
        assert report.reason[:9] == plain.reason[:9]
        assert (report.steps, report.energy) == (plain.steps, pytest.approx(plain.energy, abs=1e-4))


def test_many_are_relaxed_on_another_device(device: str) -> None:
    """In this process, whatever the number of processes, and with the CPU for what free parameters cannot describe."""
    jobs = 1 if device == "cpu" else 2
    isolated = Structure(Lattice.cubic(20.0), ["Na"], [[0, 0, 0]])
    initial = [shaken(textbook_structure(NAMES[1]), 1), isolated, shaken(textbook_structure(NAMES[0]), 2)]
    assert len(initial) < ON_GPU.slots
    reports = {outcome.index: outcome.report for outcome in relax_many(initial, n_jobs=jobs, device=device)}
    assert [reports[i].converged for i in range(3)] == [True, False, True]
    assert "isolated" in reports[1].reason


# ---------------------------------------------------------------- symmetry and graph


def test_operations_map_atoms_onto_atoms(some: Description) -> None:
    """A rotation of the fractional coordinates and a translation common to all atoms, modulo the shift that is told."""
    batch, geometry = some
    state = expand(batch, geometry)
    symmetry, fits = operations(batch, state)
    assert fits.all()
    frac = torch.einsum("ni,nij->nj", state.positions, torch.linalg.inv(state.cell)[state.system_idx])
    for k, own in enumerate(frac.split(state.n_atoms.tolist())):
        alone = symmetry.select(torch.tensor([k]))
        image, shift = alone.image.reshape(-1, len(own)), alone.shift.reshape(-1, len(own), 3)
        moved = own @ alone.rotation.double()
        translation = own[image] + shift - moved
        assert float((translation - translation[:, :1]).abs().max()) < 1e-5
        assert (image.sort(1).values == torch.arange(len(own))).all()
        assert (alone.rotation.double().det().abs() - 1).abs().max() < 1e-9


def test_operations_are_selected_and_joined_as_they_were_made(some: Description) -> None:
    batch, geometry = some
    symmetry, _ = operations(batch, expand(batch, geometry))
    halves = [symmetry.select(torch.tensor(rows)) for rows in ([0, 1, 2], [3, 4, 5])]
    again = joined([halves[1], halves[0]]).select(torch.tensor([3, 4, 5, 0, 1, 2]))
    assert all(torch.equal(getattr(again, name), getattr(symmetry, name)) for name in vars(symmetry))


def test_atoms_without_the_symmetry_of_their_template_do_not_fit(some: Description) -> None:
    batch, geometry = some
    state = expand(batch, geometry)
    moved = state.positions.clone()
    first = int((state.n_atoms.cumsum(0) - state.n_atoms)[2])
    moved[first] += 0.1
    _, fits = operations(batch, replace(state, positions=moved))
    assert fits.tolist() == [True, True, False, True, True, True]


def test_kinds_of_edges_and_angles_count_all(some: Description, device: str) -> None:
    """Every edge around a representative, and all pairs of short edges at both ends of a bond."""
    batch, geometry = some[0].to(device), some[1].to(device)
    state = expand(batch, geometry)
    symmetry, _ = operations(batch, state)
    graph = quotient_graph(state, symmetry, CUTOFF, ANGLE_CUTOFF)
    plain = expand(*some)
    edges = neighbors(plain, CUTOFF)
    site = plain.orbits.site_idx[edges.centre]
    length = edges.vectors(plain).norm(dim=1)
    n_sites = len(some[0].site_element)
    counted = torch.zeros(n_sites, dtype=torch.long).index_add(0, graph.centre.cpu(), graph.count.cpu())
    assert torch.equal(counted, torch.bincount(site, minlength=n_sites))
    assert len(graph.centre) < len(edges.centre) / 2

    # Weighted by length, so that a wrong kind of bond would show.
    kinds = graph.edges.vectors(state).norm(dim=1).cpu()[graph.bond_edge.cpu()][graph.bond.cpu()]
    of_kinds = torch.zeros(n_sites, dtype=torch.double).index_add(0, graph.centre.cpu(), kinds * graph.count.cpu())
    of_edges = torch.zeros(n_sites, dtype=torch.double).index_add(0, site, length)
    torch.testing.assert_close(of_kinds, of_edges, rtol=1e-6, atol=1e-6)

    short = torch.bincount(site[length < ANGLE_CUTOFF], minlength=n_sites)
    bonds, seen = graph.angle_bonds.cpu(), {}
    for (first, _), count in zip(bonds.tolist(), graph.angle_count.tolist(), strict=True):
        seen[first] = seen.get(first, 0) + count
    for kind, count in seen.items():
        ends = [(int(a), int(b)) for a, b, k in zip(graph.centre, graph.neighbor, graph.bond, strict=True) if k == kind]
        assert count == int(short[ends[0][0]] + short[ends[0][1]]) - 2


def test_without_symmetry_every_edge_is_of_its_own_kind() -> None:
    batch, geometry = description(textbook_structure("SiO2_alpha_quartz"), symmetric=False)
    state = expand(batch, geometry)
    symmetry, _ = operations(batch, state)
    graph = quotient_graph(state, symmetry, CUTOFF, ANGLE_CUTOFF)
    assert isinstance(batch, TemplateBatch)
    assert len(graph.centre) == len(neighbors(state, CUTOFF).centre) == 2 * len(graph.bond_edge)
    assert (graph.count == 1).all()
    assert (graph.angle_count == 1).all()
