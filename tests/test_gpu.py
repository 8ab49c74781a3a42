"""The laws of energies and samplers, of every training and of a whole design, on every device.

`pytest -m gpu` runs them on a CUDA device; the default tests run the same bodies on the CPU and on a simulated second
device. Relaxation has its own file, `test_relax_batch.py`; `test_device.py` compares sampling and the training of
networks for crystals with the CPU.
"""

import math
import os
from pathlib import Path

import pytest
import rdkit
import torch
from conftest import TextbookEntry
from test_device import trained
from test_diffusion import TETRAGONAL, mixture_score
from test_langevin import TRICLINIC, assert_moments, still, well
from torch import Tensor

from matgen.batch.neighbors import Edges, by_images, by_vesin
from matgen.energies.base import gradients
from matgen.energies.graph import GraphNetworkEnergy
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.request import Request
from matgen.generation.total_energy import state_energy
from matgen.runtime.devices import find_device
from matgen.samplers.diffusion import Schedule, diffuse
from matgen.samplers.initial_noise import renoise
from matgen.samplers.langevin import mala
from matgen.structures.conversion import described
from matgen.templates.batch import Geometry, TemplateBatch, concatenated
from matgen.templates.expand import expand
from matgen.templates.lattice import exponential
from matgen.templates.noise import karras_levels
from matgen.weights.models import load, load_models
from matgen.workflows.design import design


@pytest.fixture(scope="module")
def crystals(textbook: tuple[TextbookEntry, ...]) -> tuple[TemplateBatch, Geometry]:
    """Twelve crystals, in float64."""
    parts = [described(entry.structure) for entry in textbook[:24:2]]
    batch, geometry = concatenated([(TemplateBatch.of([template]), geometry) for template, geometry in parts])
    return batch, Geometry(geometry.lattice.double(), geometry.coords.double())


# ---------------------------------------------------------------- neighbours, energies and their gradients


def edges_of(edges: Edges) -> set[tuple[int, ...]]:
    rows = torch.cat([edges.centre[:, None], edges.neighbor[:, None], edges.offset.round().long()], dim=1).tolist()
    return {tuple(row) for row in rows}


def test_neighbours_are_those_of_vesin(crystals: tuple[TemplateBatch, Geometry], device: str) -> None:
    here, there = expand(*crystals), expand(crystals[0].to(device), crystals[1].to(device))
    for cutoff in (3.0, 6.0):
        assert edges_of(by_images(there, cutoff)) == edges_of(by_vesin(here, cutoff))


