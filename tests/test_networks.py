"""Laws of the networks: invariances, equivariances, causality, and densities that integrate to one."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from e3nn import o3
from torch import Tensor

from matgen.batch.state import State
from matgen.chemistry.elements import SYMBOLS, known_elements
from matgen.energies.graph import GraphNetworkEnergy
from matgen.nn.conditions import CRYSTAL_GRIDS, N_ELEMENTS, Conditions
from matgen.nn.couplings import harmonics
from matgen.nn.geometry_density import (
    LATTICE_RANGE,
    GeometryDensity,
    GeometryDensityConfig,
    free_parameters,
    from_unit,
    to_unit,
)
from matgen.nn.graph_energy import GraphEnergy, GraphEnergyConfig, energy_per_atom, predicted_step
from matgen.nn.irreps import DegreeLinear, SelfProduct, component, paths, symmetric_matrix
from matgen.nn.radial import envelope, softened
from matgen.nn.sites import PositionEmbedding, pad_sites
from matgen.nn.template_prior import TemplatePrior, TemplatePriorConfig, legal_continuations
from matgen.nn.trunk import Trunk, TrunkConfig
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import is_legal
from matgen.templates.expand import expand
from matgen.templates.wyckoff import LETTERS, wyckoff_table
from matgen.testing import check_energy, check_forces, check_gradients, doubled, system_of, turned

D = torch.float64
CUTOFF = 4.0


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def site(group: int, letter: str, element: str) -> tuple[int, int]:
    return wyckoff_table().positions_of(group)[LETTERS.index(letter)], SYMBOLS.index(element)


# High and low symmetry, centred cells, a group with a polar axis and a chiral one.
TEMPLATES = (
    CrystalTemplate(221, (site(221, "a", "Sr"), site(221, "b", "Ti"), site(221, "c", "O"))),
    CrystalTemplate(15, (site(15, "e", "Ca"), site(15, "f", "O"))),
    CrystalTemplate(152, (site(152, "a", "Si"), site(152, "c", "O"))),
    CrystalTemplate(186, (site(186, "b", "S"), site(186, "b", "Zn"))),
    CrystalTemplate(1, (site(1, "a", "Li"), site(1, "a", "O"), site(1, "a", "O"))),
)


@pytest.fixture(scope="module")
def templates() -> TemplateBatch:
    return TemplateBatch.of(TEMPLATES)


@pytest.fixture(scope="module")
def geometry(templates: TemplateBatch) -> Geometry:
    lattice = 0.1 * torch.randn(templates.n_systems, 6, dtype=D, generator=generator(1))
    coords = torch.rand(len(templates.site_system), 3, dtype=D, generator=generator(2))
    return Geometry(lattice * templates.free_lattice, coords * templates.free_coords)


@pytest.fixture(scope="module")
def state(templates: TemplateBatch, geometry: Geometry) -> State:
    return expand(templates, geometry)


@pytest.fixture(scope="module")
def sigma() -> Tensor:
    return torch.tensor([0.02, 0.1, 0.5, 1.0, 3.0], dtype=D)


def graph_energy(*, odd: bool, seed: int = 0) -> GraphEnergy:
    torch.manual_seed(seed)
    trunk = TrunkConfig(channels=8, layers=2, cutoff=CUTOFF, odd=odd)
    return GraphEnergy(GraphEnergyConfig(trunk, hidden=16)).double().eval()


@pytest.fixture(scope="module", params=[False, True], ids=["natural", "with odd channels"])
def model(request: pytest.FixtureRequest) -> GraphEnergy:
    return graph_energy(odd=request.param)


def cluster(positions: Tensor, numbers: list[int]) -> State:
    """Atoms in free space."""
    n = len(positions)
    pbc = torch.zeros(1, 3, dtype=torch.bool)
    return State.of(
        positions, torch.tensor(numbers), torch.eye(3, dtype=D)[None], pbc, torch.zeros(n, dtype=torch.long)
    )


# ---------------------------------------------------------------- embeddings


@pytest.mark.parametrize("n", [7, 5000])  # fewer than positions there are, and more
def test_positions_are_embedded_alike_one_by_one_and_by_the_whole_table(n: int) -> None:
    embedding = PositionEmbedding(8).double()
    rows = torch.randint(len(embedding.features), (n,), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(embedding(rows), embedding.table()[rows])


# ---------------------------------------------------------------- irreps


@pytest.mark.parametrize("odd", [False, True])
def test_the_self_product_is_e3nns_tensor_product(odd: bool) -> None:  # noqa: FBT001
    channels, size = 3, 18 if odd else 9
    ours = SelfProduct(channels, odd=odd).double()
    kinds = [(degree, s) for s in ((0, 1) if odd else (0,)) for degree in range(3)]
    irreps = o3.Irreps([(channels, (degree, (-1) ** (degree + s))) for degree, s in kinds])
    place = {kind: i for i, kind in enumerate(kinds)}
    instructions = [
        (place[l1, s1], place[l2, s2], place[l3, s3], "uuu", True) for l1, s1, l2, s2, l3, s3 in paths(odd=odd)
    ]
    bare = {"irrep_normalization": "none", "path_normalization": "none", "internal_weights": False}
    theirs = o3.TensorProduct(irreps, irreps, irreps, instructions, **bare).double()
    # e3nn's bare product is the 3j symbol; ours has norms of components, √(2l + 1).
    roots = torch.tensor([math.sqrt(2 * path[4] + 1) for path in paths(odd=odd)], dtype=D)
    x = torch.randn(4, size, channels, dtype=D, generator=generator())
    flat = torch.cat([x[:, component(*kind)].mT.flatten(1) for kind in kinds], dim=1)
    out = theirs(flat, flat, (ours.weight * roots[:, None]).flatten())
    expected = torch.zeros_like(x)
    for kind, where in zip(kinds, irreps.slices(), strict=True):
        expected[:, component(*kind)] = out[:, where].view(len(x), channels, -1).mT
    # The coupling coefficients are kept in float32, e3nn's in its default dtype, float32 too.
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)


def d_matrix(rotation: Tensor, *, odd: bool) -> Tensor:
    """Return the matrix by which features rotate (9 or 18, 9 or 18)."""
    proper = rotation * torch.linalg.det(rotation)
    reflected = bool(torch.linalg.det(rotation) < 0)
    blocks = []
    for s in (0, 1) if odd else (0,):
        for degree in range(3):
            sign = (-1) ** (degree + s) if reflected else 1
            blocks.append(sign * o3.wigner_D(degree, *o3.matrix_to_angles(proper)))
    return torch.block_diag(*blocks)


@pytest.mark.parametrize("reflect", [1, -1])
@pytest.mark.parametrize("odd", [False, True])
def test_products_and_linear_maps_are_equivariant(odd: bool, reflect: int) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    turn = d_matrix(reflect * o3.rand_matrix().double(), odd=odd).double()
    x = torch.randn(5, len(turn), 4, dtype=D, generator=generator())
    for layer in (SelfProduct(4, odd=odd).double(), DegreeLinear(4, 4, odd=odd).double()):
        torch.testing.assert_close(layer(turn @ x), turn @ layer(x), rtol=1e-5, atol=1e-5)  # float32 couplings


def test_products_reach_every_irrep_that_parity_allows() -> None:
    for odd in (False, True):
        x = torch.randn(2, 18 if odd else 9, 4, generator=generator())
        torch.manual_seed(0)
        assert (SelfProduct(4, odd=odd)(x).abs().amax((0, 2)) > 1e-4).all()


def test_symmetric_matrices_are_the_l2_part_of_an_outer_product() -> None:
    r = torch.randn(10, 3, dtype=D, generator=generator())
    matrix = symmetric_matrix(harmonics(r)[:, 4:])
    traceless = r[:, :, None] * r[:, None, :] - (r**2).sum(1)[:, None, None] / 3 * torch.eye(3, dtype=D)
    ratio = matrix[0, 0, 1] / traceless[0, 0, 1]
    torch.testing.assert_close(matrix, ratio * traceless, rtol=1e-6, atol=1e-6)  # e3nn's constants are float32
    assert abs(float(ratio)) > 0.1


# ---------------------------------------------------------------- the graph energy


def test_the_energy_keeps_the_contract(
    model: GraphEnergy, state: State, templates: TemplateBatch, geometry: Geometry, sigma: Tensor
) -> None:
    # Rotation, reflection, lattice shifts, permutation, orbits or none, batch mates, doubled cells, forces.
    energy = GraphNetworkEnergy(model)
    check_energy(energy, state, sigma, extensive=True, tolerance=1e-6)  # couplings are rounded to float32
    check_gradients(energy, templates, geometry, sigma)


def test_a_strained_cell_costs_energy(model: GraphEnergy, state: State, sigma: Tensor) -> None:
    output = model(state, sigma)
    unstrained = replace(output, strain=torch.zeros_like(output.strain))
    more = energy_per_atom(output, state, sigma) - energy_per_atom(unstrained, state, sigma)
    torch.testing.assert_close(more, 0.5 * output.strain.square().sum(-1) / sigma**2)
    assert more.max() > 0


def test_denoising_steps_turn_with_the_crystal_and_know_its_symmetry(
    model: GraphEnergy, state: State, templates: TemplateBatch, geometry: Geometry, sigma: Tensor
) -> None:
    # In free parameters the step is the same whether the orbits are used or every atom is computed.
    here, bare = model(state, sigma), model(state.without_symmetry(), sigma)
    known = predicted_step(here, templates, geometry)
    chosen = replace(bare, displacement=bare.displacement[state.orbits.representatives])
    unknown = predicted_step(chosen, templates, geometry)
    torch.testing.assert_close(known.coords, unknown.coords, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(known.lattice, unknown.lattice, rtol=1e-6, atol=1e-6)
    rotation = o3.rand_matrix().double()
    for turn in (rotation, -rotation):
        there = model(turned(state, turn), sigma)
        torch.testing.assert_close(there.displacement, here.displacement @ turn.T, rtol=1e-6, atol=1e-6)


def test_symmetric_atoms_move_symmetrically(model: GraphEnergy, state: State, sigma: Tensor) -> None:
    # The step of an atom is its representative's, turned.
    bare = model(state.without_symmetry(), sigma).displacement
    first = bare[state.orbits.representatives][state.orbits.site_idx]
    torch.testing.assert_close(torch.einsum("nij,nj->ni", state.orbits.rotations, first), bare, rtol=1e-6, atol=1e-6)


def test_the_energy_and_two_derivatives_are_continuous_at_the_cutoff(model: GraphEnergy) -> None:
    # A third atom crosses the cutoff of the first, far from the second's. For a polynomial envelope that vanishes with
    # two derivatives, E ~ h³ and the force ~ h² at a distance h inside: 100 times less for a tenth of h.
    def at(inside: float) -> tuple[float, float]:
        x = torch.tensor([[0, 0, 0], [-1.9, 0.4, 0.2], [CUTOFF - inside, 0, 0]], dtype=D).requires_grad_()
        value = GraphNetworkEnergy(model)(cluster(x, [11, 17, 8]), torch.full((1,), 0.1, dtype=D))
        (slope,) = torch.autograd.grad(value.sum(), x)
        return float(value), float(slope[2].norm())

    outside, no_force = at(-1e-3)
    assert no_force == 0.0
    (near, weak), (far, strong) = at(1e-3), at(1e-2)
    assert 50 < strong / weak < 200
    assert abs(near - outside) < 3e-3 * abs(far - outside) + 1e-12


def test_the_envelope_vanishes_with_two_derivatives() -> None:
    x = torch.tensor([1e-4, CUTOFF / 2, CUTOFF], dtype=D, requires_grad=True)
    value = envelope(x, CUTOFF)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert value.tolist() == pytest.approx([1.0, value[1].item(), 0.0], abs=1e-12)
    assert first.tolist()[2] == pytest.approx(0.0, abs=1e-12)
    assert second.tolist()[2] == pytest.approx(0.0, abs=1e-12)
    assert 0 < value[1] < 1


def test_energy_and_forces_stay_bounded_as_atoms_meet(model: GraphEnergy) -> None:
    # Down to coincidence, the energy approaches a limit and forces stay finite and of the same size.
    def at(distance: float) -> tuple[Tensor, Tensor]:
        x = torch.tensor([[0, 0, 0], [distance, 0, 0], [1.5, 1.2, 0.3]], dtype=D).requires_grad_()
        value = GraphNetworkEnergy(model)(cluster(x, [11, 17, 8]), torch.full((1,), 1.0, dtype=D))
        return value.detach(), torch.autograd.grad(value.sum(), x)[0]

    met, force = at(0.0)
    assert force.isfinite().all()
    for distance in (1e-6, 1e-3):
        value, there = at(distance)
        assert float((value - met).abs()) < 100 * distance * (1 + abs(float(met)))
        assert float(there.norm()) < 10 * (1 + float(force.norm()))


def test_directions_are_bounded_and_smooth_at_the_origin() -> None:
    way = torch.tensor([[0.6, 0.0, 0.8]], dtype=D)
    for r in (0.0, 1e-8, 1e-3, 1.0, 1e3):
        direction, distance = softened(r * way)
        assert float(direction.norm()) <= 1.0
        assert float(distance) == pytest.approx(math.hypot(r, 1e-3), rel=1e-9)
    assert torch.autograd.gradcheck(softened, torch.zeros(2, 3, dtype=D, requires_grad=True))


def test_an_atom_alone_has_an_energy(model: GraphEnergy) -> None:
    energy = GraphNetworkEnergy(model)
    far = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]], dtype=D)
    two = energy(cluster(far, [11, 17]), torch.ones(1, dtype=D))
    one = [energy(cluster(far[:1], [z]), torch.ones(1, dtype=D)) for z in (11, 17)]
    torch.testing.assert_close(two, one[0] + one[1])


def test_energies_per_atom_do_not_grow(model: GraphEnergy, state: State, sigma: Tensor) -> None:
    twice = doubled(state)
    one = energy_per_atom(model(state, sigma), state, sigma)
    two = energy_per_atom(model(twice, sigma), twice, sigma)
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model(state, sigma).embedding, model(twice, sigma).embedding, rtol=1e-6, atol=1e-6)


def test_only_odd_channels_distinguish_mirror_images(state: State, sigma: Tensor) -> None:
    # Pseudo-scalars change sign under reflection; they vanish in crystals with a mirror plane, such as perovskite (0),
    # and not in quartz (2), which has none. Without them all scalar features are the same for both enantiomers.
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=D))

    def trunk(*, odd: bool) -> Trunk:
        torch.manual_seed(0)
        made = Trunk(TrunkConfig(channels=8, layers=3, cutoff=CUTOFF, odd=odd)).double()
        for layer in made.layers:  # untrained, vectors are a hundredth of scalars, and triple products of them nothing
            layer.radial[-1].weight.data *= 100
        return made

    here, there = (trunk(odd=True)(s, sigma) for s in (state, turned(state, mirror)))
    torch.testing.assert_close(there[:, 9], -here[:, 9], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(there[:, 0], here[:, 0], rtol=1e-5, atol=1e-5)
    size = here[:, 9].norm(dim=1)
    assert float(size[state.site_system == 0].max()) < 1e-5
    assert float(size[state.site_system == 2].min()) > 1e-2
    here, there = (trunk(odd=False)(s, sigma) for s in (state, turned(state, mirror)))
    torch.testing.assert_close(there[:, 0], here[:, 0], rtol=1e-5, atol=1e-5)


def test_the_noise_level_matters_and_only_to_its_own_system(model: GraphEnergy, state: State, sigma: Tensor) -> None:
    energy = GraphNetworkEnergy(model)
    other = sigma.clone()
    other[1] = 0.7
    change = (energy(state, other) - energy(state, sigma)).abs()
    assert float(change[1]) > 1e-3
    assert float(change[[0, 2, 3, 4]].max()) < 1e-9


def test_the_energy_is_smooth_in_the_noise_level(model: GraphEnergy, state: State, sigma: Tensor) -> None:
    level = sigma.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: GraphNetworkEnergy(model)(state, s), level, eps=1e-6, atol=1e-5, rtol=1e-4
    )


def test_second_derivatives_exist(model: GraphEnergy, state: State, sigma: Tensor) -> None:
    # For training a conservative energy by denoising: slopes of forces in the weights.
    one = system_of(state, 4)
    x = one.positions.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        GraphNetworkEnergy(model)(replace(one, positions=x), sigma[4:]).sum(), x, create_graph=True
    )
    (curved,) = torch.autograd.grad(slope.square().sum(), model.trunk.layers[0].before.weight)
    assert curved.isfinite().all()
    assert curved.any()
    check_forces(GraphNetworkEnergy(model), one, sigma[4:])


# ---------------------------------------------------------------- the template prior

SODIUM, OXYGEN, CHLORINE = (SYMBOLS.index(symbol) for symbol in ("Na", "O", "Cl"))


def tiny_prior(max_atoms: int = 20) -> TemplatePrior:
    torch.manual_seed(0)
    config = TemplatePriorConfig(width=16, layers=2, heads=2, dropout=0.0, max_atoms=max_atoms)
    return TemplatePrior(config).double().eval()


def read(prior: TemplatePrior, templates: list[CrystalTemplate], conditions: Conditions | None = None) -> Tensor:
    """Log probabilities, sites in the order in which they are given."""
    batch = TemplateBatch.of(templates)
    conditions = Conditions.none(batch.n_systems, CRYSTAL_GRIDS) if conditions is None else conditions
    with torch.no_grad():
        return prior(conditions, batch.space_group, pad_sites(batch))


def all_templates(group: int, max_atoms: int, elements: list[int]) -> list[CrystalTemplate]:
    """Every ordered template of a group that is legal and within the cap."""
    sites = list(product(wyckoff_table().positions_of(group), elements))
    found: list[CrystalTemplate] = []
    longer = [CrystalTemplate(group, (s,)) for s in sites]
    while longer:
        legal = [t for t in longer if is_legal(t) and t.n_atoms <= max_atoms]
        found += legal
        longer = [replace(t, sites=(*t.sites, s)) for t in legal for s in sites]
    return found


@pytest.mark.parametrize(("group", "max_atoms"), [(1, 3), (221, 7), (99, 4), (225, 6)])
def test_the_probabilities_of_all_templates_of_a_group_sum_to_one(group: int, max_atoms: int) -> None:
    # Biases that leave two elements: the others' share is below 1e-20, and what is left can be counted. A token that
    # sees the one it predicts, or an incomplete mask, breaks the sum.
    prior, elements = tiny_prior(max_atoms), [SODIUM, CHLORINE]
    rare = torch.ones(N_ELEMENTS, dtype=torch.bool)
    rare[elements] = False
    prior.element_bias.data[rare] = -60.0
    found = all_templates(group, max_atoms, elements)
    assert len(found) > 10
    groups, sites = torch.tensor([group]), pad_sites(TemplateBatch.of(found[:1]))
    with torch.no_grad():
        of_group = prior.group_logits(prior.hidden(Conditions.none(1, CRYSTAL_GRIDS), groups, sites)[:, 0])[
            0, group - 1
        ]
    total = (read(prior, found) - of_group).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-9)


ILLEGAL = {
    "a position without freedom used twice": CrystalTemplate(225, (site(225, "a", "Na"), site(225, "a", "Cl"))),
    "more atoms than the cap": CrystalTemplate(1, (site(1, "a", "Na"),) * 21),
    "a letter that the group lacks": CrystalTemplate(1, (site(225, "b", "Na"),)),
}


@pytest.mark.parametrize("fault", ILLEGAL)
def test_illegal_templates_have_no_probability(fault: str) -> None:
    prior = tiny_prior()
    assert float(read(prior, [ILLEGAL[fault]])) < -1e8
    # It does not change the other systems of the batch.
    legal = CrystalTemplate(225, (site(225, "a", "Na"), site(225, "b", "Cl")))
    torch.testing.assert_close(read(prior, [ILLEGAL[fault], legal])[1:], read(prior, [legal]))


def test_legal_continuations_are_those_that_stay_legal() -> None:
    rng, max_atoms, table = generator(), 12, wyckoff_table()
    for group in (1, 62, 99, 139, 186, 225):
        positions = table.positions_of(group)
        partial = CrystalTemplate(group, ())
        for _ in range(4):
            options = [(p, replace(partial, sites=(*partial.sites, (p, SODIUM)))) for p in positions]
            allowed = {p - positions.start for p, t in options if is_legal(t) and t.n_atoms <= max_atoms}
            # Read after the last site of a template with one site more than the partial one.
            longer = TemplateBatch.of([replace(partial, sites=(*partial.sites, (positions.start, SODIUM)))])
            legal = legal_continuations(torch.tensor([group]), pad_sites(longer), max_atoms)[0, len(partial.sites)]
            assert set(legal[:-1].nonzero().ravel().tolist()) == allowed
            assert bool(legal[-1]) == (len(partial.sites) > 0)
            if not allowed:
                break
            choice = sorted(allowed)[int(torch.randint(len(allowed), (1,), generator=rng))]
            partial = replace(partial, sites=(*partial.sites, (positions.start + choice, SODIUM)))


def test_no_element_zero_and_every_known_element() -> None:
    prior = tiny_prior()
    one = [CrystalTemplate(1, (site(1, "a", SYMBOLS[z]),)) for z in known_elements()]
    assert read(prior, one).isfinite().all()
    assert float(read(prior, [CrystalTemplate(1, ((0, 0),))])) < -1e8


GIVEN = {
    "atoms": {"n_atoms": torch.tensor([5])},
    "elements": {"elements": torch.nn.functional.one_hot(torch.tensor([OXYGEN]), N_ELEMENTS).bool()},
    "all elements": {"complete": torch.tensor([True])},
    "gap": {"properties": torch.tensor([[1.5, math.nan, math.nan]])},
    "formation energy": {"properties": torch.tensor([[math.nan, -1.0, math.nan]])},
    "energy above hull": {"properties": torch.tensor([[math.nan, math.nan, 0.0]])},
}


@pytest.mark.parametrize("name", GIVEN)
def test_every_condition_changes_the_density(name: str) -> None:
    prior, template = tiny_prior(), TEMPLATES[0]
    none = Conditions.none(1, CRYSTAL_GRIDS)
    without, given = (read(prior, [template], c) for c in (none, replace(none, **GIVEN[name])))
    assert float((without - given).abs()) > 1e-4


def test_values_of_a_property_differ_and_are_clamped_to_the_grid() -> None:
    prior = tiny_prior()

    def at(gap: float) -> float:
        properties = torch.tensor([[gap, math.nan, math.nan]])
        return float(read(prior, [TEMPLATES[0]], replace(Conditions.none(1, CRYSTAL_GRIDS), properties=properties)))

    assert at(1.5) != at(1.6)
    assert at(50.0) == at(8.0)
    assert abs(at(1.5 - 1e-7) - at(1.5 + 1e-7)) < 1e-6, "a point of the grid is a kink, not a jump"


def test_padding_and_batch_mates_do_not_matter() -> None:
    prior = tiny_prior()
    together = read(prior, list(TEMPLATES))
    alone = torch.cat([read(prior, [template]) for template in TEMPLATES])
    torch.testing.assert_close(together, alone)


def test_shuffled_sites_are_the_same_sites(templates: TemplateBatch) -> None:
    plain, mixed = pad_sites(templates), pad_sites(templates, generator())
    assert torch.equal(plain.present, mixed.present)
    for i in range(templates.n_systems):
        here = plain.present[i]
        assert sorted(plain.rows[i, here].tolist()) == sorted(mixed.rows[i, here].tolist())
        assert torch.equal(mixed.position[i, here], templates.site_position[mixed.rows[i, here]])
        assert torch.equal(mixed.element[i, here], templates.site_element[mixed.rows[i, here]])
    assert not torch.equal(plain.rows, mixed.rows)


# ---------------------------------------------------------------- the geometry density

PYRITE_LIKE = CrystalTemplate(198, (site(198, "a", "Si"),))  # a volume and one coordinate (u, u, u)


def tiny_density(dtype: torch.dtype = D) -> GeometryDensity:
    torch.manual_seed(1)
    config = GeometryDensityConfig(width=12, layers=1, heads=2, dropout=0.0)
    density = GeometryDensity(config).to(dtype).eval()
    with torch.no_grad():
        # As after training: narrow, and well inside the range of the volume.
        density.head.weight *= 3.0
        place = torch.linspace(-1, 1, density.kind_bias.weight.shape[1])
        density.kind_bias.weight[5] = -20 * (place - 0.2) ** 2
    return density


def pairs(volumes: Tensor, coords: Tensor) -> tuple[TemplateBatch, Geometry]:
    """Systems at every combination, volumes in units of the density's range [0, 1)."""
    first, second = torch.meshgrid(volumes, coords, indexing="ij")
    lattice = torch.zeros(first.numel(), 6, dtype=volumes.dtype)
    lattice[:, 5] = (2 * first.ravel() - 1) * LATTICE_RANGE[5]
    u = torch.zeros(first.numel(), 3, dtype=volumes.dtype)
    u[:, 0] = second.ravel()
    return TemplateBatch.of([PYRITE_LIKE] * first.numel()), Geometry(lattice, u)


