"""Contract checks for energies, including user-defined ones.

    from matgen.testing import check_energy
    def test_my_energy(): check_energy(MyEnergy(), state, sigma)

Every check raises an `AssertionError` that names the violated law and its likely cause. States must be in float64, so
that tolerances near rounding separate violations from noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from matgen.batch.state import Orbits, State
from matgen.energies.base import forces, gradients
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate

StateEnergy = Callable[[State, Tensor], Tensor]

TOLERANCE = 1e-8  # of 1 + |E|: sums of a few hundred float64 terms in different order
SLOPE_TOLERANCE = 1e-5  # of 1 + |slope|: central differences of step 1e-4 err by 1e-9 times the third derivative
STEP = 1e-4  # Å, or the unit of a free parameter


def check_energy(
    energy: StateEnergy,
    state: State,
    sigma: Tensor,
    *,
    mirror: bool = True,
    extensive: bool = False,
    tolerance: float = TOLERANCE,
) -> None:
    """Check every law that an energy of states must satisfy.

    Args:
        energy: function of a state and its noise levels (n_systems,), Å.
        state: a batch of at least two systems, float64.
        sigma: noise levels (n_systems,), Å.
        mirror: whether mirror images must have the same energy.
        extensive: whether a doubled cell must have twice the energy.
        tolerance: allowed deviation, relative to 1 + |E|.

    Slopes are checked unless its `use` is "values".
    """
    check_output(energy, state, sigma)
    check_determinism(energy, state, sigma)
    check_rotation(energy, state, sigma, tolerance=tolerance)
    if mirror:
        check_reflection(energy, state, sigma, tolerance=tolerance)
    check_lattice_shifts(energy, state, sigma, tolerance=tolerance)
    check_permutation(energy, state, sigma, tolerance=tolerance)
    check_orbits(energy, state, sigma, tolerance=tolerance)
    check_batching(energy, state, sigma, tolerance=tolerance)
    if extensive:
        check_supercell(energy, state, sigma, tolerance=tolerance)
    if getattr(energy, "use", "slopes") != "values":
        check_forces(energy, state, sigma)


def check_output(energy: StateEnergy, state: State, sigma: Tensor) -> None:
    """Check for one finite float64 number per system."""
    _demand(state.positions.dtype == torch.float64, "contract checks need a state in float64")
    value = energy(state, sigma)
    _demand(value.shape == (state.n_systems,), f"expected energies ({state.n_systems},), got {tuple(value.shape)}")
    _demand(value.dtype == torch.float64, f"expected the dtype of the positions, float64, got {value.dtype}")
    _demand(bool(value.isfinite().all()), f"expected finite energies, got {value.tolist()}")


def check_determinism(energy: StateEnergy, state: State, sigma: Tensor) -> None:
    """Check that two calls give identical results."""
    message = "two calls differ; is dropout on (call .eval()), or is there a hidden random number?"
    _same(energy(state, sigma), energy(state, sigma), 0.0, message)


def check_rotation(energy: StateEnergy, state: State, sigma: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Check that the energy is invariant under rotation."""
    message = "the energy changes as the whole crystal is rotated; use distances, or equivariant features"
    _same(energy(state, sigma), energy(turned(state, _rotation()), sigma), tolerance, message)


