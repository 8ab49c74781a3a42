"""Laws of energies: sums, weights and breakdowns; gradients are slopes; the contract checks notice faults."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.chemistry.elements import ATOMIC_NUMBERS
from matgen.energies.base import Energy, Sum, TemplateEnergy, TemplateSum, forces, gradients
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.wyckoff import wyckoff_table
from matgen.testing import check_energy, check_forces, check_gradients, check_template_energy

NA, CL = ATOMIC_NUMBERS["Na"], ATOMIC_NUMBERS["Cl"]


def row(group: int, letter: str) -> int:
    return wyckoff_table().positions_of(group)["abcdefghijklmnopqrstuvwxyz".index(letter)]


TRICLINIC = CrystalTemplate(1, ((row(1, "a"), NA), (row(1, "a"), CL)))
ORTHORHOMBIC = CrystalTemplate(62, ((row(62, "a"), NA), (row(62, "c"), CL)))
HEXAGONAL = CrystalTemplate(186, ((row(186, "b"), NA), (row(186, "b"), CL)))
TEMPLATES = [TRICLINIC, ORTHORHOMBIC, HEXAGONAL]


class Lattice(Energy):
    """Gaussians between all atoms and their images, a few cells far: smooth, periodic, extensive, achiral."""

    name = "lattice"

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        images = torch.cartesian_prod(*[torch.arange(-3, 4)] * 3).to(state.positions)
        i, j = torch.meshgrid(*[torch.arange(len(state.positions))] * 2, indexing="ij")
        same = state.system_idx[i] == state.system_idx[j]
        i, j = i[same], j[same]
        cell = state.cell[state.system_idx[i]]
        offset = state.positions[i] - state.positions[j]
        # Count images from the nearest cell, so that a shift by lattice vectors doesn't move the window.
        cells = torch.linalg.solve(cell.mT, offset).round().detach()
        offset = offset - torch.einsum("pi,pij->pj", cells, cell)
        squared = (offset[:, None] + torch.einsum("mi,pij->pmj", images, cell)).square().sum(-1)
        charges = state.atomic_numbers[i] * state.atomic_numbers[j] / 100
        pairs = charges * (-squared / (2 * (1 + sigma[state.system_idx[i], None] ** 2)).clamp(min=1)).exp().sum(1)
        return torch.zeros_like(sigma, dtype=pairs.dtype).index_add(0, state.system_idx[i], pairs / 2)


class Density(Energy):
    """Atoms per Å³, as a target: |ln ρ - ln 0.03|²."""

    name = "density=0.03"  # names may hold any character

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        return (state.n_atoms / state.volume / 0.03).log().square() / (1 + sigma)


class Chlorines(Energy):
    """Counts chlorine: doesn't depend on the geometry."""

    name = "chlorines"

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        count = (state.atomic_numbers == CL).to(state.positions)
        return torch.zeros_like(sigma).index_add(0, state.system_idx, count)


class Group(TemplateEnergy):
    """Prefers low space groups."""

    name = "group"

    def forward(self, templates: TemplateBatch) -> Tensor:
        return templates.space_group.double().log()


class Sites(TemplateEnergy):
    """Counts sites."""

    name = "sites"

    def forward(self, templates: TemplateBatch) -> Tensor:
        return torch.bincount(templates.site_system, minlength=templates.n_systems).double()


@pytest.fixture
def batch() -> tuple[TemplateBatch, Geometry]:
    templates, generator = TemplateBatch.of(TEMPLATES), torch.Generator().manual_seed(0)
    lattice = 0.1 * torch.randn(3, 6, generator=generator, dtype=torch.float64) * templates.free_lattice
    coords = torch.rand(templates.free_coords.shape, generator=generator, dtype=torch.float64) * templates.free_coords
    return templates, Geometry(lattice, coords)


@pytest.fixture
def state(batch: tuple[TemplateBatch, Geometry]) -> State:
    return expand(*batch)


@pytest.fixture
def sigma() -> Tensor:
    return torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)


# ---------------------------------------------------------------- the algebra


def test_a_sum_is_the_sum(state: State, sigma: Tensor) -> None:
    a, b, c = Lattice(), Density(), Chlorines()
    assert torch.equal((a + b)(state, sigma), a(state, sigma) + b(state, sigma))
    left, right = ((a + b) + c)(state, sigma), (a + (b + c))(state, sigma)
    assert torch.allclose(left, right, rtol=1e-14)  # rounding of another order
    assert torch.allclose((a + b)(state, sigma), (b + a)(state, sigma), rtol=1e-14)


