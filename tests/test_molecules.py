"""Laws of molecules: graphs, stereo, one batch with crystals, one sampler."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from e3nn import o3
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from torch import Tensor

from matgen.batch.graphs import DOUBLE_BOND, TETRAHEDRAL
from matgen.batch.state import State
from matgen.checks.molecular_graph import shows_template
from matgen.chemistry.elements import SYMBOLS
from matgen.energies.base import gradients
from matgen.energies.by_kind import ByKind
from matgen.energies.graph import GraphNetworkEnergy, denoiser_score
from matgen.energies.nonbonded import Nonbonded
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.energies.stereo import StereoEnergy
from matgen.nn.graph_energy import GraphEnergy, GraphEnergyConfig, energy_per_atom
from matgen.nn.graph_properties import GraphProperties, GraphPropertiesConfig
from matgen.nn.molecule_evaluator import MoleculeEvaluator, MoleculeEvaluatorConfig
from matgen.nn.neighborhood import Neighborhood
from matgen.nn.pair_displacements import TYPICAL, PairDisplacement
from matgen.nn.stereo import chirality
from matgen.nn.trunk import Trunk, TrunkConfig
from matgen.runtime.config import ConfigError
from matgen.samplers.diffusion import LONGEST_STEP, Schedule, diffuse, energy_score, settled
from matgen.samplers.initial_noise import pure_noise, renoise
from matgen.samplers.langevin import mala
from matgen.targets.distributions import median
from matgen.targets.properties import MOLECULE_PROPERTIES
from matgen.templates.batch import Geometry, Template, TemplateBatch, concatenated, crystals_of, molecules_of
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.molecule import MoleculeError, MoleculeTemplate, template_in_space
from matgen.templates.noise import karras_levels
from matgen.templates.stereo import open_isomers, with_random_stereo
from matgen.templates.wyckoff import LETTERS, wyckoff_table
from matgen.training.denoising import centred
from matgen.training.molecule_negatives import MOLECULE_NEGATIVES

D = torch.float64

# Centres of both chiralities, both sides of double bonds, rings, a zwitterion, and one without stereo.
SMILES = (
    "C[C@H](N)C(=O)O",
    "C[C@@H](O)CF",
    "C/C=C/C",
    "C/C(F)=C(/C)O",
    "C1CC1",
    "C[NH2+]CC(=O)[O-]",
    "c1ccoc1",
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def in_space(smiles: str) -> tuple[MoleculeTemplate, Tensor]:
    molecule = MoleculeTemplate.of(smiles).molecule
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=1) == 0
    template, positions = template_in_space(molecule)
    return template, torch.tensor(positions - positions.mean(0), dtype=D)


@pytest.fixture(scope="module")
def molecules() -> tuple[TemplateBatch, Geometry]:
    templates, positions = zip(*map(in_space, SMILES), strict=True)
    return TemplateBatch.of(templates), Geometry(torch.zeros(len(templates), 6, dtype=D), torch.cat(positions))


@pytest.fixture(scope="module")
def crystals() -> tuple[TemplateBatch, Geometry]:
    def site(group: int, letter: str, element: str) -> tuple[int, int]:
        return wyckoff_table().positions_of(group)[LETTERS.index(letter)], SYMBOLS.index(element)

    batch = TemplateBatch.of(
        [
            CrystalTemplate(221, (site(221, "a", "Sr"), site(221, "b", "Ti"), site(221, "c", "O"))),
            CrystalTemplate(152, (site(152, "a", "Si"), site(152, "c", "O"))),
        ]
    )
    coords = torch.rand(len(batch.site_system), 3, dtype=D, generator=generator(2))
    return batch, Geometry(torch.zeros(2, 6, dtype=D), coords * batch.free_coords)


def network(*, pair_displacements: bool) -> GraphEnergy:
    torch.manual_seed(0)
    trunk = TrunkConfig(
        channels=8, layers=2, cutoff=8.0, n_radial=12, graphs=True, pair_displacements=pair_displacements
    )
    model = GraphEnergy(GraphEnergyConfig(trunk, hidden=16)).double().eval()
    for parameter in model.parameters():  # some begin at zero, and what they let through is to be tested
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="module", params=[False, True], ids=["messages", "pair_displacements"])
def model(request: pytest.FixtureRequest) -> GraphEnergy:
    return network(pair_displacements=request.param)


def energies(model: GraphEnergy, state: State) -> Tensor:
    sigma = torch.full((state.n_systems,), 0.1, dtype=D)
    with torch.no_grad():
        return energy_per_atom(model(state, sigma), state, sigma)


def bare(batch: TemplateBatch) -> TemplateBatch:
    forget = torch.ones(batch.n_systems, dtype=torch.bool)
    return replace(batch, graphs=batch.graphs.without_stereo(forget, batch.site_system))


# ---------------------------------------------------------------- templates


@pytest.mark.parametrize("smiles", [*SMILES, "O=C=O", "C", "[NH4+]", "N#CC#N", "C1=CC=CC=C1"])
def test_equal_molecules_are_equal_templates_however_they_are_written(smiles: str) -> None:
    template = MoleculeTemplate.of(smiles)
    rng = np.random.default_rng(0)
    for _ in range(5):
        order = rng.permutation(template.molecule.GetNumAtoms()).tolist()
        shuffled = Chem.RenumberAtoms(template.molecule, order)
        assert MoleculeTemplate.of(shuffled) == template
    assert template.graph.elements.tolist() == [a.GetAtomicNum() for a in template.molecule.GetAtoms()]
    assert (template.graph.relations == template.graph.relations.T).all()


@pytest.mark.parametrize("smiles", ["", "C.C", "xyz", "C(C)(C)(C)(C)C", "C1CC", "CC O", "C\tC", "\udcff"])
def test_what_is_no_molecule_is_refused_in_words(smiles: str) -> None:
    with pytest.raises(MoleculeError, match="expected"):
        MoleculeTemplate.of(smiles)


@pytest.mark.parametrize("smiles", SMILES)
def test_a_geometry_shows_the_template_that_it_was_made_of(smiles: str) -> None:
    template, _ = in_space(smiles)
    assert template == MoleculeTemplate.of(smiles)
    mirrored = MoleculeTemplate.of(smiles).molecule
    rdDistGeom.EmbedMolecule(mirrored, randomSeed=1)
    place = mirrored.GetConformer()
    place.SetPositions(-place.GetPositions())
    other, _ = template_in_space(mirrored)
    assert (other == template) == ("@" not in smiles)


def test_open_hands_are_drawn_and_asked_ones_kept() -> None:
    template = MoleculeTemplate.of("C[C@H](N)C(O)F")
    isomers = open_isomers(template)
    assert len(isomers) == 2
    assert all("@" in one.smiles for one in isomers)
    sampled = {with_random_stereo(template, generator(seed)) for seed in range(20)}
    assert sampled == set(isomers)
    flat = MoleculeTemplate.of("CCO")
    assert open_isomers(flat) == [flat]


def test_batches_of_both_kinds_come_apart_again(crystals: tuple[TemplateBatch, Geometry]) -> None:
    mixed: list[Template] = [
        MoleculeTemplate.of(SMILES[0]),
        *crystals[0].unbatch(),
        MoleculeTemplate.of(SMILES[3]),
        MoleculeTemplate.of(SMILES[4]),
    ]
    batch = TemplateBatch.of(mixed)
    assert batch.unbatch() == mixed
    rows = torch.tensor([3, 1, 3, 0])
    chosen = batch.select(rows)
    assert chosen.unbatch() == [mixed[i] for i in rows]
    again = TemplateBatch.of([mixed[i] for i in rows])
    torch.testing.assert_close(chosen.graphs.stereo_sites, again.graphs.stereo_sites)
    torch.testing.assert_close(chosen.graphs.relation, again.graphs.relation)
    with pytest.raises(TypeError, match="crystals only"):
        crystals_of(mixed)
    with pytest.raises(TypeError, match="molecules only"):
        molecules_of(mixed)


def test_a_molecule_expands_to_where_its_numbers_say(molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    state = expand(batch, geometry)
    torch.testing.assert_close(state.positions, geometry.coords)
    assert not state.pbc.any()
    assert state.atomic_numbers.tolist() == batch.site_element.tolist()


# ---------------------------------------------------------------- stereo


def test_geometries_that_show_their_hands_have_a_positive_handedness(molecules: tuple[TemplateBatch, Geometry]) -> None:
    state = expand(*molecules)
    assert state.graphs is not None
    assert set(state.graphs.stereo_kind.tolist()) == {TETRAHEDRAL, DOUBLE_BOND}
    value, _ = chirality(state, state.graphs)
    assert (value > 0.3).all()


def test_a_mirror_turns_centres_and_leaves_double_bonds(molecules: tuple[TemplateBatch, Geometry]) -> None:
    state = expand(*molecules)
    assert state.graphs is not None
    value, _ = chirality(state, state.graphs)
    other, _ = chirality(replace(state, positions=-state.positions), state.graphs)
    sign = torch.where(state.graphs.stereo_kind == TETRAHEDRAL, -1.0, 1.0)
    torch.testing.assert_close(other, sign * value)


def test_relabelling_two_neighbours_turns_the_sign(molecules: tuple[TemplateBatch, Geometry]) -> None:
    state = expand(*molecules)
    assert state.graphs is not None
    swapped = replace(state.graphs, stereo_sites=state.graphs.stereo_sites[:, [1, 0, 2, 3, 4]])
    centre = state.graphs.stereo_kind == TETRAHEDRAL
    value, _ = chirality(state, state.graphs)
    other, _ = chirality(state, swapped)
    torch.testing.assert_close(other[centre], -value[centre])


def test_the_push_leads_to_the_hand_that_is_asked_for(molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    flat = geometry.coords * torch.tensor([1.0, 1.0, 0.01], dtype=D)  # nearly achiral
    state = expand(batch, replace(geometry, coords=flat))
    assert state.graphs is not None
    centre = state.graphs.stereo_kind == TETRAHEDRAL
    graphs = replace(
        state.graphs,
        stereo_sites=state.graphs.stereo_sites[centre],
        stereo_kind=state.graphs.stereo_kind[centre],
        stereo_sign=state.graphs.stereo_sign[centre],
    )
    for sign in (1, -1):
        asked = replace(graphs, stereo_sign=sign * graphs.stereo_sign)
        value, displacement = chirality(state, asked)
        displaced = state.positions.index_add(0, asked.stereo_sites.reshape(-1), 0.1 * displacement.reshape(-1, 3))
        assert (chirality(replace(state, positions=displaced), asked)[0] > value).all()


def test_the_energy_tells_mirror_images_apart_where_a_hand_is_asked_for(
    model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry]
) -> None:
    batch, geometry = molecules
    mirror = replace(geometry, coords=-geometry.coords)
    asked = torch.tensor(["@" in smiles for smiles in batch.smiles])
    apart = (energies(model, expand(batch, geometry)) - energies(model, expand(batch, mirror))).abs()
    assert (apart[asked] > 1e-5).all()
    assert float(apart[~asked].max()) < 1e-12


def test_the_energy_is_indifferent_where_no_hand_is_asked_for(
    model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry]
) -> None:
    batch, geometry = molecules
    mirror = replace(geometry, coords=-geometry.coords)
    torch.testing.assert_close(
        energies(model, expand(bare(batch), geometry)), energies(model, expand(bare(batch), mirror)), rtol=0, atol=1e-12
    )


def test_a_mirror_of_geometry_and_hands_together_changes_nothing(
    model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry]
) -> None:
    batch, geometry = molecules
    centre = batch.graphs.stereo_kind == TETRAHEDRAL
    other = replace(
        batch,
        graphs=replace(
            batch.graphs, stereo_sign=torch.where(centre, -batch.graphs.stereo_sign, batch.graphs.stereo_sign)
        ),
    )
    mirror = replace(geometry, coords=-geometry.coords)
    torch.testing.assert_close(
        energies(model, expand(other, mirror)), energies(model, expand(batch, geometry)), rtol=0, atol=1e-12
    )


# ---------------------------------------------------------------- networks


def test_the_network_turns_with_the_molecule(model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    sigma = torch.full((batch.n_systems,), 0.3, dtype=D)
    rotation = o3.rand_matrix(dtype=D)
    moved = geometry.coords @ rotation.T + torch.tensor([1.0, -2.0, 0.5], dtype=D)
    one, other = model(expand(batch, geometry), sigma), model(expand(batch, replace(geometry, coords=moved)), sigma)
    torch.testing.assert_close(other.displacement, one.displacement @ rotation.T, rtol=0, atol=1e-7)
    torch.testing.assert_close(other.embedding, one.embedding, rtol=0, atol=1e-7)
    assert not one.strain.any()


def test_untrained_pushes_move_nothing(molecules: tuple[TemplateBatch, Geometry]) -> None:
    torch.manual_seed(0)
    trunk = Trunk(
        TrunkConfig(channels=8, layers=2, cutoff=8.0, n_radial=12, graphs=True, pair_displacements=True)
    ).double()
    _, shift = trunk.moved(expand(*molecules), torch.full((molecules[0].n_systems,), 0.3, dtype=D))
    assert not shift.any()


def test_a_push_lets_both_ends_meet_at_their_length() -> None:
    """One layer with displacements of g = 1/2 per end brings two atoms to its target distance in one step."""
    displacement = PairDisplacement(channels=1, n_radial=1, neighbors=1.0).double()
    displacement.out.bias.data = torch.tensor([0.5, 0.2], dtype=D)
    batch = TemplateBatch.of([MoleculeTemplate.of("[HH]")])
    for apart in (0.9, 1.7, 3.1):
        state = expand(batch, Geometry(torch.zeros(1, 6, dtype=D), torch.tensor([[0, 0, 0], [apart, 0, 0]], dtype=D)))
        edges = Neighborhood(
            centre=torch.tensor([0, 1]),
            neighbor_site=torch.tensor([1, 0]),
            slot=torch.tensor([0, 1]),
            shape=(2, 1),
            directions=torch.tensor([[1, 0, 0], [-1, 0, 0]], dtype=D),
            distance=torch.tensor([apart, apart], dtype=D),
            harmonics=(torch.zeros(0),) * 3,
            radial=torch.zeros(2, 1, dtype=D),
            envelope=torch.ones(2, dtype=D),
            noise=torch.zeros(0),
        )
        displacement.ends.weight.data.zero_()
        displacement.edge.bias.data.zero_()
        there = state.positions + displacement(torch.ones(2, 1, dtype=D), edges)
        assert float((there[1] - there[0]).norm()) == pytest.approx(TYPICAL + 0.2)


def test_pushes_need_graphs() -> None:
    with pytest.raises(ConfigError, match="pair_displacements need graphs"):
        TrunkConfig(pair_displacements=True)


def test_systems_of_a_batch_do_not_see_each_other(
    model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry]
) -> None:
    batch, geometry = molecules
    whole = energies(model, expand(batch, geometry))
    for i in range(batch.n_systems):
        row = torch.tensor([i])
        alone = energies(model, expand(batch.select(row), geometry.select(batch, row)))
        torch.testing.assert_close(alone[0], whole[i])


def test_slopes_are_those_of_the_energy(model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    sigma = torch.full((batch.n_systems,), 0.2, dtype=D)
    prior = GraphNetworkEnergy(model)
    _, slope = gradients(prior, batch, geometry, sigma)
    direction = torch.randn(geometry.coords.shape, dtype=D, generator=generator())
    h = 1e-5
    ends = [prior(expand(batch, replace(geometry, coords=geometry.coords + s * h * direction)), sigma) for s in (1, -1)]
    difference = float((ends[0] - ends[1]).sum() / (2 * h))
    assert difference == pytest.approx(float((slope.coords * direction).sum()), rel=1e-5)


def test_far_from_the_data_the_displacement_leads_to_the_centre(molecules: tuple[TemplateBatch, Geometry]) -> None:
    model = network(pair_displacements=False)
    batch, geometry = molecules
    wide = replace(geometry, coords=30.0 * geometry.coords)
    sigma = torch.full((batch.n_systems,), 30.0, dtype=D)
    step = model(expand(batch, wide), sigma).displacement
    centre = torch.zeros(batch.n_systems, 3, dtype=D).index_add(0, batch.site_system, wide.coords)
    centre = (centre / batch.n_sites[:, None])[batch.site_system]
    assert float(((wide.coords + step) - centre).norm() / (wide.coords - centre).norm()) < 0.1


def test_the_heads_of_sums_add_up_over_atoms(model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    sigma = torch.full((batch.n_systems,), 0.02, dtype=D)
    found = model.heads(model(expand(batch, geometry), sigma).embedding)
    assert list(found) == list(MOLECULE_PROPERTIES)
    assert (median(found["dipole"]) >= 0).all()


def test_graph_properties_do_not_depend_on_the_order_of_a_batch_or_on_hands(
    molecules: tuple[TemplateBatch, Geometry],
) -> None:
    torch.manual_seed(0)
    network = GraphProperties(GraphPropertiesConfig(width=16, layers=2, heads=4, hidden=16)).double().eval()
    batch, _ = molecules
    whole = network.raw(batch)
    order = torch.tensor([4, 2])  # the smaller ones
    some, naked = network.raw(batch.select(order)), network.raw(bare(batch))
    for name, found in whole.items():
        torch.testing.assert_close(median(some[name]), median(found)[order])
        torch.testing.assert_close(median(naked[name]), median(found))


def test_the_judge_reads_geometry(molecules: tuple[TemplateBatch, Geometry]) -> None:
    torch.manual_seed(0)
    trunk = TrunkConfig(channels=8, layers=2, cutoff=8.0, n_radial=12, graphs=True)
    evaluator = MoleculeEvaluator(MoleculeEvaluatorConfig(trunk=trunk, hidden=16)).double().eval()
    batch, geometry = molecules
    one, other = (
        evaluator(expand(batch, geometry)),
        evaluator(expand(batch, replace(geometry, coords=1.1 * geometry.coords))),
    )
    assert not torch.equal(median(one["gap"]), median(other["gap"]))


def test_a_network_of_graphs_refuses_states_without(
    model: GraphEnergy, crystals: tuple[TemplateBatch, Geometry]
) -> None:
    with pytest.raises(ValueError, match="expected molecular graphs"):
        energies(model, expand(*crystals))


# ---------------------------------------------------------------- one batch, one sampler


def mixed_energy(model: GraphEnergy) -> ByKind:
    return ByKind(crystals=ShortRangeRepulsion(), molecules=GraphNetworkEnergy(model))


def test_a_mixed_state_has_the_energies_of_its_parts(
    model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry], crystals: tuple[TemplateBatch, Geometry]
) -> None:
    batch, geometry = concatenated([crystals, molecules])
    sigma = torch.full((batch.n_systems,), 0.1, dtype=D)
    whole = mixed_energy(model)(expand(batch, geometry), sigma)
    first = ShortRangeRepulsion()(expand(*crystals), sigma[:2])
    second = GraphNetworkEnergy(model)(expand(*molecules), sigma[2:])
    torch.testing.assert_close(whole, torch.cat([first, second]))


def test_crystals_and_molecules_walk_together(
    model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry], crystals: tuple[TemplateBatch, Geometry]
) -> None:
    batch, geometry = concatenated([crystals, molecules])
    energy = mixed_energy(model)
    noisy = renoise(batch, geometry, 0.1, generator())
    down = diffuse(
        energy_score(energy, batch), batch, noisy, schedule=Schedule(karras_levels(0.1, 0.02, 4)), generator=generator()
    )
    sigma = torch.full((batch.n_systems,), 0.05, dtype=D)
    sampled, report = mala(
        lambda q: gradients(energy, batch, q, sigma), batch, down, steps=4, step_size=1e-4, generator=generator()
    )
    assert sampled.coords.isfinite().all()
    assert report.acceptance.shape == (batch.n_systems,)
    crystal = batch.periodic[batch.site_system]
    assert ((sampled.coords[crystal] >= 0) & (sampled.coords[crystal] < 1)).all()  # on the torus
    assert (sampled.coords[~crystal].abs() > 1).any()  # and not


def test_metropolis_samples_a_molecule_in_a_well() -> None:
    # A harmonic well on one atom: E = (r/s)²/2 along each axis, of variance s².
    batch = TemplateBatch.of([MoleculeTemplate.of("[F-]")] * 400)
    start = Geometry(torch.zeros(400, 6, dtype=D), 0.1 * torch.randn(400, 3, dtype=D, generator=generator()))

    def landscape(q: Geometry) -> tuple[Tensor, Geometry]:
        return 0.5 * (q.coords**2).sum(1) / 0.04, Geometry(torch.zeros_like(q.lattice), q.coords / 0.04)

    sampled, _ = mala(landscape, batch, start, steps=60, step_size=0.02, generator=generator(1), adapt_steps=20)
    assert float(sampled.coords.var()) == pytest.approx(0.04, rel=0.12)


def test_noise_of_molecules_moves_no_centre(molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    noise = centred(batch, replace(geometry, coords=torch.randn(geometry.coords.shape, dtype=D, generator=generator())))
    centre = torch.zeros(batch.n_systems, 3, dtype=D).index_add(0, batch.site_system, noise.coords)
    assert float(centre.abs().max()) < 1e-12


def test_pure_noise_of_a_molecule_is_as_wide_as_asked() -> None:
    batch = TemplateBatch.of([MoleculeTemplate.of("CCO")] * 300)
    sampled = pure_noise(batch, 4.0, generator(), dtype=D)
    assert float(sampled.coords.std()) == pytest.approx(4.0, rel=0.05)
    assert not sampled.lattice.any()


def test_settling_ends_where_the_score_vanishes() -> None:
    # The score of a Gaussian of spread s about x0, noised by σ: -(x - x0) / (s² + σ²).
    batch = TemplateBatch.of([MoleculeTemplate.of("CO")] * 3)
    target = torch.randn(len(batch.site_system), 3, dtype=D, generator=generator())
    start = Geometry(torch.zeros(3, 6, dtype=D), target + 1.0)

    def score(q: Geometry, sigma: Tensor) -> Geometry:
        width = (0.02**2 + sigma**2)[batch.site_system, None]
        return Geometry(torch.zeros_like(q.lattice), -(q.coords - target) / width)

    found = settled(score, batch, start, levels=karras_levels(0.3, 0.02, 12))
    assert float((found.coords - target).abs().max()) < 1e-3


def test_a_longer_stride_settles_soft_modes_sooner_and_stiff_ones_too() -> None:
    """Half of the coordinates lie in a valley as wide as ten times the last noise, the others in a narrow one."""
    batch = TemplateBatch.of([MoleculeTemplate.of("CO")] * 3)
    start = Geometry(torch.zeros(3, 6, dtype=D), torch.ones(len(batch.site_system), 3, dtype=D))
    spread = torch.full_like(start.coords, 0.01)
    spread[:, 0] = 0.3

    def score(q: Geometry, sigma: Tensor) -> Geometry:
        width = spread**2 + (sigma**2)[batch.site_system, None]
        return Geometry(torch.zeros_like(q.lattice), -q.coords / width)

    levels = karras_levels(0.5, 0.03, 30)
    plain, far = (settled(score, batch, start, levels=levels, stride=stride).coords.abs() for stride in (1.0, 1.5))
    assert float(far[:, 0].max()) < 0.7 * float(plain[:, 0].max())
    assert float(far[:, 1:].max()) < 1e-3


def test_the_score_of_the_network_is_its_displacement(
    model: GraphEnergy, molecules: tuple[TemplateBatch, Geometry]
) -> None:
    batch, geometry = molecules
    sigma = torch.full((batch.n_systems,), 0.5, dtype=D)
    found = denoiser_score(model, batch)(geometry, sigma)
    expected = model(expand(batch, geometry), sigma).displacement / 0.25
    torch.testing.assert_close(found.coords, expected.detach())


# ---------------------------------------------------------------- negatives


@pytest.mark.parametrize("name", list(MOLECULE_NEGATIVES))
def test_negatives_are_wrong_where_they_say_so_and_untouched_elsewhere(
    name: str, molecules: tuple[TemplateBatch, Geometry]
) -> None:
    batch, geometry = molecules
    templates, wrong, possible = MOLECULE_NEGATIVES[name](batch, geometry, generator())
    moved = (wrong.coords - geometry.coords).norm(dim=1) > 1e-6
    touched = torch.zeros(batch.n_systems, dtype=torch.bool).index_put((batch.site_system,), moved, accumulate=True)
    assert possible.any()
    assert (touched[possible]).all()
    if name != "mirrored":  # which has no effect without a specified stereocentre
        assert not touched[~possible].any()
    assert templates.smiles == batch.smiles


def test_a_turned_bond_keeps_lengths(molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    _, wrong, _ = MOLECULE_NEGATIVES["turned"](batch, geometry, generator())
    first, second, relation = batch.graphs.edges(batch.n_sites)
    near = relation < 6  # bonds and angles
    lengths = [(g.coords[first[near]] - g.coords[second[near]]).norm(dim=1) for g in (geometry, wrong)]
    torch.testing.assert_close(lengths[1], lengths[0])


def test_the_wall_moves_meeting_atoms_apart_and_leaves_real_molecules_alone(
    molecules: tuple[TemplateBatch, Geometry],
) -> None:
    batch, geometry = molecules
    sigma = torch.full((batch.n_systems,), 0.2, dtype=D)
    wall = Nonbonded(least=1.5, share=0.5)
    assert not wall(expand(batch, geometry), sigma).any()
    one = TemplateBatch.of([MoleculeTemplate.of("C")])
    place = torch.tensor([[0, 0, 0], [1.1, 0, 0], [1.1, 0.1, 0], [-0.5, 0.9, 0], [-0.5, -0.9, 0.3]], dtype=D)
    methane = Geometry(torch.zeros(1, 6, dtype=D), place)
    slope = energy_score(wall, one)(methane, sigma[:1]).coords * 0.2**2
    assert float(slope[2, 1]) == pytest.approx(0.5 * (1.5 - 0.1))
    assert float(slope[1, 1]) == pytest.approx(-0.5 * (1.5 - 0.1))
    assert not slope[3:].any()
    assert not slope[0].any(), "bonded atoms may be near"


def test_the_wall_asks_for_sensible_lengths() -> None:
    for bad in ({"least": 0.0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(ValueError, match="least > 0"):
            Nonbonded(**bad)


def test_asking_for_hands_costs_nothing_where_they_are_shown(molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    sigma = torch.full((batch.n_systems,), 0.5, dtype=D)
    state, mirror = expand(batch, geometry), expand(batch, replace(geometry, coords=-geometry.coords))
    assert state.graphs is not None
    centre = state.graphs.stereo_kind == TETRAHEDRAL
    with_centres = torch.zeros(batch.n_systems, dtype=torch.bool)
    with_centres[state.system_idx[state.graphs.stereo_sites[centre, 0]]] = True
    energy = StereoEnergy()
    assert float(energy(state, sigma).max()) < 0.3
    assert (energy(mirror, sigma) > 3.0).tolist() == with_centres.tolist()
    torch.testing.assert_close(energy(mirror, sigma), energy(mirror, sigma / 10))


@pytest.mark.parametrize("smiles", ["CC1CN1C", "C[N@@]1C[C@@H]1C", "CC1CN2CC12", "CC[N@@H+](C)O"])
def test_only_hands_that_a_geometry_can_show_are_asked_for(smiles: str) -> None:
    named = with_random_stereo(MoleculeTemplate.of(smiles), generator())
    molecule = named.molecule
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=1) == 0
    assert len(named.graph.stereo)
    assert shows_template(named, molecule.GetConformer().GetPositions())


def test_asking_for_hands_turns_a_centre(molecules: tuple[TemplateBatch, Geometry]) -> None:
    batch, geometry = molecules
    batch, geometry = batch.select(torch.tensor([0])), geometry.select(batch, torch.tensor([0]))
    ask, sigma = StereoEnergy(), torch.full((1,), 0.5, dtype=D)
    place = replace(geometry, coords=-geometry.coords)
    for _ in range(200):
        slope = energy_score(ask, batch)(place, sigma).coords
        assert float(slope.sum(0).abs().max()) < 1e-6, "nothing is shifted as a whole"
        place = replace(place, coords=place.coords + 0.02 * slope)
    state = expand(batch, place)
    assert state.graphs is not None
    assert (chirality(state, state.graphs)[0] > 0.5).all()


def test_asking_for_hands_takes_sensible_numbers() -> None:
    for bad in ({"least": 0.0}, {"strength": -1.0}):
        with pytest.raises(ValueError, match="least > 0"):
            StereoEnergy(**bad)


def test_a_settling_geometry_does_not_run_away() -> None:
    batch = TemplateBatch.of([MoleculeTemplate.of("CO")])
    start = Geometry(torch.zeros(1, 6, dtype=D), torch.ones(6, 3, dtype=D))

    def wild(q: Geometry, sigma: Tensor) -> Geometry:
        return Geometry(torch.zeros_like(q.lattice), 1e6 * q.coords / sigma[batch.site_system, None])

    found = settled(wild, batch, start, levels=torch.full((4,), 0.3))
    assert float((found.coords - start.coords).pow(2).mean().sqrt()) == pytest.approx(4 * LONGEST_STEP, rel=1e-6)
