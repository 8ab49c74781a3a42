"""Templates sampled site by site from the learned prior, under rules."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matgen.energies.partial_templates import Partial, joined, wyckoff_positions
from matgen.nn.conditions import N_ELEMENTS, Conditions
from matgen.nn.sites import PaddedSites
from matgen.nn.template_prior import MAX_POSITIONS, TemplatePrior, group_positions, legal_continuations
from matgen.rules.prospects import Prospects
from matgen.runtime.random import choice
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules, fitting_groups
from matgen.templates.wyckoff import wyckoff_table


@dataclass(frozen=True)
class TemplateSampler:
    """Samples templates site by site; choices that the rules forbid are masked.

    Attributes:
        prior: the network.
        rules: hard constraints.
        temperature: below one sharpens every choice.
    """

    prior: TemplatePrior
    rules: TemplateRules
    temperature: float = 1.0

    @torch.no_grad()
    def sample(self, conditions: Conditions, generator: torch.Generator) -> list[CrystalTemplate]:
        """Sample templates.

        Args:
            conditions: one row for each template.
            generator: source of all randomness.

        Returns:
            Those that satisfy the rules: under a composition, a template may become impossible to complete, and is
            dropped.
        """
        n = len(conditions.n_atoms)
        row = torch.arange(n, device=conditions.n_atoms.device)
        group, log_p = self.groups(conditions, torch.zeros_like(row), generator)
        open_sites = row.new_full((n, self.rules.max_atoms + 1), -1)
        left = row.new_zeros(n, N_ELEMENTS)
        if self.rules.composition:
            left = _formula_units(self.rules, conditions, generator)
        empty = Partial(row, group, open_sites, open_sites, torch.zeros_like(row), left, log_p, row < 0)
        sampled = self.completed(conditions, empty, generator).templates()
        return [template for template in sampled if self.rules.satisfied(template)]

    def groups(self, conditions: Conditions, given: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return space groups (n,), as given or (where that is 0) sampled, and their log probabilities.

        Probabilities are normalised over the space groups that the rules allow.
        """
        empty = given.new_zeros(len(given), 0)
        nothing = PaddedSites(empty, empty, empty.bool(), empty)
        hidden = self.prior.hidden(conditions, torch.ones_like(given), nothing)
        logits = self.prior.group_logits(hidden[:, 0]) / self.temperature
        allowed = torch.zeros_like(logits[0], dtype=torch.bool)
        allowed[torch.tensor(sorted(fitting_groups(self.rules))) - 1] = True
        group, log_p = _choose(logits.masked_fill(~allowed, -1e9), given - 1, generator)
        return group + 1, log_p

    def completed(self, conditions: Conditions, partial: Partial, generator: torch.Generator) -> Partial:
        """Add sites until every template ends; the result is in the order in which they end."""
        ended = [partial.select(partial.done)]
        while len(partial.group):
            partial = self.extended(conditions, partial, generator)
            ended.append(partial.select(partial.done))
            conditions, partial = conditions.select(~partial.done), partial.select(~partial.done)
        return joined(ended)

    def extended(
        self, conditions: Conditions, partial: Partial, generator: torch.Generator, *, may_stop: bool = True
    ) -> Partial:
        """Add one site to each template, or end it; without `may_stop` only where no site fits."""
        rules = self.rules
        sites, here = partial.sites(), (torch.arange(len(partial.group), device=partial.group.device), partial.length)
        hidden = self.prior.hidden(conditions, partial.group, sites)[here[0], 1 + partial.length]
        legal = legal_continuations(partial.group, sites, rules.max_atoms)[here] & _useful(rules, partial)
        legal[:, -1] &= may_stop
        legal[:, -1] |= ~legal.any(1)
        logits = self.prior.position_logits(hidden[:, None], partial.group, legal[:, None])[:, 0] / self.temperature
        letter, log_letter = _choose(logits, partial.letter[here], generator)
        position = wyckoff_positions(partial.group, letter)
        allowed = _allowed_elements(rules, partial, position)
        stuck = ~allowed.any(1)
        allowed[stuck, 1] = True
        logits = self.prior.element_logits(hidden, position, allowed) / self.temperature
        element, log_element = _choose(logits, partial.element[here], generator)
        done = stuck | (letter == MAX_POSITIONS)
        letter, element = torch.where(done, MAX_POSITIONS, letter), torch.where(done, 0, element)
        placed = torch.where(done, 0, wyckoff_table(position.device).multiplicity[position])
        return replace(
            partial,
            letter=partial.letter.index_put(here, letter),
            element=partial.element.index_put(here, element),
            length=partial.length + ~done,
            left=partial.left.scatter_add(1, element[:, None], -placed[:, None]),
            log_p=partial.log_p + log_letter + torch.where(done, 0.0, log_element),
            done=done,
        )