def test_a_weight_goes_through_a_sum(state: State, sigma: Tensor) -> None:
    a, b = Lattice(), Density()
    assert torch.allclose((3.0 * (a + b))(state, sigma), (3.0 * a + 3.0 * b)(state, sigma), rtol=1e-14)
    assert torch.allclose((2.0 * (3.0 * a))(state, sigma), 6.0 * a(state, sigma), rtol=1e-14)
    assert torch.equal((1.0 * a)(state, sigma), a(state, sigma))


def test_the_breakdown_sums_to_the_total(state: State, sigma: Tensor) -> None:
    total = Lattice() + 2.0 * Density() + 0.5 * (Chlorines() + Density())
    assert isinstance(total, Sum)
    parts = total.breakdown(state, sigma)
    assert list(parts) == ["lattice", "density=0.03", "chlorines", "density=0.03_2"]
    assert torch.equal(torch.stack(list(parts.values())).sum(0), total(state, sigma))
    assert torch.equal(parts["density=0.03"], 4 * parts["density=0.03_2"])
    assert {name: weight for name, (weight, _) in total.terms().items()} == {
        "lattice": 1.0,
        "density=0.03": 2.0,
        "chlorines": 0.5,
        "density=0.03_2": 0.5,
    }


def test_adding_changes_neither_summand(state: State, sigma: Tensor) -> None:
    a = 2.0 * Lattice()
    before = a(state, sigma)
    total = a + Density()
    assert list(a.terms()) == ["lattice"]
    assert torch.equal(a(state, sigma), before)
    assert len(total.terms()) == 2


def test_template_energies_share_the_algebra() -> None:
    templates = TemplateBatch.of(TEMPLATES)
    total = Group() + 0.5 * Sites()
    assert isinstance(total, TemplateSum)
    assert torch.equal(total(templates), Group()(templates) + 0.5 * Sites()(templates))
    assert list(total.breakdown(templates)) == ["group", "sites"]


def test_states_and_templates_do_not_mix() -> None:
    with pytest.raises(TypeError, match=r"Lattice \+ Group: one scores templates and the other states"):
        Lattice() + Group()
    with pytest.raises(TypeError, match="one scores templates"):
        (Group() + Sites()) + Lattice()


def test_an_empty_sum_is_nothing(state: State, sigma: Tensor) -> None:
    assert Sum({})(state, sigma).tolist() == [0.0, 0.0, 0.0]
    assert TemplateSum({})(TemplateBatch.of(TEMPLATES)).tolist() == [0.0, 0.0, 0.0]


def test_a_sum_owns_its_parts_as_a_module_does() -> None:
    class Learned(Density):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

    total = Lattice() + 2.0 * Learned()
    assert len(list(total.parameters())) == 1
    total.double()
    assert next(total.parameters()).dtype == torch.float64


# ---------------------------------------------------------------- derivatives


def test_gradients_are_slopes_through_expand(batch: tuple[TemplateBatch, Geometry], sigma: Tensor) -> None:
    templates, geometry = batch
    for energy in (Lattice(), Density(), Lattice() + 2.0 * Density()):
        check_gradients(energy, templates, geometry, sigma)


def test_forces_are_slopes(state: State, sigma: Tensor) -> None:
    check_forces(Lattice() + Density(), state, sigma)
    value, force = forces(Lattice(), state, sigma)
    assert torch.equal(value, Lattice()(state, sigma))
    assert force.abs().max() > 1e-3


def test_no_net_force(state: State, sigma: Tensor) -> None:
    _, force = forces(Lattice(), state, sigma)
    net = torch.zeros(3, 3, dtype=torch.float64).index_add(0, state.system_idx, force)
    assert net.abs().max() < 1e-12 * float(force.abs().max() + 1) * len(force)  # rounding of that many terms


def test_what_does_not_depend_on_the_geometry_has_no_slope(
    batch: tuple[TemplateBatch, Geometry], state: State, sigma: Tensor
) -> None:
    value, slope = gradients(Chlorines(), *batch, sigma)
    assert value.tolist() == [1.0, 4.0, 2.0]
    assert not slope.lattice.any()
    assert not slope.coords.any()
    assert not forces(Chlorines(), state, sigma)[1].any()
    assert not forces(Density(), state, sigma)[1].any()  # depends on the cell alone