def test_exponentials_are_those_of_pytorch(device: str) -> None:
    """With their derivatives, and for cells far from any crystal."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(50, 3, 3, generator=generator, dtype=torch.float64)
    here = (raw + raw.mT).requires_grad_()
    assert here.detach().norm(dim=(1, 2)).max() > 5
    there = here.detach().to(device).requires_grad_()
    plain, found = torch.linalg.matrix_exp(here), exponential(there)
    torch.testing.assert_close(found.detach().cpu(), plain.detach(), rtol=1e-10, atol=1e-10)
    (slope,) = torch.autograd.grad(plain.square().sum(), here)
    (slope_there,) = torch.autograd.grad(found.square().sum(), there)
    torch.testing.assert_close(slope_there.cpu(), slope, rtol=1e-9, atol=1e-9)


def test_a_gradient_is_the_difference_of_energies(crystals: tuple[TemplateBatch, Geometry], device: str) -> None:
    """Of the graph network and of repulsion, in float64 along a random direction of all free parameters."""
    batch, geometry = crystals[0].to(device), crystals[1].to(device)
    energy = GraphNetworkEnergy(load("graph_energy").double().to(device)) + 3.0 * ShortRangeRepulsion()
    sigma = torch.full((batch.n_systems,), 0.2, dtype=torch.float64, device=device)
    generator = torch.Generator().manual_seed(0)
    along = Geometry(
        torch.randn(geometry.lattice.shape, generator=generator).double().to(device) * batch.free_lattice,
        torch.randn(geometry.coords.shape, generator=generator).double().to(device) * batch.free_coords,
    )
    value, slope = gradients(energy, batch, geometry, sigma)
    expected = (slope.lattice * along.lattice).sum(1)
    expected = expected.index_add(0, batch.site_system, (slope.coords * along.coords).sum(1))
    h = 1e-5

    def at(step: float) -> Tensor:
        moved = Geometry(geometry.lattice + step * along.lattice, geometry.coords + step * along.coords)
        return energy(expand(batch, moved), sigma).detach()

    torch.testing.assert_close(((at(h) - at(-h)) / (2 * h)).cpu(), expected.cpu(), rtol=1e-4, atol=1e-4)
    on_cpu = GraphNetworkEnergy(load("graph_energy").double()) + 3.0 * ShortRangeRepulsion()
    torch.testing.assert_close(value.detach().cpu(), on_cpu(expand(*crystals), sigma.cpu()).detach())


# ---------------------------------------------------------------- samplers


def test_an_exact_score_recovers_a_mixture(device: str) -> None:
    """Share, mean and width of two peaks, as in `test_diffusion.py`."""
    n, width, generator = 1000, 0.03, torch.Generator().manual_seed(0)
    templates = TemplateBatch.of([TETRAGONAL] * n)
    upper = torch.rand(n, 1, generator=generator) < 0.7
    exact = torch.where(upper, 0.1, -0.2) + width * torch.randn(n, 6, generator=generator, dtype=torch.float64)
    begun = renoise(templates, Geometry(exact * templates.free_lattice, still(templates).coords), 3.0, generator)
    there = templates.to(device)
    plain = mixture_score(templates, [0.3, 0.7], [-0.2, 0.1], width)

    def score(geometry: Geometry, sigma: Tensor) -> Geometry:
        return plain(geometry.to("cpu"), sigma.cpu()).to(device)

    schedule = Schedule(karras_levels(3.0, 0.02, 30), heun=True, corrector_steps=0)
    end = diffuse(score, there, begun.to(device), schedule=schedule, generator=generator).to("cpu")
    shape = end.lattice[:, 4]
    up = shape > -0.05
    assert abs(float(up.double().mean()) - 0.7) < 4 * math.sqrt(0.21 / n)
    for peak, mean in ((shape[up], 0.1), (shape[~up], -0.2)):
        assert abs(float(peak.mean()) - mean) < 4 * width / math.sqrt(len(peak)) + 0.01 * width
        assert abs(float(peak.std()) / width - 1) < 4 / math.sqrt(2 * len(peak)) + 0.01


def test_moments_of_a_harmonic_well(device: str) -> None:
    templates = TemplateBatch.of([TRICLINIC] * 600)
    there = templates.to(device)
    landscape = well(there, centre=0.1, width=0.05, kappa=3.0, angle=0.9)
    generator = torch.Generator().manual_seed(1)
    end, report = mala(
        landscape, there, still(templates).to(device), steps=150, adapt_steps=100, step_size=0.01, generator=generator
    )
    assert 0.4 < float(report.acceptance.mean()) < 0.75
    for number in range(6):
        assert_moments(end.lattice[:, number].cpu(), 0.1, 0.05**2)


def test_the_energy_of_a_request_is_that_of_the_cpu(crystals: tuple[TemplateBatch, Geometry], device: str) -> None:
    """Energies and slopes of the learned density and a target, as diffusion and Langevin steps use them (float32)."""
    request = Request.of(targets={"band_gap": 1.5})
    batch, geometry = crystals[0], Geometry(crystals[1].lattice.float(), crystals[1].coords.float())

    def found(where: str) -> tuple[Tensor, Tensor]:
        total = state_energy(request, Crystals(request, load_models(where)))
        sigma = torch.full((batch.n_systems,), 0.1, device=where)
        value, slope = gradients(total, batch.to(where), geometry.to(where), sigma)
        return value.detach().cpu(), slope.lattice.cpu()

    (here, slope_here), (there, slope_there) = found("cpu"), found(device)
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(slope_there, slope_here, rtol=1e-3, atol=1e-2)


# ---------------------------------------------------------------- training of networks for molecules


@pytest.fixture
def molecules(tmp_path: Path) -> Path:
    """A table of small molecules: made by RDKit, or carried to a machine that has no RDKit."""
    if carried := os.environ.get("MATGEN_TEST_MOLECULES"):
        return Path(carried)
    from test_molecule_training import table

    path = tmp_path / "molecules.npz"
    table().save(path)
    return path


@pytest.mark.parametrize("kind", ["graph_prior", "molecule_properties", "molecule_energy", "molecule_evaluator"])
def test_molecules_are_trained_on(
    kind: str, molecules: Path, tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses of two steps are those of the CPU, and the weights are read again."""
    from test_molecule_training import SMALL

    if kind == "graph_prior" and not hasattr(rdkit, "__version__"):
        pytest.skip("needs RDKit, which writes molecules as skeletons")
    monkeypatch.setattr("matgen.training.run.find_device", torch.device)
    monkeypatch.setitem(trained.__globals__, "SMALL_MODELS", SMALL)
    (here, _, _), (there, path, _) = (
        trained(kind, molecules, tmp_path / name, torch.device(where), 2)
        for name, where in (("here", "cpu"), ("there", device))
    )
    assert [line["loss"] for line in there] == pytest.approx([line["loss"] for line in here], rel=2e-2)
    assert load(kind, path).training is False


# ---------------------------------------------------------------- a whole design


@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_design_from_end_to_end(where: str, tmp_path: Path) -> None:
    """Proposed, relaxed and checked on one device."""
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and PyTorch finds none")
    assert find_device(where).type == where
    small = {"pool": 2, "move_steps": 4, "geometries": 2, "levels": 3, "refine_rounds": 1, "refine_steps": 2}
    found = design(
        formula="NaCl",
        n=1,
        seed=1,
        out=tmp_path / "run",
        resources={"device": where, "processes": 1},
        sampler=small,
        budget=2.0,
        allow_known=True,
        confidence=0.0,
        max_ehull=1.0,
    )
    assert found
    assert found[0].relaxation is not None
    assert found[0].relaxation.converged
    assert found[0].relaxation.potential.startswith("CHGNet")
    assert found[0].crystal.composition.reduced_formula == "NaCl"
