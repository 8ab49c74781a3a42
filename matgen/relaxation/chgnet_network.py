"""The layers of CHGNet on a graph whose edges and angles stand for several.

The network (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) sums messages over the edges of an atom and the angles of a
bond. Here each message is multiplied by the number of equal ones. The first linear map of a message acts on the
features of atoms, bonds and angles before these are gathered, since there are fewer of them than messages. Nothing
waits for the device: all sizes are known.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matgen.relaxation.quotient_graph import QuotientGraph

NEARLY_ONE = 1 - 1e-6
"""CHGNet's factor on cosines, which keeps the slope of the arccosine finite."""


class Message:
    """The gated network that makes messages, from CHGNet's weights.

    Args:
        gated: CHGNet's module, of the concatenated features of several atoms, bonds or angles.
        width: features of each.
    """

    def __init__(self, gated: Any, width: int = 64) -> None:
        core, gate = ([m for m in part.layers if isinstance(m, nn.Linear)] for part in (gated.mlp_core, gated.mlp_gate))
        self.first = torch.cat([core[0].weight, gate[0].weight]).split(width, dim=1)
        self.bias = torch.cat([core[0].bias, gate[0].bias])
        self.second = (core[1:], gate[1:])
        self.norms = (gated.bn1, gated.bn2)

    def __call__(self, *parts: tuple[Tensor, Tensor | None]) -> Tensor:
        """Return messages (n, width).

        Args:
            parts: features, and the row of each message among them; None if they are in order.
        """
        terms = [F.linear(x, weight) for (x, _), weight in zip(parts, self.first, strict=True)]
        total = self.bias
        for (_, rows), term in zip(parts, terms, strict=True):
            total = total + (term if rows is None else term.index_select(0, rows))
        core, gate = total.chunk(2, dim=1)
        for one, other in zip(*self.second, strict=True):
            core, gate = one(F.silu(core)), other(F.silu(gate))
        return F.silu(self.norms[0](core)) * torch.sigmoid(self.norms[1](gate))


class Layers:
    """CHGNet's energy of the atoms of a quotient graph.

    Args:
        model: CHGNet, version 0.3.0; its parameters are used where they are.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.to_atoms = [Message(layer.twoBody_atom) for layer in model.atom_conv_layers]
        self.to_bonds = [Message(layer.twoBody_bond) for layer in model.bond_conv_layers]
        self.to_angles = [Message(layer.twoBody_bond) for layer in model.angle_layers]

    def __call__(self, graph: QuotientGraph, element: Tensor, vectors: Tensor) -> Tensor:
        """Return the energy of one atom of each site (n_sites,), eV.

        Args:
            graph: symmetry-distinct edges, bonds and angles.
            element: atomic number of each site (n_sites,).
            vectors: of the edges of the graph, from centre to neighbour (n_edges, 3), Å; the network works in float32.
        """
        model = self.model
        length = vectors[graph.bond_edge].norm(dim=1).float()
        radial = model.bond_basis_expansion.rbf_expansion_ag(length)
        edge_weight = model.bond_weights_ag(radial)[graph.bond] * graph.count[:, None].float()
        near = model.bond_weights_bg(model.bond_basis_expansion.rbf_expansion_bg(length))
        first, second = graph.angle_bonds.unbind(1)
        angle_weight = near[first] * near[second] * graph.angle_count[:, None].float()

        atoms, bonds = model.atom_embedding(element - 1), model.bond_embedding(radial)
        angles = model.angle_embedding(_angle_basis(model, vectors[graph.angle_edges]))
        for number, message in enumerate(self.to_atoms):
            sent = message((atoms, graph.centre), (bonds, graph.bond), (atoms, graph.neighbor))
            atoms = _updated(model.atom_conv_layers[number], atoms, sent * edge_weight, graph.centre)
            if number == len(self.to_bonds) or not len(first):
                continue
            around = (angles, None), (atoms, graph.apex)
            sent = self.to_bonds[number]((bonds, first), (bonds, second), *around)
            bonds = _updated(model.bond_conv_layers[number], bonds, sent * angle_weight, first)
            if number + 1 < len(self.to_bonds):  # the last update of angles would reach nothing
                angles = angles + self.to_angles[number]((bonds, first), (bonds, second), *around)
        composition = model.composition_model.fc.weight[0, element - 1]
        return model.mlp(model.readout_norm(atoms)).squeeze(1) + composition


def _updated(layer: Any, features: Tensor, messages: Tensor, owner: Tensor) -> Tensor:
    """Features of atoms or bonds plus the linear map of the sum of their messages."""
    return features + layer.mlp_out(torch.zeros_like(features).index_add(0, owner, messages))


def _angle_basis(model: Any, sides: Tensor) -> Tensor:
    """Fourier series of the angles between two vectors (n_angles, 2, 3)."""
    unit = (sides / sides.norm(dim=2, keepdim=True)).float()
    angle = torch.acos((unit[:, 0] * unit[:, 1]).sum(1) * NEARLY_ONE)
    phase = torch.outer(angle, model.angle_basis_expansion.fourier_expansion.frequencies)
    constant = torch.full_like(angle[:, None], 1 / math.sqrt(2))
    return torch.cat([constant, phase.sin(), phase.cos()], 1) / math.sqrt(math.pi)
