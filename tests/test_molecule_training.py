"""Training on molecules: tables, element references, every network for a few steps, and that denoising is learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from matgen.datasets.molecules import LABELS, OLD_STEREO_SIGN, MoleculeTable
from matgen.nn.graph_energy import GraphEnergy, GraphEnergyConfig
from matgen.nn.trunk import TrunkConfig
from matgen.runtime.config import ConfigError
from matgen.targets.properties import MOLECULE_PROPERTIES
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.molecule import MoleculeTemplate, template_in_space
from matgen.training.config import TrainConfig, train_config
from matgen.training.denoising import denoising_loss, noised, turned_to
from matgen.training.graph_energy import GraphObjective
from matgen.training.graph_loss import GraphLoss
from matgen.training.loop import Schedule, fit
from matgen.training.molecule_evaluator import numbered
from matgen.training.molecule_negatives import MOLECULE_NEGATIVES
from matgen.training.molecules import element_references, molecule_targets
from matgen.training.run import train
from matgen.training.tables import DataError
from matgen.weights.kinds import NETWORKS, USED_BY
from matgen.weights.models import load

SMILES = (
    *("CCO", "CC(=O)O", "C1CC1", "C[C@H](N)C=O", "c1ccoc1", "CC#N", "OCC(F)F", "C/C=C/C", "CN(C)C=O", "C=CC=O", "CCN"),
    *("COC", "CC(C)=O", "C1CCOC1", "NC=O", "FC(F)F", "C#CCO", "C[NH2+]CC(=O)[O-]", "O=C1CC1", "CCCC", "CC(C)O", "N#CO"),
)


def table() -> MoleculeTable:
    templates, positions = [], []
    for smiles in SMILES:
        molecule = MoleculeTemplate.of(smiles).molecule
        assert rdDistGeom.EmbedMolecule(molecule, randomSeed=2) == 0
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
        template, place = template_in_space(molecule)
        templates.append(template)
        positions.append(torch.tensor(place - place.mean(0)).float())
    batch = TemplateBatch.of(templates)
    n = len(templates)
    heavy = torch.tensor([float((t.graph.elements > 1).sum()) for t in templates])
    slopes = torch.tensor([-0.3, 0.0, -0.3, 0.4, 9.0, -14.0, 4.0])
    labels = torch.tensor([7.0, -6.5, 0.5, 0.0, 0.0, 0.0, 0.0]) + heavy[:, None] * slopes
    return MoleculeTable(
        index=torch.arange(n) + 1,
        templates=batch,
        geometry=Geometry(torch.zeros(n, 6), torch.cat(positions)),
        split=(torch.arange(n) % 4 == 3).long(),
        labels=labels,
    )


@pytest.fixture(scope="module")
def molecules() -> MoleculeTable:
    return table()


@pytest.fixture(scope="module")
def stored(molecules: MoleculeTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "molecules.npz"
    molecules.save(path)
    return path


def test_a_table_comes_back_as_it_was(molecules: MoleculeTable, stored: Path) -> None:
    again = MoleculeTable.load(stored)
    assert again.templates.unbatch() == molecules.templates.unbatch()
    for name in ("charge", "relation", "pairs", "stereo_sites", "stereo_kind", "stereo_sign"):
        one, other = getattr(again.templates.graphs, name), getattr(molecules.templates.graphs, name)
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(again.geometry.coords, molecules.geometry.coords)
    torch.testing.assert_close(again.labels, molecules.labels)
    some = again.select(torch.tensor([4, 0]))
    assert some.templates.smiles == (molecules.templates.smiles[4], molecules.templates.smiles[0])


def test_a_table_of_an_earlier_version_is_read(molecules: MoleculeTable, stored: Path, tmp_path: Path) -> None:
    with np.load(stored) as raw:
        columns = {OLD_STEREO_SIGN if name == "stereo_sign" else name: raw[name] for name in raw}
    np.savez(tmp_path / "old.npz", **columns)
    old = MoleculeTable.load(tmp_path / "old.npz").templates.graphs
    torch.testing.assert_close(old.stereo_sign, molecules.templates.graphs.stereo_sign)


def test_element_references_are_recovered(molecules: MoleculeTable) -> None:
    truth = torch.zeros(95, dtype=torch.float64)
    truth[[1, 6, 7, 8, 9]] = torch.tensor([-2.0, -7.0, -6.0, -5.0, -4.0], dtype=torch.float64)
    element, system = molecules.templates.site_element, molecules.templates.site_system
    energy = torch.zeros(len(molecules), dtype=torch.float64).index_add(0, system, truth[element])
    labels = molecules.labels.clone()
    labels[:, LABELS.index("atomization_energy")] = energy.float()
    found = element_references(replace(molecules, labels=labels), torch.arange(len(molecules)))
    torch.testing.assert_close(found[1][truth != 0].double(), truth[truth != 0], rtol=0, atol=0.01)


def test_a_fold_depends_on_the_number_only() -> None:
    index = torch.arange(1, 5001)
    chosen = numbered(index, seed=3, share=0.5)
    assert float(chosen.float().mean()) == pytest.approx(0.5, abs=0.05)
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(0))
    assert torch.equal(numbered(index[order], 3, 0.5), chosen[order])
    assert not torch.equal(numbered(index, 4, 0.5), chosen)


SMALL = {
    "graph_prior": {"width": 16, "layers": 1, "heads": 2},
    "molecule_properties": {"width": 16, "layers": 1, "heads": 4, "hidden": 16},
    "molecule_energy": {"hidden": 16, "trunk": {"channels": 8, "layers": 1, "n_radial": 8, "graphs": True}},
    "molecule_evaluator": {"hidden": 16, "trunk": {"channels": 8, "layers": 1, "n_radial": 8, "graphs": True}},
}


@pytest.mark.parametrize("kind", USED_BY["molecule"])
def test_every_network_of_molecules_trains_and_is_read_back(kind: str, stored: Path, tmp_path: Path) -> None:
    schedule = {"steps": 3, "batch_size": 8, "validate_every": 100}
    config = train_config({"kind": kind, "model": SMALL[kind], "schedule": schedule})
    config = replace(config, data=stored, folder=tmp_path)
    found = train(config)
    assert found.figures
    model = load(kind, found.path)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    if kind != "graph_prior":
        assert {f"mae_{name}" for name in MOLECULE_PROPERTIES} <= found.figures.keys()


def test_molecules_need_their_own_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a prepared table"):
        train(TrainConfig("molecule_energy", GraphEnergyConfig(), data=tmp_path / "none.npz", folder=tmp_path))
    assert TrainConfig("molecule_energy").table_file.name == "molecules.npz"
    assert TrainConfig("graph_energy").table_file.name == "crystals.npz"


def test_only_energies_take_a_loss() -> None:
    with pytest.raises(ConfigError, match="heads belongs to kinds"):
        train_config({"kind": "molecule_evaluator", "heads": 3})
    with pytest.raises(ConfigError, match="expected heads as a number of epochs"):
        train_config({"kind": "molecule_energy", "heads": -1})
    with pytest.raises(ConfigError, match="at most 1"):
        train_config({"kind": "molecule_energy", "loss": {"real_share": 0.8, "own_share": 0.3}})
    with pytest.raises(ConfigError, match="belongs to kinds"):
        train_config({"kind": "molecule_evaluator", "loss": {}})
    assert set(SMALL) == set(USED_BY["molecule"]) <= set(NETWORKS)


@pytest.mark.slow
def test_denoising_is_learned(molecules: MoleculeTable, tmp_path: Path) -> None:
    # A small network, 300 steps on twenty molecules: the residual at 0.1 Å, one without displacements, must fall.
    torch.manual_seed(0)
    rows = torch.arange(len(molecules))
    loss = GraphLoss(median_sigma=0.1, spread_sigma=0.3, sample_share=0.0, contrast=0.1, properties=0.01)
    objective = GraphObjective(molecules, rows, rows, molecule_targets(molecules), loss, MOLECULE_NEGATIVES)
    model = GraphEnergy(GraphEnergyConfig(TrunkConfig(channels=16, layers=2, n_radial=16, graphs=True), hidden=32))
    fitted = fit(model, objective, Schedule(steps=300, batch_size=22, warmup=20, ema=0.9), tmp_path).eval()
    generator = torch.Generator().manual_seed(5)
    sigma = torch.full((len(rows),), 0.1)
    dirty, back = noised(molecules.templates, molecules.geometry, sigma, generator)
    with torch.no_grad():
        output = fitted(expand(molecules.templates, dirty), sigma)
        left, _ = denoising_loss(output, molecules.templates, dirty, back, sigma)
    assert float(left) < 0.5


def turned(geometry: Geometry, batch: TemplateBatch, seed: int) -> Geometry:
    """Return every molecule rotated and moved at random."""
    sample = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(batch.n_systems, 3, 3, generator=sample))[0]
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]
    shift = torch.randn(batch.n_systems, 3, generator=sample)[batch.site_system]
    return replace(geometry, coords=torch.einsum("ni,nij->nj", geometry.coords, rotation[batch.site_system]) + shift)


def test_molecules_are_superposed_without_reflection(molecules: MoleculeTable) -> None:
    batch, geometry = molecules.templates, molecules.geometry
    there = turned(geometry, batch, 3)
    torch.testing.assert_close(turned_to(batch, geometry, there).coords, there.coords, rtol=0, atol=1e-4)
    mirror = replace(there, coords=-there.coords)
    placed = turned_to(batch, geometry, mirror)
    apart = torch.cdist(geometry.coords[:5], geometry.coords[:5]) - torch.cdist(placed.coords[:5], placed.coords[:5])
    assert float(apart.abs().max()) < 1e-4
    chirality = batch.smiles.index("C[C@H](N)C=O")
    off = (placed.coords - mirror.coords)[batch.site_system == chirality]
    assert float(off.norm(dim=1).max()) > 0.3, "a mirror image cannot be reached"


def test_displacements_back_from_own_samples_do_not_depend_on_the_orientation_of_the_truth(
    molecules: MoleculeTable,
) -> None:
    """A quarter of the batch are the model's own samples; the displacement back leads to the superposed truth."""
    torch.manual_seed(0)
    rows = torch.arange(len(molecules))
    loss = GraphLoss(own_share=0.25, own_sigma=(0.03, 0.3))
    objective = GraphObjective(molecules, rows, rows, molecule_targets(molecules), loss, MOLECULE_NEGATIVES)
    model = GraphEnergy(GraphEnergyConfig(TrunkConfig(channels=8, layers=1, n_radial=8, graphs=True), hidden=16))
    batch, geometry = molecules.templates, molecules.geometry
    sample = torch.Generator().manual_seed(1)
    sigma = torch.full((len(rows),), 0.5)
    dirty, back = noised(batch, geometry, sigma, sample)
    n = len(rows) // 4
    level, far, mixed, ways = objective.with_own(model, batch, geometry, (sigma, dirty, back), n, sample)
    own = batch.site_system >= len(rows) - n
    torch.testing.assert_close(mixed.coords[~own], dirty.coords[~own])
    torch.testing.assert_close(ways.coords[~own], back.coords[~own])
    assert ((level[-n:] >= 0.03) & (level[-n:] <= 0.3)).all()
    assert (far[-n:] > 1.2 * level[-n:]).any(), "farther off than the noise level, or there is nothing to learn"
    home = replace(mixed, coords=mixed.coords + ways.coords)
    placed = turned_to(batch, geometry, home)
    torch.testing.assert_close(placed.coords[own], home.coords[own], rtol=0, atol=1e-4)


