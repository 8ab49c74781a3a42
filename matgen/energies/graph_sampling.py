"""Molecules sampled atom by atom from the learned prior, under rules."""

from dataclasses import dataclass

import torch

from matgen.energies.graph_masks import permitted
from matgen.energies.held_fragment import HeldFragments
from matgen.nn.conditions import Conditions
from matgen.nn.graph_prior import GraphPrior
from matgen.nn.skeleton_tokens import STOP, Reading, spelled
from matgen.runtime.random import choice
from matgen.templates.fragments import Fragment
from matgen.templates.molecule import MoleculeError, MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.skeleton import Skeleton


@dataclass(frozen=True)
class MoleculeSampler:
    """Samples molecules atom by atom; choices that the rules forbid are masked.

    Attributes:
        prior: the network.
        rules: hard constraints; all but the patterns are masks.
        temperature: below one sharpens every choice.
        fragment: a part with which every sequence begins; None for none.
    """

    prior: GraphPrior
    rules: MoleculeRules
    temperature: float = 1.0
    fragment: Fragment | None = None

    def sample(self, conditions: Conditions, generator: torch.Generator) -> list[MoleculeTemplate]:
        """Sample molecules; those that RDKit rejects or that break a rule are dropped.

        Args:
            conditions: one row for each molecule.
            generator: source of all randomness.
        """
        sampled = (_accepted(skeleton) for skeleton in self.skeletons(conditions, generator))
        return [template for template in sampled if template is not None and self.rules.satisfied(template)]

    @torch.no_grad()
    def skeletons(self, conditions: Conditions, generator: torch.Generator) -> list[Skeleton]:
        """Sample skeletons token by token; the result is in the order in which they end.

        Skeletons that become impossible to complete, as under a composition, are dropped. Patterns are not checked.
        """
        n = len(conditions.n_atoms)
        tokens = conditions.n_atoms.new_zeros(n, 0)
        held = None if self.fragment is None else HeldFragments.of(self.fragment, n, generator).to(tokens.device)
        if held is not None:
            tokens = held.tokens
        ended: list[Skeleton] = []
        while len(tokens):
            reading = Reading.of(tokens)
            now = reading.last()
            free = now if held is None else held.limited(tokens, now)
            legal = free.legal()[:, 0] & permitted(self.rules, tokens, free)
            if held is not None:
                legal &= held.permitted(tokens, now)
            stuck = ~legal.any(1)
            legal[stuck, STOP] = True
            hidden = self.prior.hidden(conditions, tokens, reading)[:, -1:]
            scores = self.prior.log_probs(hidden, now, legal[:, None])[:, 0] / self.temperature
            token = choice(scores.softmax(-1), generator)
            tokens = torch.cat([tokens, token[:, None]], dim=1)
            going = token != STOP
            ended += spelled(tokens[~going & ~stuck])
            tokens, conditions = tokens[going], conditions.select(going)
            held = None if held is None else held.select(going)
        return ended


def _accepted(skeleton: Skeleton) -> MoleculeTemplate | None:
    try:
        return skeleton.template()
    except MoleculeError:
        return None
