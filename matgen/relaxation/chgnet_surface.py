"""CHGNet's energy of crystals given as template and free parameters, with its derivatives in the free parameters.

CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) passes only scalars, so that one atom, bond and angle of each
symmetry-distinct kind is enough; see `quotient_graph`. Several crystals are evaluated in a batch, which is faster on
such small graphs even on one core.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from matgen.batch.neighbors import neighbors
from matgen.relaxation.quotient_graph import Operations, QuotientGraph, operations, quotient_graph
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand


@dataclass(frozen=True)
class Slope:
    """Energies of a batch and their derivatives.

    Attributes:
        energy: eV per cell (n_systems,).
        lattice: derivatives in the lattice parameters (n_systems, 6), eV.
        coords: derivatives in the coordinates (n_sites, 3), eV.
        stress: with the symmetry of the space group (n_systems, 3, 3), eV/Å³.
        volume: of the primitive cell (n_systems,), Å³.
    """

    energy: Tensor
    lattice: Tensor
    coords: Tensor
    stress: Tensor
    volume: Tensor


class CHGNetSurface:
    """CHGNet as a function of free parameters, on the CPU, with the weights of its wheel."""

    @cached_property
    def model(self) -> Any:
        """The network."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a greeting
            from chgnet.model.model import CHGNet

            return CHGNet.load(use_device="cpu", verbose=False).requires_grad_(requires_grad=False).eval()

    @property
    def name(self) -> str:
        """Name and version."""
        return f"CHGNet {self.model.version}"

    @property
    def _cutoff(self) -> float:
        return self.model.graph_converter.atom_graph_cutoff

    @property
    def _angle_cutoff(self) -> float:
        return self.model.graph_converter.bond_graph_cutoff

    def symmetry(self, templates: TemplateBatch, geometry: Geometry) -> list[Operations]:
        """Symmetry operations of each crystal, which `slope` needs; they do not depend on the free parameters."""
        return operations(templates, expand(templates, geometry))

    def isolated(self, templates: TemplateBatch, geometry: Geometry) -> Tensor:
        """Which crystals have an atom without neighbours (n_systems,): CHGNet has no energy for them."""
        state = expand(templates, geometry)
        return _isolated(templates, state.orbits.site_idx[neighbors(state, self._cutoff).centre])

    def slope(self, templates: TemplateBatch, geometry: Geometry, symmetry: Sequence[Operations]) -> Slope:
        """Return energies, their derivatives, and stress.

        Args:
            templates: the discrete halves.
            geometry: the free parameters, in float64.
            symmetry: operations of each system.

        Returns:
            Energies, NaN where an atom has no neighbours, and their derivatives.
        """
        lattice = geometry.lattice.detach().clone().requires_grad_()
        coords = geometry.coords.detach().clone().requires_grad_()
        strain = lattice.new_zeros(len(lattice), 3, 3, requires_grad=True)
        state = expand(templates, Geometry(lattice, coords))
        graph = quotient_graph(state, symmetry, self._cutoff, self._angle_cutoff)
        vectors = graph.edges.vectors(state)
        owner = state.system_idx[graph.edges.centre]
        vectors = vectors + torch.einsum("ei,eij->ej", vectors, strain[owner])
        energy = self._energy(templates, graph, vectors)
        by_lattice, by_coords, by_strain = torch.autograd.grad(energy.sum(), (lattice, coords, strain))
        volume = torch.linalg.det(state.cell.detach()).abs()
        stress = _symmetrised(by_strain, state.cell.detach(), symmetry) / volume[:, None, None]
        energy = energy.detach().masked_fill(_isolated(templates, graph.centre), torch.nan)
        return Slope(energy, by_lattice, by_coords, stress, volume)

    def _energy(self, templates: TemplateBatch, graph: QuotientGraph, vectors: Tensor) -> Tensor:
        """Energies (n_systems,) in eV; the network itself works in float32."""
        from chgnet.model.model import BatchedGraph

        model = self.model
        length = vectors.norm(dim=1)
        along = (-vectors / length[:, None]).float()  # CHGNet's vectors point from neighbour to centre
        bond_length = length[graph.bond_edge].float()
        _, first, first_edge, second, second_edge = graph.angles.unbind(1)
        angle = model.angle_basis_expansion(along[first_edge], along[second_edge])
        element = templates.site_element
        batched = BatchedGraph(
            atomic_numbers=element,
            bond_bases_ag=model.bond_basis_expansion.rbf_expansion_ag(bond_length),
            bond_bases_bg=model.bond_basis_expansion.rbf_expansion_bg(bond_length),
            angle_bases=angle,
            batched_atom_graph=torch.stack([graph.centre, graph.neighbor], dim=1),
            batched_bond_graph=torch.stack([graph.angles[:, 0], first, second], dim=1),
            atom_owners=templates.site_system,
            directed2undirected=graph.bond,
            atom_positions=[],
            strains=[],
            volumes=[],
        )
        predicted = model._compute(batched, return_site_energies=True)  # noqa: SLF001 (`forward` takes whole crystals)
        per_atom = torch.cat(predicted["site_energies"]) + model.composition_model.fc.weight[0, element - 1]
        zeros = per_atom.new_zeros(templates.n_systems, dtype=torch.float64)
        return zeros.index_add(0, templates.site_system, per_atom.double() * templates.site_multiplicity)


def _isolated(templates: TemplateBatch, centres: Tensor) -> Tensor:
    """Which systems have a site that is the centre of no edge (n_systems,)."""
    alone = torch.bincount(centres, minlength=len(templates.site_system)) == 0
    return torch.bincount(templates.site_system[alone], minlength=templates.n_systems) > 0


def _symmetrised(tensor: Tensor, cell: Tensor, symmetry: Sequence[Operations]) -> Tensor:
    """Symmetric part, averaged over each crystal's operations (n_systems, 3, 3)."""
    found = []
    for own, rows, known in zip((tensor + tensor.mT) / 2, cell, symmetry, strict=True):
        rotations = (
            torch.linalg.inv(rows) @ torch.from_numpy(known.rotation).to(rows) @ rows
        )  # of Cartesian row vectors
        found.append((rotations.mT @ own @ rotations).mean(0))
    return torch.stack(found)
