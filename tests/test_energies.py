"""Laws of the repulsion, of potentials and of the graph network as energies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.data import covalent_radii
from conftest import TextbookEntry
from pymatgen.core import Lattice, Structure
from torch import Tensor

from matgen.batch.state import State
from matgen.chemistry.elements import SYMBOLS
from matgen.energies.base import forces, gradients
from matgen.energies.charge import ChargeBalance, StateChargeBalance
from matgen.energies.closed_shell import ClosedShell
from matgen.energies.graph import GraphNetworkEnergy, GraphPredictor, denoiser_score
from matgen.energies.potential import Potential
from matgen.energies.property_target import StatePropertyTarget
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.nn.graph_energy import GraphEnergy, GraphEnergyConfig
from matgen.nn.trunk import TrunkConfig
from matgen.relaxation.calculators import chgnet_calculator
from matgen.targets.properties import CRYSTAL_PROPERTIES
from matgen.targets.target import parse_target
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand, unit_directions
from matgen.templates.wyckoff import LETTERS, wyckoff_table
from matgen.testing import check_energy, check_gradients, check_template_energy, doubled, turned

D = torch.float64


def site(group: int, letter: str, element: str) -> tuple[int, int]:
    return wyckoff_table().positions_of(group)[LETTERS.index(letter)], SYMBOLS.index(element)


# Elements that EMT knows; cubic with nothing free but the volume, orthorhombic, and without symmetry.
TEMPLATES = (
    CrystalTemplate(225, (site(225, "a", "Cu"), site(225, "b", "Au"))),
    CrystalTemplate(62, (site(62, "c", "Ni"), site(62, "c", "Pd"))),
    CrystalTemplate(1, (site(1, "a", "Al"), site(1, "a", "Cu"))),
)


@pytest.fixture
def templates() -> TemplateBatch:
    return TemplateBatch.of(TEMPLATES)


@pytest.fixture
def geometry(templates: TemplateBatch) -> Geometry:
    generator = torch.Generator().manual_seed(3)
    lattice = 0.1 * torch.randn(templates.n_systems, 6, dtype=D, generator=generator)
    coords = torch.rand(len(templates.site_system), 3, dtype=D, generator=generator)
    return Geometry(lattice * templates.free_lattice, coords * templates.free_coords)


@pytest.fixture
def state(templates: TemplateBatch, geometry: Geometry) -> State:
    return expand(templates, geometry)


@pytest.fixture
def sigma() -> Tensor:
    return torch.tensor([0.05, 0.3, 1.0], dtype=D)


@pytest.fixture(scope="module")
def model() -> GraphEnergy:
    torch.manual_seed(0)
    return GraphEnergy(GraphEnergyConfig(TrunkConfig(channels=8, layers=2, cutoff=4.0), hidden=16)).double().eval()


def pair(distance: float, first: str = "Na", second: str = "Cl") -> State:
    """Two atoms in free space."""
    return State.of(
        torch.tensor([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]], dtype=D),
        torch.tensor([SYMBOLS.index(first), SYMBOLS.index(second)]),
        torch.eye(3, dtype=D)[None],
        torch.zeros(1, 3, dtype=torch.bool),
        torch.zeros(2, dtype=torch.long),
    )


def crystal(structure: Structure) -> State:
    return State.of(
        torch.from_numpy(structure.cart_coords.copy()),
        torch.tensor(structure.atomic_numbers),
        torch.from_numpy(structure.lattice.matrix.copy())[None],
        torch.ones(1, 3, dtype=torch.bool),
        torch.zeros(len(structure), dtype=torch.long),
    )


# ---------------------------------------------------------------- contracts


def test_the_repulsion_keeps_the_contract(
    state: State, templates: TemplateBatch, geometry: Geometry, sigma: Tensor
) -> None:
    energy = ShortRangeRepulsion(share=1.1)  # wide enough for every system to feel it
    assert (energy(state, sigma) > 0).all()
    check_energy(energy, state, sigma, extensive=True)
    check_gradients(energy, templates, geometry, sigma)


def test_charge_balance_keeps_the_contract(state: State, sigma: Tensor) -> None:
    check_energy(StateChargeBalance(), state, sigma)
    check_template_energy(ChargeBalance(), TEMPLATES)
    check_template_energy(ClosedShell(), TEMPLATES)


def test_a_potential_keeps_the_contract(
    state: State, templates: TemplateBatch, geometry: Geometry, sigma: Tensor
) -> None:
    energy = Potential(EMT, kT=0.5)
    check_energy(energy, state, sigma, extensive=True)
    check_gradients(energy, templates, geometry, sigma)


def test_the_graph_prior_keeps_the_contract(
    state: State, templates: TemplateBatch, geometry: Geometry, sigma: Tensor, model: GraphEnergy
) -> None:
    check_energy(GraphNetworkEnergy(model), state, sigma, extensive=True)
    check_gradients(GraphNetworkEnergy(model), templates, geometry, sigma)


def test_a_target_by_the_graph_keeps_the_contract(
    state: State, templates: TemplateBatch, geometry: Geometry, sigma: Tensor, model: GraphEnergy
) -> None:
    energy = StatePropertyTarget(GraphPredictor(model), parse_target("band_gap", "1.5"))
    check_energy(energy, state, sigma)
    check_gradients(energy, templates, geometry, sigma)


# ---------------------------------------------------------------- repulsion


def reach(first: str = "Na", second: str = "Cl", share: float = 0.7) -> float:
    return share * float(covalent_radii[SYMBOLS.index(first)] + covalent_radii[SYMBOLS.index(second)])


def test_the_repulsion_of_a_pair_is_what_the_equation_says() -> None:
    energy, sigma = ShortRangeRepulsion(strength=100.0, share=0.7), torch.ones(1, dtype=D)
    for x in (0.0, 0.3, 0.9):
        expected = 100 * (1 - x**2) ** 2
        assert float(energy(pair(x * reach()), sigma)) == pytest.approx(expected, rel=1e-12)
    assert float(energy(pair(1.0001 * reach()), sigma)) == 0.0


def test_the_repulsion_starts_smoothly() -> None:
    # E = 100 (1 - x²)² ≈ 400 (1 - x)²: at 1 - x = h the slope is 800 h / d, so that ten times closer it is ten times
    # less; 5 % for the next order in h = 0.01.
    energy, sigma, d = ShortRangeRepulsion(strength=100.0), torch.ones(1, dtype=D), reach()
    slopes = [float(forces(energy, pair(d * (1 - h)), sigma)[1].abs().max()) for h in (0.01, 0.001)]
    assert slopes[0] == pytest.approx(800 * 0.01 / d, rel=0.05)
    assert slopes[1] == pytest.approx(slopes[0] / 10, rel=0.05)


def test_atoms_that_meet_have_finite_energy_and_force() -> None:
    value, force = forces(ShortRangeRepulsion(strength=100.0), pair(0.0), torch.ones(1, dtype=D))
    assert value.tolist() == [100.0]
    assert force.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_repulsion_counts_every_pair_of_a_crystal_once(textbook: tuple[TextbookEntry, ...]) -> None:
    share = 1.3  # beyond the nearest neighbours of all of them
    for entry in textbook[:6]:
        structure = entry.structure
        radii = covalent_radii[list(structure.atomic_numbers)]
        centre, neighbour, _, distance = structure.get_neighbor_list(2 * share * radii.max())
        x = distance / (share * (radii[centre] + radii[neighbour]))
        expected = 0.5 * (np.clip(1 - x**2, 0, None) ** 2).sum()
        energy = ShortRangeRepulsion(strength=1.0, share=share)(crystal(structure), torch.ones(1, dtype=D))
        assert float(energy) == pytest.approx(expected, rel=1e-9), entry.file


def test_sound_crystals_feel_no_repulsion(textbook: tuple[TextbookEntry, ...]) -> None:
    # So that it does not bias real crystals: none has atoms closer than 0.7 of the radii (test_house).
    for entry in textbook:
        assert float(ShortRangeRepulsion()(crystal(entry.structure), torch.ones(1, dtype=D))) == 0.0, entry.file


def test_a_repulsion_without_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        ShortRangeRepulsion(share=0.0)


# ---------------------------------------------------------------- potentials


def as_atoms(state: State, i: int) -> Atoms:
    here = state.system_idx == i
    return Atoms(state.atomic_numbers[here], state.positions[here].numpy(), cell=state.cell[i].numpy(), pbc=True)


def test_a_potential_is_the_energy_of_its_calculator_over_kt(state: State, sigma: Tensor) -> None:
    extensive = Potential(EMT(), kT=0.2)(state, sigma)
    intensive = Potential(EMT(), kT=0.2, per_atom=True)(state, sigma)
    for i in range(state.n_systems):
        atoms = as_atoms(state, i)
        atoms.calc = EMT()
        assert float(extensive[i]) == pytest.approx(atoms.get_potential_energy() / 0.2, rel=1e-12)
        assert float(intensive[i]) == pytest.approx(atoms.get_potential_energy() / 0.2 / len(atoms), rel=1e-12)


CALCULATORS = {"EMT": EMT, "LennardJones": lambda: LennardJones(sigma=2.3, epsilon=0.4, rc=6.0, smooth=True)}


@pytest.mark.parametrize("name", CALCULATORS)
def test_slopes_in_positions_and_cell_are_those_of_the_energy(name: str) -> None:
    # Positions and cell varied independently of each other, atoms outside of the cell, a skew cell. gradcheck's
    # central differences err by h² E''' / 6 ~ 1e-8 of slopes of order 1 to 10; EMT's own stress is good to 1e-6.
    calculator = CALCULATORS[name]()
    lattice = Lattice.from_parameters(3.9, 4.3, 4.8, 78, 84, 97)
    frac = np.array([[0.05, 0.1, -0.02], [0.5, 1.47, 0.52], [-0.46, 0.03, 2.5], [0.02, 0.55, 0.48]])
    positions = torch.from_numpy(frac @ lattice.matrix).requires_grad_()
    cell = torch.from_numpy(lattice.matrix.copy())[None].requires_grad_()

    def energy(x: Tensor, c: Tensor) -> Tensor:
        numbers, system = torch.tensor([29, 79, 29, 47]), torch.zeros(4, dtype=torch.long)
        state = State.of(x, numbers, c, torch.ones(1, 3, dtype=torch.bool), system)
        return Potential(calculator, kT=0.5)(state, torch.ones(1, dtype=D))

    assert torch.autograd.gradcheck(energy, (positions, cell), eps=1e-4, atol=1e-4, rtol=1e-4)


def test_a_molecule_has_forces_and_no_slope_in_its_cell() -> None:
    state = pair(2.4, "Cu", "Au")
    value, force = forces(Potential(EMT, kT=1.0), state, torch.ones(1, dtype=D))
    atoms = Atoms("CuAu", state.positions.numpy())
    atoms.calc = EMT()
    assert value.tolist() == [atoms.get_potential_energy()]
    np.testing.assert_allclose(force.numpy(), atoms.get_forces(), atol=1e-12)
    cell = state.cell.clone().requires_grad_()
    Potential(EMT)(replace(state, cell=cell), torch.ones(1, dtype=D)).sum().backward()
    assert not cell.grad.any()


def test_a_calculator_is_made_once_and_only_when_needed(state: State, sigma: Tensor) -> None:
    made: list[Calculator] = []

    def factory() -> Calculator:
        made.append(EMT())
        return made[-1]

    energy = 2.0 * Potential(factory)
    assert not made
    energy(state, sigma)
    energy(state, sigma)
    assert len(made) == 1
    with pytest.raises(ValueError, match="kT"):
        Potential(factory, kT=0.0)


def test_weights_of_systems_reach_their_own_atoms(templates: TemplateBatch, geometry: Geometry, sigma: Tensor) -> None:
    energy = Potential(EMT)
    _, slope = gradients(energy, templates, geometry, sigma)
    weight = torch.tensor([2.0, 0.0, -1.0], dtype=D)
    _, weighed = gradients(lambda s, t: weight * energy(s, t), templates, geometry, sigma)
    torch.testing.assert_close(weighed.lattice, weight[:, None] * slope.lattice)
    torch.testing.assert_close(weighed.coords, weight[templates.site_system, None] * slope.coords)


def test_chgnet_is_a_potential() -> None:
    # Rock salt in its primitive cell, strained a little and one atom moved. CHGNet computes in float32: energies of
    # 7 eV to 1e-6, so that differences of step 0.01 are good to 1e-4 of slopes of some eV, plus their h² error.
    lattice = Lattice([[0.0, 2.9, 2.8], [2.8, 0.1, 2.8], [2.8, 2.8, 0.0]])
    positions = torch.from_numpy(np.array([[0.0, 0.0, 0.0], [0.54, 0.5, 0.46]]) @ lattice.matrix)
    cell = torch.from_numpy(lattice.matrix.copy())[None]
    energy, generator = Potential(lambda: chgnet_calculator("ignore"), kT=0.1), torch.Generator().manual_seed(0)

    def value(x: Tensor, c: Tensor) -> Tensor:
        numbers, system = torch.tensor([11, 17]), torch.zeros(2, dtype=torch.long)
        state = State.of(x, numbers, c, torch.ones(1, 3, dtype=torch.bool), system)
        return energy(state, torch.ones(1, dtype=D)).squeeze()

    inputs = (positions.requires_grad_(), cell.requires_grad_())
    slopes = torch.autograd.grad(value(*inputs), inputs)
    with torch.no_grad():
        for i, slope in enumerate(slopes):
            way = torch.randn(slope.shape, dtype=D, generator=generator)
            ends = [value(*(x + s * 0.01 * way if j == i else x for j, x in enumerate(inputs))) for s in (1, -1)]
            assert float(ends[0] - ends[1]) / 0.02 == pytest.approx(float((slope * way).sum()), rel=0.01, abs=0.05)


# ---------------------------------------------------------------- the graph network


def test_the_score_is_the_denoising_step_over_sigma_squared(
    templates: TemplateBatch, geometry: Geometry, sigma: Tensor, model: GraphEnergy
) -> None:
    score = denoiser_score(model, templates)(geometry, sigma)
    state = expand(templates, geometry)
    output = model(state, sigma)
    directions, _ = unit_directions(templates, geometry)
    along = torch.einsum("skj,sj->sk", directions, output.displacement) * templates.free_coords
    torch.testing.assert_close(score.coords * sigma[templates.site_system, None] ** 2, along.detach())
    assert not score.lattice[~templates.free_lattice].any()
    assert not score.coords[~templates.free_coords].any()
    assert score.lattice[templates.free_lattice].all()
    assert not score.lattice.requires_grad


def test_the_score_does_not_depend_on_known_symmetry(
    templates: TemplateBatch, geometry: Geometry, sigma: Tensor, model: GraphEnergy
) -> None:
    # The same crystals described without symmetry, in P1: their displacements and strains are the same.
    state = expand(templates, geometry)
    known, unknown = model(state, sigma), model(state.without_symmetry(), sigma)
    torch.testing.assert_close(unknown.displacement[state.orbits.representatives], known.displacement)
    torch.testing.assert_close(unknown.strain[templates.free_lattice], known.strain[templates.free_lattice])
    torch.testing.assert_close(unknown.embedding, known.embedding)


def test_displacements_turn_with_the_crystal(state: State, sigma: Tensor, model: GraphEnergy) -> None:
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=D, generator=torch.Generator().manual_seed(5)))
    for rotation in (q, -q):
        here, there = model(state, sigma), model(turned(state, rotation), sigma)
        torch.testing.assert_close(there.displacement, here.displacement @ rotation.T)


def test_predictions_do_not_grow_with_the_cell(state: State, sigma: Tensor, model: GraphEnergy) -> None:
    predictor = GraphPredictor(model)
    one, two = predictor(state, sigma), predictor(doubled(state), sigma)
    assert one.keys() == CRYSTAL_PROPERTIES.keys()
    for name in CRYSTAL_PROPERTIES:
        torch.testing.assert_close(two[name].summary().value, one[name].summary().value)


def test_predictions_are_calibrated(state: State, sigma: Tensor, model: GraphEnergy) -> None:
    before = GraphPredictor(model)(state, sigma)["formation_energy"].summary()
    saved = model.heads.calibration.clone()
    model.heads.calibration[list(CRYSTAL_PROPERTIES).index("formation_energy"), 0] = 3.0
    after = GraphPredictor(model)(state, sigma)["formation_energy"].summary()
    model.heads.calibration.copy_(saved)
    torch.testing.assert_close(after.spread, 3 * before.spread)
    torch.testing.assert_close(after.value, before.value)
