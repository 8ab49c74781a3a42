"""CHGNet's energy of crystals given as template and free parameters, with its derivatives in the free parameters.

CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) passes only scalars, so that one atom, bond and angle of each
symmetry-distinct kind is enough; see `quotient_graph`. Crystals are evaluated in batches, on the CPU or a GPU.
"""

import contextlib
import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from matgen.relaxation.chgnet_network import Layers
from matgen.relaxation.operations import Operations
from matgen.relaxation.quotient_graph import quotient_graph
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand


@dataclass(frozen=True)
class Slope:
    """Energies of a batch and their derivatives.

    Attributes:
        energy: eV per cell (n_systems,); NaN for a crystal that has an atom without neighbours.
        isolated: which crystals have such an atom (n_systems,), bool.
        lattice: derivatives in the lattice parameters (n_systems, 6), eV.
        coords: derivatives in the coordinates (n_sites, 3), eV.
        stress: with the symmetry of the space group (n_systems, 3, 3), eV/Å³.
        volume: of the primitive cell (n_systems,), Å³.
    """

    energy: Tensor
    isolated: Tensor
    lattice: Tensor
    coords: Tensor
    stress: Tensor
    volume: Tensor


@dataclass(frozen=True)
class CHGNetSurface:
    """CHGNet as a function of free parameters, with the weights of its wheel.

    Attributes:
        device: where the network runs.
    """

    device: str = "cpu"

    @cached_property
    def model(self) -> Any:
        """The network."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a greeting
            from chgnet.model.model import CHGNet

            loaded = CHGNet.load(use_device="cpu", verbose=False)
        return loaded.requires_grad_(requires_grad=False).eval().to(self.device)

    @cached_property
    def _layers(self) -> Layers:
        return Layers(self.model)

    @property
    def name(self) -> str:
        """Name and version."""
        return f"CHGNet {self.model.version}"

    @property
    def heaviest(self) -> int:
        """Largest atomic number that the network knows."""
        return self.model.atom_embedding.embedding.num_embeddings

    def slope(self, templates: TemplateBatch, geometry: Geometry, symmetry: Operations) -> Slope:
        """Return energies, their derivatives, and stress.

        Args:
            templates: the discrete halves, on the device.
            geometry: the free parameters, in float64.
            symmetry: operations on their atoms.
        """
        lattice = geometry.lattice.detach().clone().requires_grad_()
        coords = geometry.coords.detach().clone().requires_grad_()
        strain = lattice.new_zeros(len(lattice), 3, 3).requires_grad_()
        state = expand(templates, Geometry(lattice, coords))
        converter = self.model.graph_converter
        graph = quotient_graph(state, symmetry, converter.atom_graph_cutoff, converter.bond_graph_cutoff)
        vectors = graph.edges.vectors(state)
        owner = state.system_idx[graph.edges.centre]
        vectors = vectors + torch.einsum("ei,eij->ej", vectors, strain[owner])
        per_atom = self._layers(graph, templates.site_element, vectors)
        energy = lattice.new_zeros(templates.n_systems).index_add(
            0, templates.site_system, per_atom.double() * templates.site_multiplicity
        )
        by_lattice, by_coords, by_strain = torch.autograd.grad(energy.sum(), (lattice, coords, strain))
        cell = state.cell.detach()
        volume = torch.linalg.det(cell).abs()
        stress = _symmetrised(by_strain, cell, symmetry) / volume[:, None, None]
        isolated = _isolated(templates, graph.centre)
        energy = energy.detach().masked_fill(isolated, torch.nan)
        return Slope(energy, isolated, by_lattice, by_coords, stress, volume)


def _isolated(templates: TemplateBatch, centres: Tensor) -> Tensor:
    """Which systems have a site that is the centre of no edge (n_systems,)."""
    edges = torch.zeros_like(templates.site_system).index_add(0, centres, torch.ones_like(centres))
    alone = (edges == 0).to(torch.long)
    return torch.zeros_like(templates.space_group).index_add(0, templates.site_system, alone) > 0


def _symmetrised(tensor: Tensor, cell: Tensor, symmetry: Operations) -> Tensor:
    """Symmetric part, averaged over each crystal's operations (n_systems, 3, 3)."""
    system = symmetry.system
    to_frac = torch.linalg.inv_ex(cell).inverse
    rotation = to_frac[system] @ symmetry.rotation.to(cell) @ cell[system]  # of Cartesian row vectors
    own = ((tensor + tensor.mT) / 2)[system]
    found = torch.zeros_like(tensor).index_add(0, system, rotation.mT @ own @ rotation)
    return found / symmetry.n_operations[:, None, None]
