"""Logical rules as energies: the distances of `matgen.rules.composition`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from matgen.batch.neighbors import Edges, neighbors
from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy
from matgen.rules.composition import Facts, composition_distance, distance
from matgen.rules.statement import Rule
from matgen.templates.batch import TemplateBatch

REACH = 6.0
"""Distance, Å, up to which atoms may be neighbours."""


class Preferences(TemplateEnergy):
    """Sum of the distances of rules, zero where all hold.

    Of rules on coordination it holds what they say of the composition.
    """

    name = "preferences"

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self.rules = tuple(rules)

    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,)."""
        found = []
        for template in templates.unbatch():
            atoms = tuple(sorted(template.composition.items()))
            found.append(sum(composition_distance(rule, atoms) for rule in self.rules))
        return torch.tensor(found, device=templates.device, dtype=torch.float32)


class Coordination(Energy):
    """Sum of the distances of rules on coordination, less what is due to the composition; zero where all hold.

    The coordination number is the effective one of Hoppe, Z. Kristallogr. 150, 23 (1979):

        ECoN = Σ_i exp(1 - (d_i / d_av)⁶),    d_av = Σ_i d_i exp(1 - (d_i / d_min)⁶) / Σ_i exp(1 - (d_i / d_min)⁶)

    over the neighbours of opposite charge, or over all where no oxidation states are known. It counts as the whole
    number to which it rounds. This ranks geometries and proposals; it drives no move.
    """

    name = "coordination"
    use = "ranking"

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self.rules = tuple(rule for rule in rules if rule.reads_coordination)

    @torch.no_grad()
    def forward(self, state: State, sigma: Tensor) -> Tensor:
        """Energies (n_systems,)."""
        del sigma
        atomic, system = state.atomic_numbers.tolist(), state.system_idx.tolist()
        counts = [Counter[int]() for _ in range(state.n_systems)]
        for z, i in zip(atomic, system, strict=True):
            counts[i][z] += 1
        unseen = [Facts(some) for some in counts]
        charges = [unseen[i].states.get(z, 0) for z, i in zip(atomic, system, strict=True)]
        numbers = effective_coordination(state, state.atomic_numbers.new_tensor(charges)).tolist()
        coordination: list[dict[int, list[float]]] = [{} for _ in range(state.n_systems)]
        for atom in state.orbits.representatives.tolist():
            coordination[system[atom]].setdefault(atomic[atom], []).append(numbers[atom])
        found = [
            self._excess(facts, replace(facts, coordination=s)) for facts, s in zip(unseen, coordination, strict=True)
        ]
        return torch.tensor(found, dtype=state.positions.dtype, device=state.positions.device)

    def _excess(self, unseen: Facts, seen: Facts) -> float:
        return sum(distance(rule, seen) - distance(rule, unseen) for rule in self.rules)


def effective_coordination(state: State, charges: Tensor) -> Tensor:
    """Return the effective coordination number (n_atoms,) of representative atoms; zero for all others.

    Args:
        state: of crystals.
        charges: oxidation state (n_atoms,) of each atom, zero where unknown; neighbours of like charge do not count.

    Returns:
        Zero, too, for an atom without such a neighbour within `REACH`.
    """
    edges = neighbors(state, REACH)
    unlike = charges[edges.centre] * charges[edges.neighbor] <= 0
    edges = Edges(edges.centre[unlike], edges.neighbor[unlike], edges.offset[unlike])
    apart = edges.vectors(state).norm(dim=1).double()
    n = len(state.positions)
    nearest = apart.new_full((n,), REACH).scatter_reduce(0, edges.centre, apart, "amin")
    weight = (1 - (apart / nearest[edges.centre]) ** 6).exp()
    zeros = apart.new_zeros(n)
    total = zeros.index_add(0, edges.centre, weight)
    mean = zeros.index_add(0, edges.centre, weight * apart) / total.clamp(min=1e-12)
    ratio = apart / mean[edges.centre].clamp(min=1e-12)
    return zeros.index_add(0, edges.centre, (1 - ratio**6).exp())
