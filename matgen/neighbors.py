"""Neighbour lists behind one function."""

from dataclasses import dataclass

import numpy as np
import torch
import vesin
from torch import Tensor

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

    The list itself is not differentiable; distances come from `Edges.vectors`. Computed on the CPU by vesin, system
    by system, whatever the device of the state.
    """
    calculator = vesin.NeighborList(cutoff=cutoff, full_list=True)
    positions = state.positions.detach().double().cpu().numpy()
    cells = state.cell.detach().double().cpu().numpy()
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
    device = state.positions.device
    return Edges(
        centre[order].to(device),
        torch.from_numpy(np.concatenate(others))[order].to(device),
        torch.from_numpy(np.concatenate(offsets))[order].to(device, state.positions.dtype),
    )