def test_heads_fitted_last_fit_better_and_leave_the_trunk(stored: Path, tmp_path: Path) -> None:
    model = GraphEnergyConfig(TrunkConfig(channels=8, layers=1, n_radial=8, graphs=True), hidden=16)
    short = Schedule(steps=3, batch_size=8, validate_every=3, log_every=3)
    found = []
    for heads in (0, 40):
        config = TrainConfig("molecule_energy", model, stored, tmp_path / str(heads), schedule=short, heads=heads)
        trained = train(config)
        found.append((load("molecule_energy", trained.path).state_dict(), trained.figures))
    (plain, before), (fitted, after) = found
    changed = {name for name in plain if not torch.equal(plain[name], fitted[name])}
    assert changed
    assert all(name.startswith("heads.") for name in changed)
    assert after["nll"] < before["nll"] - 1


def test_a_table_of_an_earlier_version_is_refused(stored: Path, tmp_path: Path) -> None:
    with np.load(stored, allow_pickle=False) as raw:
        old = dict(raw) | {"stereo_sites": raw["stereo_sites"][:, :4]}
    np.savez_compressed(tmp_path / "old.npz", **old)
    with pytest.raises(DataError, match=r"earlier version.*matgen data prepare"):
        train(TrainConfig("molecule_energy", GraphEnergyConfig(), data=tmp_path / "old.npz", folder=tmp_path))
