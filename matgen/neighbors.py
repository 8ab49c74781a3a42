"""Neighbour lists behind one function."""

from dataclasses import dataclass

import numpy as np
import torch
import vesin
from torch import Tensor

from matgen.devices import placed
from matgen.state import State


@dataclass(frozen=True)
class Edges:
    """Directed edges of a batch, sorted by centre.

    Attributes:
        centre: atom whose neighbourhood this is (n_edges,).
        neighbor: the other atom (n_edges,).
        offset: cell of the neighbour in lattice vectors (n_edges, 3), in the dtype of the positions.
    """

    centre: Tensor
    neighbor: Tensor
    offset: Tensor

    def vectors(self, state: State) -> Tensor:
        """Vectors from centre to neighbour (n_edges, 3), Å; differentiable in positions and cell."""
        images = torch.einsum("ei,eij->ej", self.offset, state.cell[state.system_idx[self.centre]])
        apart = state.positions.index_select(0, self.neighbor) - state.positions.index_select(0, self.centre)
        return apart + images


def neighbors(state: State, cutoff: float) -> Edges:
    """All pairs closer than `cutoff` (Å) around the representative atoms, periodic images included.

    The list itself is not differentiable; distances come from `Edges.vectors`. Found on the CPU, whatever the device of
    the state, which the edges return to: where a list is to be made on a GPU, this is the place to choose it.
    """
    return placed(_by_vesin(state, cutoff), state.positions.device)


def _by_vesin(state: State, cutoff: float) -> Edges:
    """The same on the CPU, system by system."""
    calculator = vesin.NeighborList(cutoff=cutoff, full_list=True)
    positions = state.positions.detach().cpu().double().numpy()
    cells = state.cell.detach().cpu().double().numpy()
    periodic = state.pbc.cpu().numpy()
    counts = state.n_atoms.tolist()
    wanted = np.zeros(len(positions), dtype=bool)
    wanted[state.orbits.representatives.cpu().numpy()] = True
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