def test_gradients_leave_no_graph_behind(batch: tuple[TemplateBatch, Geometry], sigma: Tensor) -> None:
    value, slope = gradients(Lattice(), *batch, sigma)
    assert not value.requires_grad
    assert not slope.lattice.requires_grad
    assert not batch[1].lattice.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_geometry(batch: tuple[TemplateBatch, Geometry], sigma: Tensor, dtype: torch.dtype) -> None:
    templates, geometry = batch
    value, slope = gradients(
        Density(), templates, Geometry(geometry.lattice.to(dtype), geometry.coords.to(dtype)), sigma.to(dtype)
    )
    assert value.dtype == slope.lattice.dtype == slope.coords.dtype == dtype


# ---------------------------------------------------------------- the contract checks


def test_sound_energies_pass_the_contract(state: State, sigma: Tensor) -> None:
    check_energy(Lattice(), state, sigma, extensive=True)
    check_energy(Density(), state, sigma)
    check_energy(Lattice() + 2.0 * Chlorines(), state, sigma, extensive=True)
    check_template_energy(Group() + Sites(), TEMPLATES)


def chiral(state: State, sigma: Tensor) -> Tensor:
    """Distinguishes mirror images by the chirality of the cell."""
    return torch.linalg.det(state.cell) / 100 + 0 * sigma


def per_system(state: State, values: Tensor) -> Tensor:
    return torch.zeros(state.n_systems, dtype=values.dtype).index_add(0, state.system_idx, values)


BROKEN: dict[str, tuple[Callable[[State, Tensor], Tensor], str]] = {
    "shape": (lambda state, _: state.positions.sum(), "expected energies"),
    "dtype": (lambda state, sigma: Density()(state, sigma).float(), "expected the dtype of the positions"),
    "infinite": (lambda state, _: state.volume / 0, "expected finite energies"),
    "random": (lambda state, _: torch.rand(state.n_systems, dtype=torch.float64), "two calls differ"),
    "rotation": (lambda state, _: state.cell[:, 0, 0], "rotated"),
    "chirality": (chiral, "mirror images"),
    "images": (lambda state, _: per_system(state, state.positions.norm(dim=1)), "whole lattice vectors"),
    "order": (
        lambda state, _: per_system(state, state.atomic_numbers * torch.arange(len(state.positions)).double()),
        "order of the atoms",
    ),
    "orbits": (
        lambda state, _: torch.bincount(state.site_system, minlength=state.n_systems).double(),
        "symmetry is forgotten",
    ),
    "batch": (lambda state, _: state.volume / state.volume.mean(), "alone than in a batch"),
    "slope": (lambda state, sigma: Lattice()(state, sigma).detach() + 0 * state.volume, "not the slope"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_contract_notices(fault: str, state: State, sigma: Tensor) -> None:
    energy, lesson = BROKEN[fault]
    with pytest.raises(AssertionError, match=lesson):
        check_energy(energy, state, sigma)


def test_the_contract_notices_averages_and_false_lattice_slopes(
    batch: tuple[TemplateBatch, Geometry], state: State, sigma: Tensor
) -> None:
    with pytest.raises(AssertionError, match="hasn't twice the energy"):
        check_energy(Density(), state, sigma, extensive=True)
    with pytest.raises(AssertionError, match="derivatives in lattice are not the slope"):
        check_gradients(lambda s, _: s.volume.detach() + 0 * s.volume, *batch, sigma)
    check_energy(chiral, state, sigma, mirror=False)


def test_the_template_contract_notices() -> None:
    class First(TemplateEnergy):
        def forward(self, templates: TemplateBatch) -> Tensor:
            first = torch.searchsorted(templates.site_system, torch.arange(templates.n_systems))
            return templates.site_element[first].double()

    class Share(TemplateEnergy):
        def forward(self, templates: TemplateBatch) -> Tensor:
            return templates.space_group.double().softmax(0)

    with pytest.raises(AssertionError, match="order of the sites"):
        check_template_energy(First(), TEMPLATES)
    with pytest.raises(AssertionError, match="alone than in a batch"):
        check_template_energy(Share(), TEMPLATES)
    with pytest.raises(AssertionError, match="expected energies"):
        check_template_energy(lambda t: Group()(t).sum(), TEMPLATES)


def test_the_contract_wants_float64(state: State) -> None:
    single = State.of(state.positions.float(), state.atomic_numbers, state.cell.float(), state.pbc, state.system_idx)
    with pytest.raises(AssertionError, match="float64"):
        check_energy(Density(), single, torch.full((3,), math.pi))
