"""Training of the properties of structures, with the neighbours of all crystals found once."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from matgen.batch.graphs import take_rows
from matgen.batch.neighbors import Edges, neighbors
from matgen.batch.state import State, concatenated
from matgen.datasets.crystals import Crystals
from matgen.datasets.shards import ShardedCrystals
from matgen.nn.ensemble import Ensemble
from matgen.nn.structure_properties import StructureInputs, StructureProperties
from matgen.templates.expand import expand
from matgen.training.config import TrainConfig
from matgen.training.likelihood import LikelihoodObjective
from matgen.training.plan import Plan, rows_in_words
from matgen.training.properties import PropertyTargets, trainable, validation


def plan(table: Crystals, config: TrainConfig) -> Plan:
    """Train the properties of structures."""
    train, val = trainable(table).nonzero().ravel(), validation(table)
    targets = PropertyTargets.of(table, train)
    objective = from_structures(table, targets, train, val, config.model.trunk.cutoff)
    objective = replace(objective, absolute=config.absolute)
    model = Ensemble(StructureProperties, config.model)
    return Plan(model, objective, rows_in_words(len(train)), targets, objective.predict, val)


@dataclass(frozen=True)
class Neighbourhoods:
    """Crystals of a table with their neighbours, from which batches are taken.

    Attributes:
        state: all crystals.
        edges: of all crystals, with the cell of each neighbour as small integers.
        n_edges: of each crystal (n_systems,).
        first_edge: of each crystal (n_systems,).
        first_atom: of each crystal (n_systems,).
        neutral: whether common oxidation states cancel (n_systems,).
    """

    state: State
    edges: Edges
    n_edges: Tensor
    first_edge: Tensor
    first_atom: Tensor
    neutral: Tensor

    @classmethod
    def of(cls, table: Crystals, rows: Tensor, cutoff: float, at_once: int = 512) -> Self:
        """Find neighbours within a cutoff (Å) of these rows, in this order."""
        states, parts, start = [], [], 0
        for chunk in rows.split(at_once):
            state = expand(*table.batch(chunk))
            edges = neighbors(state, cutoff)
            states.append(state)
            parts.append((edges.centre + start, edges.neighbor + start, edges.offset.to(torch.int8)))
            start += len(state.positions)
        state = concatenated(states)
        edges = Edges(*(torch.cat(part) for part in zip(*parts, strict=True)))
        n_edges = torch.bincount(state.system_idx[edges.centre], minlength=state.n_systems)
        n_atoms = state.n_atoms
        first_edge, first_atom = n_edges.cumsum(0) - n_edges, n_atoms.cumsum(0) - n_atoms
        return cls(state, edges, n_edges, first_edge, first_atom, table.neutral[rows])

    def select(self, systems: Tensor) -> StructureInputs:
        """Return a batch of these systems (indices without repeats)."""
        state = self.state.select(systems)
        rows, owner = take_rows(self.first_edge, self.n_edges, systems)
        n_atoms = state.n_atoms
        shift = (n_atoms.cumsum(0) - n_atoms - self.first_atom[systems])[owner]
        edges = Edges(
            self.edges.centre[rows] + shift,
            self.edges.neighbor[rows] + shift,
            self.edges.offset[rows].to(state.positions.dtype),
        )
        return StructureInputs(state, edges, self.neutral[systems])


def from_structures(
    table: Crystals, targets: PropertyTargets, train: Tensor, val: Tensor, cutoff: float
) -> LikelihoodObjective:
    """Return the likelihood of the labels given clean structures.

    The neighbours of crystals in memory are found once; of those on the disk, for each batch.
    """
    if isinstance(table, ShardedCrystals):
        neutral = table.neutral

        def read(chosen: Tensor, _: torch.Generator | None) -> StructureInputs:
            return StructureInputs(expand(*table.batch(chosen)), None, neutral[chosen])

        return LikelihoodObjective(read, table.n_atoms[train], targets, train, val, together=256)
    rows = torch.cat([train, val]).unique()
    known = Neighbourhoods.of(table, rows, cutoff)
    place = rows.new_full((len(table),), -1)
    place[rows] = torch.arange(len(rows), device=rows.device)

    def inputs(chosen: Tensor, _: torch.Generator | None) -> StructureInputs:
        return known.select(place[chosen])

    sizes = known.n_edges[place[train]]
    return LikelihoodObjective(inputs, sizes, targets, train, val, together=256)
