"""The learned template prior as an energy, and templates drawn from it under rules."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.draws import choice
from matgen.energy import TemplateEnergy
from matgen.nn.sites import PaddedSites, pad_sites
from matgen.nn.template_prior import (
    MAX_POSITIONS,
    N_ELEMENTS,
    Conditions,
    TemplatePrior,
    group_positions,
    legal_continuations,
)
from matgen.templates.crystal import CrystalTemplate, TemplateBatch
from matgen.templates.legal import TemplateRules, fitting_groups
from matgen.templates.wyckoff import wyckoff_table


class LearnedTemplatePrior(TemplateEnergy):
    """-log p(template) under a `TemplatePrior`, given conditions.

    The network gives the probability of sites in one order; that of the set is taken as that of the ascending order
    times the number of distinct orders, which is exact as far as the network has learned that order does not matter.
    """

    name = "template_prior"

    def __init__(self, prior: TemplatePrior, conditions: Conditions) -> None:
        super().__init__()
        self.prior, self.conditions = prior, conditions

    @torch.no_grad()
    def forward(self, templates: TemplateBatch) -> Tensor:
        """Energies (n_systems,), nats; `conditions` hold one row, that serves for all."""
        asked = self.conditions.to(templates.device).select(torch.zeros_like(templates.space_group))
        log_p = self.prior(asked, templates.space_group, pad_sites(templates))
        orders = [log_orders(template) for template in templates.unbatch()]
        return -log_p - log_p.new_tensor(orders)


def log_orders(template: CrystalTemplate) -> float:
    """Logarithm of the number of distinct orders of a template's sites."""
    repeats = Counter(template.sites).values()
    return math.lgamma(len(template.sites) + 1) - sum(math.lgamma(n + 1) for n in repeats)


@dataclass(frozen=True)
class _Partial:
    """Templates that are being drawn.

    Attributes:
        group: (n,).
        position, element: sites so far (n, length).
        left: atoms still to place of each element (n, 95); meaningless without a composition.
        done: whether the last step ended it (n,).
    """

    group: Tensor
    position: Tensor
    element: Tensor
    left: Tensor
    done: Tensor

    def select(self, rows: Tensor) -> "_Partial":
        """Some of them."""
        return _Partial(self.group[rows], self.position[rows], self.element[rows], self.left[rows], self.done[rows])

    def sites(self) -> PaddedSites:
        """As the network reads them."""
        return PaddedSites(self.position, self.element, self.element > 0, torch.zeros_like(self.position))


@torch.no_grad()
def draw_templates(
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
    partial = _start(prior, rules, conditions, generator, temperature)
    found: list[CrystalTemplate] = []
    while len(partial.group):
        partial = _extend(prior, rules, conditions, partial, generator, temperature)
        found += [t for t in _finished(partial.select(partial.done)) if rules.satisfied(t)]
        conditions = conditions.select(~partial.done)
        partial = partial.select(~partial.done)
    return found


def _start(
    prior: TemplatePrior,
    rules: TemplateRules,
    conditions: Conditions,
    generator: torch.Generator,
    temperature: float,
) -> _Partial:
    n = len(conditions.n_atoms)
    empty = conditions.n_atoms.new_zeros(n, 0)
    nothing = PaddedSites(empty, empty, empty.bool(), empty)
    hidden = prior.hidden(conditions, torch.ones_like(conditions.n_atoms), nothing)
    logits = prior.group_logits(hidden[:, 0]) / temperature
    allowed = torch.zeros_like(logits[0], dtype=torch.bool)
    allowed[torch.tensor(sorted(fitting_groups(rules))) - 1] = True
    group = choice(logits.masked_fill(~allowed, -math.inf).softmax(-1), generator) + 1
    left = empty.new_zeros(n, N_ELEMENTS)
    if rules.composition:
        left = _formula_units(rules, conditions, generator)
    return _Partial(group, empty, empty, left, torch.zeros_like(group, dtype=torch.bool))


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


def _extend(
    prior: TemplatePrior,
    rules: TemplateRules,
    conditions: Conditions,
    partial: _Partial,
    generator: torch.Generator,
    temperature: float,
) -> _Partial:
    """One more site for each template that is not done."""
    sites = partial.sites()
    hidden = prior.hidden(conditions, partial.group, sites)[:, -1:]
    legal = legal_continuations(partial.group, sites, rules.max_atoms)[:, -1]
    legal = legal & _useful(rules, partial)
    legal[:, -1] |= ~legal.any(1)
    logits = prior.position_logits(hidden, partial.group, legal[:, None])[:, 0] / temperature
    letter = choice(logits.softmax(-1), generator)
    done = letter == MAX_POSITIONS
    position = group_positions(letter.device)[0][partial.group - 1, letter.clamp(max=MAX_POSITIONS - 1)]
    position = torch.where(done, 0, position)
    allowed = _allowed_elements(rules, partial, position)
    hopeless = ~allowed.any(1)
    allowed[hopeless, 1] = True
    logits = prior.element_logits(hidden[:, 0], position, allowed) / temperature
    element = choice(logits.softmax(-1), generator)
    done = done | hopeless
    element = torch.where(done, 0, element)
    left = partial.left.clone()
    multiplicity = wyckoff_table(position.device).multiplicity[position]
    left[torch.arange(len(element), device=element.device), element] -= multiplicity
    return _Partial(
        partial.group,
        torch.cat([partial.position, torch.where(done, 0, position)[:, None]], dim=1),
        torch.cat([partial.element, element[:, None]], dim=1),
        left,
        done,
    )


def _useful(rules: TemplateRules, partial: _Partial) -> Tensor:
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


def _allowed_elements(rules: TemplateRules, partial: _Partial, position: Tensor) -> Tensor:
    """Elements (n, 95) that may take a position (n,)."""
    if rules.composition:
        return partial.left >= wyckoff_table(position.device).multiplicity[position][:, None].clamp(min=1)
    present = _present(partial)
    allowed = present.new_zeros(N_ELEMENTS)
    allowed[sorted(rules.allowed_elements)] = True
    full = present.sum(1) >= rules.n_elements[1]
    return torch.where(full[:, None], present, allowed)


def _present(partial: _Partial) -> Tensor:
    present = partial.done.new_zeros(len(partial.group), N_ELEMENTS)
    present.scatter_(1, partial.element, partial.element > 0)
    present[:, 0] = False
    return present


def _finished(partial: _Partial) -> Sequence[CrystalTemplate]:
    rows = zip(partial.group.tolist(), partial.position.tolist(), partial.element.tolist(), strict=True)
    return [
        CrystalTemplate(group, tuple(sorted((p, z) for p, z in zip(positions, elements, strict=True) if z)))
        for group, positions, elements in rows
    ]