def check_reflection(energy: StateEnergy, state: State, sigma: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Check that the energy is invariant under reflection."""
    message = "the energy tells mirror images apart; if it is meant to, pass mirror=False"
    _same(energy(state, sigma), energy(turned(state, -_rotation()), sigma), tolerance, message)


def check_lattice_shifts(energy: StateEnergy, state: State, sigma: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Check that the energy is invariant under shifts of atoms by lattice vectors."""
    shifts = torch.randint(-2, 3, state.positions.shape, generator=_generator()).to(state.positions)
    shifts = shifts * state.pbc[state.system_idx]
    images = torch.einsum("ni,nij->nj", shifts, state.cell[state.system_idx])
    moved = replace(state, positions=state.positions + images)
    message = "the energy changes as atoms are moved by whole lattice vectors; take images from the neighbour list"
    _same(energy(state, sigma), energy(moved, sigma), tolerance, message)


def check_permutation(energy: StateEnergy, state: State, sigma: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Check that the energy is invariant under permutation of atoms."""
    message = "the energy changes with the order of the atoms within a system; sum over atoms"
    _same(energy(state, sigma), energy(shuffled(state), sigma), tolerance, message)


def check_orbits(energy: StateEnergy, state: State, sigma: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Check that the energy does not change without the symmetry of the state."""
    message = "the energy changes as the symmetry is forgotten; weigh sites by multiplicity, turn features by rotations"
    _same(energy(state, sigma), energy(state.without_symmetry(), sigma), tolerance, message)


def check_batching(energy: StateEnergy, state: State, sigma: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Check that the energy of a system does not depend on the other systems of the batch."""
    alone = torch.cat([energy(system_of(state, i), sigma[i : i + 1]) for i in range(state.n_systems)])
    message = "a system has another energy alone than in a batch; normalise per system, never over the batch"
    _same(energy(state, sigma), alone, tolerance, message)


def check_supercell(energy: StateEnergy, state: State, sigma: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Check that a doubled cell has twice the energy."""
    message = "a doubled cell hasn't twice the energy; sum over atoms rather than average, or pass extensive=False"
    _same(2 * energy(state, sigma), energy(doubled(state), sigma), tolerance, message)


def check_forces(
    energy: StateEnergy, state: State, sigma: Tensor, *, tolerance: float = SLOPE_TOLERANCE, step: float = STEP
) -> None:
    """Check that the forces of autograd equal the slope of the energy along a random displacement of all atoms."""
    free = state.without_symmetry()
    way = torch.randn(state.positions.shape, generator=_generator(), dtype=torch.float64)
    up, down = (energy(replace(free, positions=free.positions + s * step * way), sigma) for s in (1, -1))
    _, force = forces(energy, free, sigma)
    slope = torch.zeros_like(up).index_add(0, state.system_idx, -(force * way).sum(1))
    message = "forces are not the slope of the energy; look for detach(), numpy, a cutoff that jumps, or integers"
    _same((up - down).detach() / (2 * step), slope, tolerance, message)


def check_gradients(
    energy: StateEnergy,
    templates: TemplateBatch,
    geometry: Geometry,
    sigma: Tensor,
    *,
    tolerance: float = SLOPE_TOLERANCE,
    step: float = STEP,
) -> None:
    """Check that gradients by free parameters equal the slopes of the energy, and are zero for fixed ones."""
    _demand(geometry.lattice.dtype == torch.float64, "contract checks need a geometry in float64")
    generator = _generator()
    _, slope = gradients(energy, templates, geometry, sigma)
    for name, free in (("lattice", templates.free_lattice), ("coords", templates.free_coords)):
        parameter, derivative = getattr(geometry, name), getattr(slope, name)
        system = torch.arange(templates.n_systems) if name == "lattice" else templates.site_system
        _demand(not derivative[~free].any(), f"derivatives in {name} that are not free must be zero")
        way = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * free
        up, down = (
            gradients(energy, templates, replace(geometry, **{name: parameter + s * step * way}), sigma)[0]
            for s in (1, -1)
        )
        along = torch.zeros_like(up).index_add(0, system, (derivative * way).sum(1))
        message = f"derivatives in {name} are not the slope of the energy; does it read positions *and* cell?"
        _same((up - down) / (2 * step), along, tolerance, message)


def check_template_energy(
    energy: Callable[[TemplateBatch], Tensor], templates: Sequence[CrystalTemplate], *, tolerance: float = TOLERANCE
) -> None:
    """Check that an energy of templates is deterministic and independent of site order and of the batch."""
    batch = TemplateBatch.of(templates)
    value = energy(batch)
    _demand(value.shape == (len(templates),), f"expected energies ({len(templates)},), got {tuple(value.shape)}")
    _demand(not value.isnan().any(), f"expected numbers, or inf for what is ruled out, got {value.tolist()}")
    _same(value, energy(batch), 0.0, "two calls differ; is dropout on (call .eval()), or a hidden random number?")
    turned_round = [replace(t, sites=t.sites[::-1]) for t in templates]
    _same(value, energy(TemplateBatch.of(turned_round)), tolerance, "the energy changes with the order of the sites")
    alone = torch.cat([energy(TemplateBatch.of([t])) for t in templates])
    _same(value, alone, tolerance, "a template has another energy alone than in a batch")


def turned(state: State, rotation: Tensor) -> State:
    """Return the state rotated, or reflected, by an orthogonal matrix (3, 3) on column vectors."""
    return replace(
        state,
        positions=state.positions @ rotation.T,
        cell=state.cell @ rotation.T,
        orbits=replace(state.orbits, rotations=rotation @ state.orbits.rotations @ rotation.T),
    )


def shuffled(state: State) -> State:
    """Return the state with the atoms of each system in a random order."""
    order = (
        state.system_idx + 0.999 * torch.rand(len(state.system_idx), generator=_generator(), dtype=torch.float64)
    ).argsort()
    place = torch.empty_like(order).index_copy(0, order, torch.arange(len(order)))
    orbits = replace(
        state.orbits,
        site_idx=state.orbits.site_idx[order],
        representatives=place[state.orbits.representatives],
        rotations=state.orbits.rotations[order],
    )
    atomic_numbers = state.atomic_numbers[order]
    return replace(state, positions=state.positions[order], atomic_numbers=atomic_numbers, orbits=orbits)


def doubled(state: State) -> State:
    """Return the state with every cell doubled along its first vector, without symmetry."""
    _demand(bool(state.pbc[:, 0].all()), "only a system that is periodic along its first vector can be doubled")
    both = torch.cat([state.positions, state.positions + state.cell[state.system_idx, 0]])
    order = torch.cat([state.system_idx, state.system_idx]).sort(stable=True)
    atomic_numbers = state.atomic_numbers.repeat(2)[order.indices]
    cell = state.cell * torch.tensor([2.0, 1.0, 1.0], dtype=state.cell.dtype)[:, None]
    return State.of(both[order.indices], atomic_numbers, cell, state.pbc, order.values)


def system_of(state: State, i: int) -> State:
    """Return one system of a batch."""
    atoms = (state.system_idx == i).nonzero().ravel()
    sites = (state.site_system == i).nonzero().ravel()
    orbits = Orbits(
        torch.searchsorted(sites, state.orbits.site_idx[atoms]),
        torch.searchsorted(atoms, state.orbits.representatives[sites]),
        state.orbits.rotations[atoms],
        state.orbits.multiplicity[sites],
    )
    here = slice(i, i + 1)
    atomic_numbers, idx = state.atomic_numbers[atoms], torch.zeros_like(atoms)
    return State(state.positions[atoms], atomic_numbers, state.cell[here], state.pbc[here], idx, orbits)


def _same(expected: Tensor, got: Tensor, tolerance: float, message: str) -> None:
    expected, got = expected.detach(), got.detach()
    off = torch.where(expected == got, 0.0, (got - expected).abs() / (1 + expected.abs()))
    worst = int(torch.nan_to_num(off, nan=torch.inf).argmax())
    _demand(
        float(off[worst]) <= tolerance,
        (
            f"{message} (system {worst}: expected {float(expected[worst]):.10g}, got {float(got[worst]):.10g}, "
            f"tolerance {tolerance:g})"
        ),
    )


def _demand(held: bool, message: str) -> None:  # noqa: FBT001  # unlike `assert`, it survives `python -O`
    if not held:
        raise AssertionError(message)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _rotation() -> Tensor:
    """Return a fixed proper rotation about a skew axis."""
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=_generator(), dtype=torch.float64))
    return q * torch.linalg.det(q)