@torch.no_grad()
def tabulated(density: GeometryDensity, n: int) -> Tensor:
    """The density on a grid of midpoints (n volumes, n coordinates)."""
    centres = (torch.arange(n, dtype=D) + 0.5) / n
    rows = [density.log_prob(*pairs(part, centres)) for part in centres.split(12)]
    return torch.cat(rows).view(n, n).exp()


@pytest.fixture(scope="module")
def table() -> Tensor:
    return tabulated(tiny_density(), 144)


def test_the_density_integrates_to_one(table: Tensor) -> None:
    # The narrowest component is about a third of 1/72 wide, two thirds of a step of the grid: midpoint sums of
    # Gaussians converge like exp(-2π² (width / step)²), 2e-4, and most are wider. Beyond the range of the volume
    # lies exp(-13).
    assert float(table.mean()) == pytest.approx(1.0, abs=3e-4)
    assert float(table.max() / table.mean()) > 3, "this density should not be flat"


def test_samples_follow_the_density(table: Tensor) -> None:
    # χ² of 8,000 samples in 12 × 12 boxes: at most 143 degrees of freedom, 99.99 % of correct samples below 213.
    n, boxes = 8000, 12
    sampled = tiny_density(torch.float32).sample(TemplateBatch.of([PYRITE_LIKE] * n), generator())
    unit = torch.stack([(sampled.lattice[:, 5] / LATTICE_RANGE[5] + 1) / 2, sampled.coords[:, 0]])
    row, column = (unit * boxes).long().clamp(0, boxes - 1)
    observed = torch.bincount(row * boxes + column, minlength=boxes**2).double()
    share = table.view(boxes, 12, boxes, 12).mean((1, 3)).ravel()
    expected = n * share / share.sum()
    enough = expected > 5
    chi = ((observed - expected) ** 2 / expected)[enough].sum()
    assert int(enough.sum()) > 60
    assert float(chi) < 213


