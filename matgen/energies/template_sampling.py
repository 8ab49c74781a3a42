"""Templates sampled site by site from the learned prior, under rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from matgen.nn.conditions import N_ELEMENTS, Conditions
from matgen.nn.sites import PaddedSites
from matgen.nn.template_prior import MAX_POSITIONS, TemplatePrior, group_positions, legal_continuations
from matgen.runtime.random import choice
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules, fitting_groups
from matgen.templates.wyckoff import wyckoff_table


@dataclass(frozen=True)
class Partial:
    """Templates that are being drawn site by site, or read again for the probability of being drawn.

    Attributes:
        row: which of those asked for (n,).
        group: (n,).
        letter, element: of sites in the order in which they come (n, width), -1 where they are to be drawn; 27 and 0
            where no further site comes.
        length: number of sites so far (n,).
        left: atoms still to place of each element (n, 95); meaningless without a composition.
        log_p: log probability of what was drawn or read (n,).
        done: whether the last step ended it (n,).
    """

    row: Tensor
    group: Tensor
    letter: Tensor
    element: Tensor
    length: Tensor
    left: Tensor
    log_p: Tensor
    done: Tensor

    def select(self, rows: Tensor) -> "Partial":
        """Some of them."""
        return Partial(*(getattr(self, field.name)[rows] for field in fields(self)))

    def sites(self) -> PaddedSites:
        """The sites so far, as the network reads them."""
        columns = torch.arange(int(self.length.max()) if len(self.length) else 0, device=self.length.device)
        present = columns < self.length[:, None]
        letter, element = (torch.where(present, t[:, : len(columns)], 0) for t in (self.letter, self.element))
        position = torch.where(present, _positions(self.group[:, None], letter), 0)
        return PaddedSites(position, element, present, torch.zeros_like(position))

    def templates(self) -> list[CrystalTemplate]:
        """The sites so far as templates."""
        sites = self.sites()
        rows = zip(self.group.tolist(), sites.position.tolist(), sites.element.tolist(), strict=True)
        return [
            CrystalTemplate(group, tuple(sorted((p, z) for p, z in zip(positions, elements, strict=True) if z)))
            for group, positions, elements in rows
        ]


def joined(parts: Sequence[Partial]) -> Partial:
    """One after another."""
    return Partial(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Partial)))


def _positions(group: Tensor, letter: Tensor) -> Tensor:
    """Rows of the Wyckoff table; any for the letter that means the end."""
    return group_positions(letter.device)[0][group - 1, letter.clamp(max=MAX_POSITIONS - 1)]


@torch.no_grad()
def sample_templates(
    prior: TemplatePrior,
    rules: TemplateRules,
    conditions: Conditions,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> list[CrystalTemplate]:
    """Templates drawn site by site; what the rules forbid is masked.

    Args:
        prior: the network.
        rules: hard constraints.
        conditions: one row for each template to be drawn.
        generator: source of all randomness.
        temperature: below one sharpens every choice.

    Returns:
        Those that end well: under a composition, a draw can paint itself into a corner and is dropped.
    """
    n = len(conditions.n_atoms)
    row = torch.arange(n, device=conditions.n_atoms.device)
    group, log_p = choose_groups(prior, rules, conditions, torch.zeros_like(row), generator, temperature)
    open_sites = row.new_full((n, rules.max_atoms + 1), -1)
    left = row.new_zeros(n, N_ELEMENTS)
    if rules.composition:
        left = _formula_units(rules, conditions, generator)
    begun = Partial(row, group, open_sites, open_sites, torch.zeros_like(row), left, log_p, row < 0)
    sampled = completed(prior, rules, conditions, begun, generator, temperature).templates()
    return [template for template in sampled if rules.satisfied(template)]


def choose_groups(
    prior: TemplatePrior,
    rules: TemplateRules,
    conditions: Conditions,
    told: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Space groups (n,), as told or (where that is 0) drawn, and their log probabilities among those that fit."""
    empty = told.new_zeros(len(told), 0)
    nothing = PaddedSites(empty, empty, empty.bool(), empty)
    hidden = prior.hidden(conditions, torch.ones_like(told), nothing)
    logits = prior.group_logits(hidden[:, 0]) / temperature
    allowed = torch.zeros_like(logits[0], dtype=torch.bool)
    allowed[torch.tensor(sorted(fitting_groups(rules))) - 1] = True
    group, log_p = _choose(logits.masked_fill(~allowed, -1e9), told - 1, generator)
    return group + 1, log_p


