"""Neighbour lists of batches."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from matgen.batch.graphs import take_sites
from matgen.batch.state import State

PAIRS_AT_ONCE = 40_000_000
"""Pairs of a representative atom and an image whose distances are computed together on a GPU."""


@dataclass(frozen=True)
class Edges:
    """Directed edges of a batch, sorted by centre.

    Attributes:
        centre: central atom (n_edges,).
        neighbor: its neighbour (n_edges,).
        offset: cell of the neighbour in lattice vectors (n_edges, 3), in the dtype of the positions.
    """

    centre: Tensor
    neighbor: Tensor
    offset: Tensor

    def vectors(self, state: State) -> Tensor:
        """Return vectors from centre to neighbour (n_edges, 3), Å; differentiable in positions and cell."""
        images = torch.einsum("ei,eij->ej", self.offset, state.cell[state.system_idx[self.centre]])
        apart = state.positions.index_select(0, self.neighbor) - state.positions.index_select(0, self.centre)
        return apart + images


def neighbors(state: State, cutoff: float) -> Edges:
    """Return all pairs closer than `cutoff` (Å) around the representative atoms, periodic images included.

    The list itself is not differentiable; distances come from `Edges.vectors`. Uses vesin on the CPU; on other devices
    computes the distance of every image within reach.
    """
    if state.n_systems == 0:
        nothing = torch.zeros(0, dtype=torch.long, device=state.positions.device)
        return Edges(nothing, nothing, state.positions.new_zeros(0, 3))
    return by_vesin(state, cutoff) if state.positions.device.type == "cpu" else by_images(state, cutoff)


def by_vesin(state: State, cutoff: float) -> Edges:
    """Return the list on the CPU, system by system."""
    import vesin

    calculator = vesin.NeighborList(cutoff=cutoff, full_list=True)
    positions = state.positions.detach().double().numpy()
    cells = state.cell.detach().double().numpy()
    periodic = state.pbc.numpy()
    counts = state.n_atoms.tolist()
    wanted = np.zeros(len(positions), dtype=bool)
    wanted[state.orbits.representatives.numpy()] = True
    centres, others, offsets = [], [], []
    start = 0
    for system, count in enumerate(counts):
        i, j, shift = calculator.compute(
            points=positions[start : start + count], box=cells[system], periodic=periodic[system], quantities="ijS"
        )
        keep = wanted[i.astype(np.int64) + start]
        centres.append(i[keep].astype(np.int64) + start)
        others.append(j[keep].astype(np.int64) + start)
        offsets.append(shift[keep])
        start += count
    centre = torch.from_numpy(np.concatenate(centres))
    order = centre.argsort(stable=True)
    return Edges(
        centre[order],
        torch.from_numpy(np.concatenate(others))[order],
        torch.from_numpy(np.concatenate(offsets))[order].to(state.positions.dtype),
    )


def by_images(state: State, cutoff: float) -> Edges:
    """Return the list on any device, from the distances of all representatives to all atoms of all cells within reach.

    Cell S of the neighbour is within reach if |S_k| ≤ cutoff / h_k + 1 along each periodic axis, where h_k is the
    distance of the cell's faces; atoms are wrapped into the cell first. Systems are processed in groups to limit
    memory.
    """
    positions, cell = state.positions.detach().double(), state.cell.detach().double()
    to_frac = torch.linalg.inv(cell)
    frac = torch.einsum("ni,nij->nj", positions, to_frac[state.system_idx])
    whole = torch.where(state.pbc[state.system_idx], frac.floor(), 0.0)
    wrapped = torch.einsum("ni,nij->nj", frac - whole, cell[state.system_idx])
    reach = (cutoff * to_frac.norm(dim=1) + 1).floor().long() * state.pbc.long()
    n_sites = torch.bincount(state.site_system, minlength=state.n_systems)
    pairs = n_sites * state.n_atoms * (2 * reach + 1).prod(1)
    group = pairs.cumsum(0) // PAIRS_AT_ONCE
    parts = [
        _measured(state, systems, wrapped, reach, cutoff)
        for systems in torch.arange(state.n_systems, device=group.device).split(torch.bincount(group).tolist())
        if len(systems)
    ]
    centre, neighbor, image = (torch.cat(part) for part in zip(*parts, strict=True))
    order = centre.argsort(stable=True)
    centre, neighbor = centre[order], neighbor[order]
    offset = image[order] - whole[neighbor] + whole[centre]
    return Edges(centre, neighbor, offset.to(state.positions.dtype))


def _measured(
    state: State, systems: Tensor, wrapped: Tensor, reach: Tensor, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres, neighbours and images (float64) of the pairs of some systems within the cutoff."""
    atoms, owner = take_sites(state.system_idx, state.n_systems, systems)
    sites, site_owner = take_sites(state.site_system, state.n_systems, systems)
    n_atoms = torch.bincount(owner, minlength=len(systems))
    width = 2 * reach[systems] + 1
    n_images = width.prod(1)
    per_site = (n_atoms * n_images)[site_owner]
    site = torch.repeat_interleave(torch.arange(len(sites), device=sites.device), per_site)
    rank = torch.arange(len(site), device=sites.device) - (per_site.cumsum(0) - per_site)[site]
    system = site_owner[site]
    first = n_atoms.cumsum(0) - n_atoms
    neighbor = atoms[first[system] + rank // n_images[system]]
    image, images = rank % n_images[system], []
    for axis in (2, 1, 0):
        size = width[system, axis]
        images.append(image % size - reach[systems][system, axis])
        image = image // size
    shift = torch.stack(images[::-1], dim=1).double()
    centre = state.orbits.representatives[sites][site]
    cell = state.cell.detach().double()[systems]
    vectors = wrapped[neighbor] - wrapped[centre] + torch.einsum("ei,eij->ej", shift, cell[system])
    itself = (neighbor == centre) & (shift == 0).all(1)
    near = (vectors.square().sum(1) < cutoff**2) & ~itself
    return centre[near], neighbor[near], shift[near]