def test_samples_have_only_free_parameters_and_follow_the_seed(templates: TemplateBatch) -> None:
    density = tiny_density(torch.float32)
    sampled, again = (density.sample(templates, generator(4)) for _ in range(2))
    assert torch.equal(sampled.lattice, again.lattice)
    assert torch.equal(sampled.coords, again.coords)
    assert not sampled.lattice[~templates.free_lattice].any()
    assert not sampled.coords[~templates.free_coords].any()
    assert sampled.lattice[templates.free_lattice].all()
    assert sampled.coords[templates.free_coords].all()
    assert float(sampled.coords.min()) >= 0.0
    assert float(sampled.coords.max()) < 1.0


def test_colder_samples_are_likelier() -> None:
    density, templates = tiny_density(torch.float32), TemplateBatch.of([PYRITE_LIKE] * 500)
    with torch.no_grad():
        warm, cold = (density.log_prob(templates, density.sample(templates, generator(), t)).mean() for t in (1.0, 0.3))
    assert float(cold) > float(warm) + 0.5


def test_the_density_of_a_coordinate_is_periodic() -> None:
    density, volumes = tiny_density(), torch.tensor([0.4, 0.6], dtype=D)
    with torch.no_grad():
        low, high = (density.log_prob(*pairs(volumes, torch.tensor([u], dtype=D))) for u in (1e-9, 1 - 1e-9))
    torch.testing.assert_close(low, high, rtol=1e-6, atol=1e-6)