def completed(
    prior: TemplatePrior,
    rules: TemplateRules,
    conditions: Conditions,
    partial: Partial,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Partial:
    """All of them led to their end, in the order in which they end."""
    ended = [partial.select(partial.done)]
    while len(partial.group):
        partial = extended(prior, rules, conditions, partial, generator, temperature)
        ended.append(partial.select(partial.done))
        conditions, partial = conditions.select(~partial.done), partial.select(~partial.done)
    return joined(ended)


def _formula_units(rules: TemplateRules, conditions: Conditions, generator: torch.Generator) -> Tensor:
    """Atoms of each element (n, 95) in as many units as the conditions ask for, else in a random number of them."""
    n = len(conditions.n_atoms)
    unit = conditions.n_atoms.new_zeros(N_ELEMENTS)
    divisor = math.gcd(*(count for _, count in rules.composition))
    for z, count in rules.composition:
        unit[z] = count // divisor
    most = rules.max_atoms // int(unit.sum())
    units = torch.randint(1, most + 1, (n,), generator=generator).to(unit)
    units = torch.where(conditions.n_atoms > 0, (conditions.n_atoms // unit.sum()).clamp(1, most), units)
    return units[:, None] * unit


def extended(
    prior: TemplatePrior,
    rules: TemplateRules,
    conditions: Conditions,
    partial: Partial,
    generator: torch.Generator,
    temperature: float = 1.0,
    *,
    may_stop: bool = True,
) -> Partial:
    """One more site for each, or its end; without `may_stop` only where no site fits."""
    sites, here = partial.sites(), (torch.arange(len(partial.group), device=partial.group.device), partial.length)
    hidden = prior.hidden(conditions, partial.group, sites)[here[0], 1 + partial.length]
    legal = legal_continuations(partial.group, sites, rules.max_atoms)[here] & _useful(rules, partial)
    legal[:, -1] &= may_stop
    legal[:, -1] |= ~legal.any(1)
    logits = prior.position_logits(hidden[:, None], partial.group, legal[:, None])[:, 0] / temperature
    letter, log_letter = _choose(logits, partial.letter[here], generator)
    position = _positions(partial.group, letter)
    allowed = _allowed_elements(rules, partial, position)
    hopeless = ~allowed.any(1)
    allowed[hopeless, 1] = True
    logits = prior.element_logits(hidden, position, allowed) / temperature
    element, log_element = _choose(logits, partial.element[here], generator)
    done = hopeless | (letter == MAX_POSITIONS)
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


def _choose(logits: Tensor, told: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is told or (where that is negative) drawn (n,), and its log probability under what draws (n,)."""
    chosen = torch.where(told < 0, choice(logits.softmax(-1), generator), told)
    return chosen, logits.double().log_softmax(-1).gather(1, chosen[:, None]).squeeze(1)


def _useful(rules: TemplateRules, partial: Partial) -> Tensor:
    """Continuations (n, 28) that the rules leave open: by letter, and stopping in the last column."""
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
    return torch.cat([enough.new_ones(n, MAX_POSITIONS), enough[:, None]], dim=1)


def _allowed_elements(rules: TemplateRules, partial: Partial, position: Tensor) -> Tensor:
    """Elements (n, 95) that may take a position (n,)."""
    if rules.composition:
        return partial.left >= wyckoff_table(position.device).multiplicity[position][:, None].clamp(min=1)
    present = _present(partial)
    allowed = present.new_zeros(N_ELEMENTS)
    allowed[sorted(rules.allowed_elements)] = True
    full = present.sum(1) >= rules.n_elements[1]
    return torch.where(full[:, None], present, allowed)


def _present(partial: Partial) -> Tensor:
    element = partial.sites().element
    present = torch.zeros(len(element), N_ELEMENTS, dtype=torch.bool, device=element.device)
    present.scatter_(1, element, element > 0)
    present[:, 0] = False
    return present
