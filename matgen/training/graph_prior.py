"""Training of the prior of molecules: maximum likelihood, with conditions dropped at random."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from matgen.datasets.molecules import LABELS, MoleculeTable
from matgen.nn.conditions import MOLECULE_GRIDS, N_ELEMENTS, Conditions
from matgen.nn.graph_prior import GraphPrior
from matgen.nn.skeleton_tokens import N_TOKENS, STOP, PaddedSkeletons, Reading, connected_orders
from matgen.runtime.devices import placed
from matgen.runtime.random import uniform
from matgen.templates.skeleton import ATOM_TYPES, MAX_HEAVY, labelled_if_any
from matgen.training.config import TrainConfig
from matgen.training.loop import bucketed
from matgen.training.plan import Plan, rows_in_words


def plan(table: MoleculeTable, config: TrainConfig) -> Plan:
    """Train the prior of molecules."""
    train, val = (SkeletonTable.of(table.select(table.split == split)) for split in (0, 1))
    objective = GraphPriorObjective(train, val)
    return Plan(GraphPrior(config.model), objective, rows_in_words(len(objective.train)))


@dataclass(frozen=True)
class SkeletonTable:
    """Molecules in all their Kekulé forms, and their labels.

    Attributes:
        forms: of all molecules, one after another.
        first: row of the first form of each molecule (n_systems,).
        count: number of forms of each molecule (n_systems,).
        properties: in the order of `MOLECULE_GRIDS` (n_systems, 7).
        left_out: number of molecules that have no skeleton: too large, radicals, or with other atoms.
    """

    forms: PaddedSkeletons
    first: Tensor
    count: Tensor
    properties: Tensor
    left_out: int

    @classmethod
    def of(cls, table: MoleculeTable, every: int = 1) -> Self:
        """Return the skeletons of every n-th row of a table of molecules."""
        rows = range(0, len(table), every)
        known = [(row, found) for row in rows if (found := labelled_if_any(table.templates.smiles[row])) is not None]
        count = torch.tensor([len(found.skeletons) for _, found in known])
        columns = [LABELS.index(name) for name in MOLECULE_GRIDS]
        labels = table.labels[[row for row, _ in known]][:, columns]
        forms = PaddedSkeletons.of([skeleton for _, found in known for skeleton in found.skeletons])
        first = count.cumsum(0) - count
        return placed(cls(forms, first, count, labels, len(rows) - len(known)), labels.device)

    def __len__(self) -> int:
        return len(self.first)

    @property
    def lengths(self) -> Tensor:
        """Number of tokens of each molecule, without the stop (n_systems,)."""
        forms = self.forms.select(self.first)
        return forms.present.sum(1) + (forms.orders > 0).sum((1, 2)) // 2

    def sequences(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return tokens (n, length) of these molecules, each in a random Kekulé form and a random order."""
        uniforms = uniform((len(rows), 1 + MAX_HEAVY), generator, self.properties)
        which = (uniforms[:, 0] * self.count[rows]).long()
        forms = self.forms.select(self.first[rows] + which)
        return forms.permuted(connected_orders(forms, uniforms[:, 1:])[0]).tokens()

    def conditions(self, rows: Tensor) -> Conditions:
        """Return all conditions that these molecules meet."""
        forms = self.forms.select(self.first[rows])
        numbers = forms.kind.new_tensor([*(z for z, _, _ in ATOM_TYPES), 0])[forms.kind]
        elements = torch.zeros(len(rows), N_ELEMENTS, dtype=torch.bool, device=rows.device)
        elements = elements.scatter(1, numbers, value=True)
        elements[:, 0] = False
        complete = torch.ones_like(rows, dtype=torch.bool)
        return Conditions(forms.present.sum(1), elements, complete, self.properties[rows])


def dropped(known: Conditions, generator: torch.Generator, keep: float = 0.25) -> Conditions:
    """Drop all conditions in a third of the rows; else keep each with probability `keep`, often only some elements."""
    n, n_properties = known.properties.shape

    def coin(probability: float, *shape: int) -> Tensor:
        return uniform((n, *shape), generator, known.properties) < probability

    given = ~coin(1 / 3)
    complete = coin(keep) & given
    some = coin(keep, 1) & coin(0.5, N_ELEMENTS) & given[:, None]
    return Conditions(
        n_atoms=torch.where(coin(keep) & given, known.n_atoms, 0),
        elements=known.elements & (complete[:, None] | some),
        complete=complete,
        properties=torch.where(coin(keep, n_properties) & given[:, None], known.properties, math.nan),
    )


class GraphPriorObjective:
    """Negative log likelihood of randomly ordered skeletons."""

    def __init__(self, train: SkeletonTable, val: SkeletonTable) -> None:
        self.train, self.val = train, val
        self.lengths = train.lengths

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield rows of the training split, similar lengths together."""
        for rows in bucketed(self.lengths, batch_size, generator):
            yield rows.to(self.lengths.device)

    def loss(self, model: GraphPrior, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the mean NLL in nats per ordered skeleton."""
        conditions = dropped(self.train.conditions(rows), generator)
        nll = -model(conditions, self.train.sequences(rows, generator)).mean()
        return nll, {"nll": nll.item()}

    @torch.no_grad()
    def validate(self, model: GraphPrior) -> dict[str, float]:
        """Return NLL per ordered skeleton on the validation rows: without conditions, with all, with the gap only."""
        generator = torch.Generator().manual_seed(0)
        figures: dict[str, list[Tensor]] = {"nll": [], "nll_conditional": [], "nll_gap": []}
        for rows in torch.arange(len(self.val), device=self.val.count.device).split(512):
            tokens, known = self.val.sequences(rows, generator), self.val.conditions(rows)
            nothing = Conditions.none(len(rows), MOLECULE_GRIDS).to(rows.device)
            is_gap = torch.tensor([name == "gap" for name in MOLECULE_GRIDS], device=rows.device)
            gap = replace(nothing, properties=torch.where(is_gap, known.properties, math.nan))
            for name, conditions in zip(figures, (nothing, known, gap), strict=True):
                figures[name].append(-model(conditions, tokens))
        return {name: torch.cat(values).mean().item() for name, values in figures.items()}


def unigram_nll(train: SkeletonTable, val: SkeletonTable, generator: torch.Generator) -> float:
    """Return NLL per ordered validation skeleton of independent legal tokens with the frequencies of training.

    One pseudo-count for each token; orders at random, as for the model.
    """
    counts = torch.ones(N_TOKENS)
    for rows in torch.arange(len(train)).split(4096):
        tokens = train.sequences(rows, generator)
        ended = (tokens == STOP).long().cumsum(1) > 1
        counts = counts + torch.bincount(tokens[~ended], minlength=N_TOKENS)
    total = []
    for rows in torch.arange(len(val)).split(512):
        tokens = val.sequences(rows, generator)
        legal = Reading.of(tokens[:, :-1]).legal()
        steps = counts.log().expand(legal.shape).masked_fill(~legal, -math.inf).log_softmax(-1)
        total.append(-steps.gather(2, tokens[..., None]).squeeze(2).sum(1))
    return torch.cat(total).mean().item()