def _formula_units(rules: TemplateRules, conditions: Conditions, generator: torch.Generator) -> Tensor:
    """Atoms of each element (n, 95) in the number of formula units that the conditions give, else a random number."""
    n = len(conditions.n_atoms)
    unit = conditions.n_atoms.new_zeros(N_ELEMENTS)
    divisor = math.gcd(*(count for _, count in rules.composition))
    for z, count in rules.composition:
        unit[z] = count // divisor
    possible = unit.new_tensor(rules.possible_units)
    units = possible[torch.randint(len(possible), (n,), generator=generator).to(unit)]
    given = (conditions.n_atoms // unit.sum()).clamp(possible[0], possible[-1])
    units = torch.where(conditions.n_atoms > 0, given, units)
    return units[:, None] * unit


def _choose(logits: Tensor, given: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return choices (n,), as given or (where that is negative) sampled, and their log probabilities (n,)."""
    chosen = torch.where(given < 0, choice(logits.softmax(-1), generator), given)
    return chosen, logits.double().log_softmax(-1).gather(1, chosen[:, None]).squeeze(1)


def _useful(rules: TemplateRules, partial: Partial) -> Tensor:
    """Continuations (n, 28) that the rules allow: by letter, and the end in the last column."""
    rows, _ = (t[partial.group - 1] for t in group_positions(partial.group.device))
    n = len(rows)
    if rules.composition:
        most = partial.left[:, 1:].max(1).values
        fits = wyckoff_table(rows.device).multiplicity[rows] <= most[:, None]
        return torch.cat([fits, (most <= 0)[:, None]], dim=1)
    present = _present(partial)
    required = present.new_zeros(N_ELEMENTS)
    required[sorted(rules.required_elements)] = True
    enough = (present | ~required).all(1) & (present.sum(1) >= rules.n_elements[0])
    useful = torch.cat([enough.new_ones(n, MAX_POSITIONS), enough[:, None]], dim=1)
    if not rules.statements:
        return useful
    prospects = _prospects(rules, partial)
    multiplicity = wyckoff_table(rows.device).multiplicity[rows]
    sizes, place = multiplicity.unique(return_inverse=True)
    possible = prospects.can_follow(rules.statements, sizes.expand(n, -1)).any(2).gather(1, place)
    return useful & torch.cat([possible, prospects.can_end(rules.statements)[:, None]], dim=1)


def _allowed_elements(rules: TemplateRules, partial: Partial, position: Tensor) -> Tensor:
    """Elements (n, 95) that may occupy a position (n,)."""
    if rules.composition:
        return partial.left >= wyckoff_table(position.device).multiplicity[position][:, None].clamp(min=1)
    present = _present(partial)
    allowed = present.new_zeros(N_ELEMENTS)
    allowed[sorted(rules.allowed_elements)] = True
    full = present.sum(1) >= rules.n_elements[1]
    allowed = torch.where(full[:, None], present, allowed)
    if not rules.statements:
        return allowed
    added = wyckoff_table(position.device).multiplicity[position][:, None]
    return allowed & _prospects(rules, partial).can_follow(rules.statements, added)[:, 0]


def _prospects(rules: TemplateRules, partial: Partial) -> Prospects:
    """Atoms of each element so far, and what may be added."""
    sites = partial.sites()
    size = torch.where(sites.present, wyckoff_table(sites.position.device).multiplicity[sites.position], 0)
    atoms = size.new_zeros(len(size), N_ELEMENTS).scatter_add(1, sites.element, size)
    allowed = torch.zeros(N_ELEMENTS, dtype=torch.bool, device=size.device)
    allowed[sorted(rules.allowed_elements)] = True
    return Prospects(atoms, rules.max_atoms - size.sum(1), allowed)


def _present(partial: Partial) -> Tensor:
    """Elements that occur so far (n, 95), bool."""
    element = partial.sites().element
    present = torch.zeros(len(element), N_ELEMENTS, dtype=torch.bool, device=element.device)
    present.scatter_(1, element, element > 0)
    present[:, 0] = False
    return present
