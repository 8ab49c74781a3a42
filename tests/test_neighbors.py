"""Laws of neighbour lists: every pair within the cutoff, every image, from both ends."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from matgen.batch.neighbors import Edges, by_images, by_vesin, neighbors
from matgen.batch.state import Orbits, State

D = torch.float64

# Rows in Å. In the second, a sphere of 5 Å reaches four cells away along one row; the third is nearly flat.
CELLS = {
    "cubic": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]],
    "small and skew": [[2.1, 0.0, 0.0], [1.6, 2.0, 0.0], [-1.1, 0.9, 2.3]],
    "sheared": [[6.0, 0.0, 0.0], [5.5, 1.5, 0.0], [-4.0, 3.0, 5.0]],
    "left-handed": [[0.0, 3.0, 0.5], [3.2, 0.3, 0.0], [0.4, 0.0, 5.0]],
}


Finder = Callable[[State, float], Edges]


@pytest.fixture(params=[by_vesin, by_images])
def find(request: pytest.FixtureRequest) -> Finder:
    """Both ways of finding neighbours, that of the CPU and that of a GPU."""
    found: Finder = request.param
    return found


def state_of(cell: list[list[float]], pbc: tuple[bool, bool, bool], n: int = 4) -> State:
    """Atoms partly outside of the cell."""
    frac = 3 * torch.rand(n, 3, dtype=D, generator=torch.Generator().manual_seed(n)) - 1
    lattice = torch.tensor(cell, dtype=D)
    system = torch.zeros(n, dtype=torch.long)
    return State.of(frac @ lattice, torch.arange(1, n + 1), lattice[None], torch.tensor([pbc]), system)


def listed(edges: Edges) -> set[tuple[int, ...]]:
    rows = torch.cat([edges.centre[:, None], edges.neighbor[:, None], edges.offset.long()], dim=1).tolist()
    found = {tuple(row) for row in rows}
    assert len(found) == len(rows), "an edge is listed twice"
    return found


def tried(state: State, cutoff: float, reach: int = 9) -> set[tuple[int, ...]]:
    """All pairs, by trying every image up to `reach` cells away along periodic directions."""
    periodic = state.pbc[0].tolist()
    steps = [range(-reach, reach + 1) if p else range(1) for p in periodic]
    shifts = np.array(list(product(*steps)))
    x, cell = state.positions.numpy(), state.cell[0].numpy()
    vectors = x[None, :, None] - x[:, None, None] + (shifts @ cell)[None, None]
    distance = np.linalg.norm(vectors, axis=-1)
    close = distance < cutoff
    here = (shifts == 0).all(1)
    close[np.arange(len(x)), np.arange(len(x))] &= ~here
    return {(i, j, *shifts[k].tolist()) for i, j, k in np.argwhere(close).tolist()}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, False), (False, False, False)])
def test_the_list_is_complete_and_exact(find: Finder, name: str, pbc: tuple[bool, bool, bool]) -> None:
    state = state_of(CELLS[name], pbc)
    assert listed(find(state, 5.0)) == tried(state, 5.0)


def test_one_atom_sees_its_own_images(find: Finder) -> None:
    state = state_of(CELLS["small and skew"], (True, True, True), n=1)
    assert listed(find(state, 4.0)) == tried(state, 4.0)
    assert len(find(state, 4.0).centre) > 20


def test_vectors_lead_from_centre_to_neighbour() -> None:
    state = state_of(CELLS["sheared"], (True, True, True))
    edges = neighbors(state, 5.0)
    images = edges.offset @ state.cell[0]
    ends = state.positions[edges.centre] + edges.vectors(state)
    torch.testing.assert_close(ends, state.positions[edges.neighbor] + images)
    assert float(edges.vectors(state).norm(dim=1).max()) < 5.0


def test_vectors_are_differentiable_in_positions_and_cell() -> None:
    state = state_of(CELLS["left-handed"], (True, True, True), n=2)
    edges = neighbors(state, 3.5)

    def vectors(positions: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        return edges.vectors(replace(state, positions=positions, cell=cell))

    inputs = (state.positions.clone().requires_grad_(), state.cell.clone().requires_grad_())
    assert torch.autograd.gradcheck(vectors, inputs)


def test_every_edge_is_listed_from_both_ends(find: Finder) -> None:
    found = listed(find(state_of(CELLS["small and skew"], (True, True, True)), 4.0))
    assert {(j, i, -a, -b, -c) for i, j, a, b, c in found} == found


def test_systems_of_a_batch_are_listed_as_if_alone(find: Finder) -> None:
    one = state_of(CELLS["cubic"], (True, True, True), n=3)
    empty = state_of([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]], (True, True, True), n=1)
    two = state_of(CELLS["sheared"], (True, True, False), n=2)
    systems = torch.repeat_interleave(torch.arange(3), torch.tensor([3, 1, 2]))
    both = State.of(
        torch.cat([one.positions, empty.positions, two.positions]),
        torch.cat([one.atomic_numbers, empty.atomic_numbers, two.atomic_numbers]),
        torch.cat([one.cell, empty.cell, two.cell]),
        torch.cat([one.pbc, empty.pbc, two.pbc]),
        systems,
    )
    edges = find(both, 5.0)
    later = {(i + 4, j + 4, *offset) for i, j, *offset in listed(find(two, 5.0))}
    assert listed(edges) == listed(find(one, 5.0)) | later
    assert bool((edges.centre.diff() >= 0).all()), "edges are sorted by centre"


def test_only_representatives_have_neighbours(find: Finder) -> None:
    # Which the list does not verify: it trusts the orbits.
    state = state_of(CELLS["cubic"], (True, True, True), n=4)
    orbits = Orbits(
        torch.tensor([0, 1, 1, 0]),
        torch.tensor([3, 1]),
        torch.eye(3, dtype=D).expand(4, 3, 3),
        torch.tensor([2, 2]),
    )
    edges = find(replace(state, orbits=orbits), 5.0)
    assert listed(edges) == {edge for edge in tried(state, 5.0) if edge[0] in (1, 3)}


def test_no_neighbours_are_no_edges(find: Finder) -> None:
    state = state_of(CELLS["cubic"], (False, False, False), n=1)
    edges = find(state, 5.0)
    assert len(edges.centre) == 0
    assert edges.vectors(state).shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_offsets_have_the_dtype_of_the_positions(find: Finder, dtype: torch.dtype) -> None:
    state = state_of(CELLS["cubic"], (True, True, True))
    state = replace(state, positions=state.positions.to(dtype), cell=state.cell.to(dtype))
    assert find(state, 5.0).offset.dtype == dtype
    assert listed(find(state, 5.0)) == tried(replace(state, positions=state.positions.double()), 5.0)


def test_a_list_made_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [state_of(CELLS[name], (True, True, True), n=n) for n, name in enumerate(CELLS, start=1)]
    systems = torch.repeat_interleave(torch.arange(4), torch.arange(1, 5))
    numbers, pbc = (torch.cat([getattr(p, name) for p in parts]) for name in ("atomic_numbers", "pbc"))
    positions, cell = (torch.cat([getattr(p, name) for p in parts]) for name in ("positions", "cell"))
    whole = State.of(positions, numbers, cell, pbc, systems)
    at_once = listed(by_images(whole, 5.0))
    monkeypatch.setattr("matgen.batch.neighbors.PAIRS_AT_ONCE", 1000)
    assert listed(by_images(whole, 5.0)) == at_once == listed(by_vesin(whole, 5.0))
