"""Neighbour lists of batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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
    memory. It waits for the device twice: for the number of pairs, and for that of edges.
    """
    positions, cell = state.positions.detach().double(), state.cell.detach().double()
    to_frac = torch.linalg.inv_ex(cell).inverse  # unlike inv, it does not wait for the device to find errors
    frac = torch.einsum("ni,nij->nj", positions, to_frac[state.system_idx])
    whole = torch.where(state.pbc[state.system_idx], frac.floor(), 0.0)
    wrapped = torch.einsum("ni,nij->nj", frac - whole, cell[state.system_idx])
    reach = (cutoff * to_frac.norm(dim=1) + 1).floor().long() * state.pbc.long()
    images = _Images(state, wrapped, cell, reach, _counted(state.system_idx, state.n_systems))
    n_sites = _counted(state.site_system, state.n_systems)
    per_system = torch.stack([n_sites, n_sites * images.n_atoms * images.per_atom], dim=1).tolist()
    parts = [images.near(sites, pairs, cutoff) for sites, pairs in _groups(per_system)]
    centre, neighbor, image = (torch.cat(part) for part in zip(*parts, strict=True))
    order = centre.argsort(stable=True)
    centre, neighbor = centre[order], neighbor[order]
    offset = image[order] - whole[neighbor] + whole[centre]
    return Edges(centre, neighbor, offset.to(state.positions.dtype))


def _counted(owner: Tensor, n: int) -> Tensor:
    """How often each of 0 … n - 1 occurs; unlike bincount, without waiting for the device."""
    return owner.new_zeros(n).index_add(0, owner, torch.ones_like(owner))


def _groups(per_system: list[list[int]]) -> Iterator[tuple[slice, int]]:
    """Yield rows of sites and their number of pairs, of whole systems, at most `PAIRS_AT_ONCE` if there are several."""
    begin, end, pairs = 0, 0, 0
    for n_sites, own in per_system:
        if pairs and pairs + own > PAIRS_AT_ONCE:
            yield slice(begin, end), pairs
            begin, pairs = end, 0
        end, pairs = end + n_sites, pairs + own
    yield slice(begin, end), pairs


@dataclass(frozen=True)
class _Images:
    """The atoms of all cells within reach, of each system.

    Attributes:
        state: the batch.
        wrapped: positions in the cell (n_atoms, 3), Å.
        cell: in float64 (n_systems, 3, 3).
        reach: cells on each side along each axis (n_systems, 3).
        n_atoms: of each system (n_systems,).
    """

    state: State
    wrapped: Tensor
    cell: Tensor
    reach: Tensor
    n_atoms: Tensor

    @property
    def per_atom(self) -> Tensor:
        """Images of each atom (n_systems,)."""
        return (2 * self.reach + 1).prod(1)

    def near(self, sites: slice, n_pairs: int, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return centres, neighbours and images (float64) of the pairs of some sites within the cutoff.

        Args:
            sites: rows of the sites.
            n_pairs: their number of pairs.
            cutoff: Å.
        """
        device = self.wrapped.device
        representative, system = self.state.orbits.representatives[sites], self.state.site_system[sites]
        per_site = (self.n_atoms * self.per_atom)[system]
        rows = torch.arange(len(system), device=device)
        site = torch.repeat_interleave(rows, per_site, output_size=n_pairs)
        rank = torch.arange(n_pairs, device=device) - (per_site.cumsum(0) - per_site)[site]
        system, per_atom = system[site], self.per_atom[system][site]
        neighbor = (self.n_atoms.cumsum(0) - self.n_atoms)[system] + rank // per_atom
        image, reach, shifts = rank % per_atom, self.reach[system], []
        for axis in (2, 1, 0):
            size = 2 * reach[:, axis] + 1
            shifts.append(image % size - reach[:, axis])
            image = image // size
        shift = torch.stack(shifts[::-1], dim=1).double()
        centre = representative[site]
        vectors = self.wrapped[neighbor] - self.wrapped[centre] + torch.einsum("ei,eij->ej", shift, self.cell[system])
        itself = (neighbor == centre) & (shift == 0).all(1)
        near = ((vectors.square().sum(1) < cutoff**2) & ~itself).nonzero().ravel()
        return centre[near], neighbor[near], shift[near]