def test_the_density_does_not_see_padding_or_what_is_not_free(templates: TemplateBatch, geometry: Geometry) -> None:
    density = tiny_density()
    with torch.no_grad():
        together = density.log_prob(templates, geometry)
        for i in range(templates.n_systems):
            rows = torch.tensor([i])
            alone = density.log_prob(templates.select(rows), geometry.select(templates, rows))
            torch.testing.assert_close(alone[0], together[i])
        noise = Geometry(torch.ones_like(geometry.lattice), torch.ones_like(geometry.coords))
        other = Geometry(
            torch.where(templates.free_lattice, geometry.lattice, noise.lattice),
            torch.where(templates.free_coords, geometry.coords, noise.coords),
        )
        torch.testing.assert_close(density.log_prob(templates, other), together)


def test_earlier_parameters_do_not_depend_on_later_ones(templates: TemplateBatch, geometry: Geometry) -> None:
    # Else the product of conditionals would be no density: for the one template, moving the last coordinate changes
    # the last factor only, so that the factors before it stay the same.
    density = tiny_density()
    parameters = free_parameters(templates)
    values = to_unit(parameters, geometry)
    other = values.clone()
    last = parameters.present.sum(1) - 1
    other[torch.arange(len(last)), last] = (other[torch.arange(len(last)), last] + 0.37) % 1.0
    with torch.no_grad():
        before, after = (density._components(templates, parameters, v) for v in (values, other))
    for one, two in zip(before, after, strict=True):
        torch.testing.assert_close(one[parameters.present], two[parameters.present])


def test_units_turn_back_into_parameters(templates: TemplateBatch, geometry: Geometry) -> None:
    parameters = free_parameters(templates)
    again = from_unit(parameters, to_unit(parameters, geometry), templates)
    torch.testing.assert_close(again.lattice, geometry.lattice)
    torch.testing.assert_close(again.coords, geometry.coords)
    count = torch.bincount(templates.site_system, weights=templates.free_coords.sum(1).double())
    assert torch.equal(parameters.present.sum(1), (count + templates.free_lattice.sum(1)).long())
