"""Laws of regrowth by the learned prior: exact ratios, hence the exact distribution, and no forbidden template."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, product

import pytest
import torch
from test_template_moves import chi_square, limit, random_levels, table_energy
from torch import Tensor

from matgen.chemistry.elements import ATOMIC_NUMBERS
from matgen.energies.template_regrowth import PARTS, LearnedRegrowth, Part
from matgen.nn.conditions import CRYSTAL_GRIDS, N_ELEMENTS, Conditions
from matgen.nn.sites import pad_sites
from matgen.nn.template_prior import TemplatePrior, TemplatePriorConfig
from matgen.rules.parser import parse_rule
from matgen.samplers.metropolis import Move, metropolis
from matgen.samplers.template_moves import regrow
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules
from matgen.templates.wyckoff import wyckoff_table

NA, CL, K, SR, TI, OX = (ATOMIC_NUMBERS[s] for s in ("Na", "Cl", "K", "Sr", "Ti", "O"))
SALT = frozenset({NA, CL})
SMALL = TemplateRules(allowed_elements=SALT, space_groups=frozenset({1, 6, 221}), max_atoms=2)
"""P1 has one position, which may repeat; Pm three; Pm-3m with so few atoms two, which may be used once."""


def tiny_prior() -> TemplatePrior:
    """Untrained, but not uniform, so that a missing ratio is noticed."""
    torch.manual_seed(0)
    prior = TemplatePrior(TemplatePriorConfig(width=16, layers=2, heads=2, dropout=0.0)).double().eval()
    prior.element_bias.data[CL] += 1.0
    torch.nn.init.normal_(prior.position_bias.weight)
    return prior


PRIOR = tiny_prior()


def proposal(part: Part, rules: TemplateRules = SMALL, prior: TemplatePrior = PRIOR) -> LearnedRegrowth:
    return LearnedRegrowth(prior, rules, Conditions.none(1, CRYSTAL_GRIDS), part)


def move(part: Part, rules: TemplateRules = SMALL) -> Move:
    return regrow(proposal(part, rules), rules)


def space(rules: TemplateRules, most_sites: int) -> list[CrystalTemplate]:
    """Every template with at most so many sites that satisfies the rules."""
    return [
        template
        for group in sorted(rules.space_groups)
        for n in range(1, most_sites + 1)
        for sites in combinations_with_replacement(
            product(wyckoff_table().positions_of(group), sorted(rules.allowed_elements)), n
        )
        if rules.satisfied(template := CrystalTemplate(group, sites))
    ]


PM = replace(SMALL, space_groups=frozenset({6}))
EITHER = replace(PM, statements=(parse_rule("Na implies count(Na) >= 2 or Cl"),))
FORMULA = TemplateRules(composition=((NA, 1), (CL, 2)), allowed_elements=SALT, space_groups=frozenset({6}), max_atoms=6)
CASES: dict[str, tuple[TemplateRules, tuple[Part, ...], list[CrystalTemplate]]] = {
    "site": (PM, ("site",), [t for t in space(PM, 2) if len(t.sites) == 2]),
    "tail": (PM, ("tail", "sites"), space(PM, 2)),  # the tail keeps a site, and alone cannot reach every template
    "sites": (PM, ("sites",), space(PM, 2)),
    "template": (SMALL, ("template",), space(SMALL, 2)),
    "all": (SMALL, PARTS, space(SMALL, 2)),
    "a rule that masks": (EITHER, ("tail", "sites"), space(EITHER, 2)),
    "one formula unit": (FORMULA, ("tail", "sites"), [t for t in space(FORMULA, 3) if t.n_atoms == 3]),
}


@pytest.mark.parametrize("case", CASES)
def test_regrowth_keeps_detailed_balance_over_multisets(case: str) -> None:
    rules, parts, states = CASES[case]
    assert 7 < len(states) < 30
    values = random_levels(len(states), 1.0)
    start = [states[0]] * 300  # independent chains; 40 steps are many correlation times
    end, report = metropolis(
        table_energy(states, values),
        start,
        {part: move(part, rules) for part in parts},
        steps=40,
        generator=torch.Generator().manual_seed(1),
    )
    assert chi_square(end, states, values) < limit(len(states))
    assert all(float(acceptance) > 0.1 for acceptance in report.acceptance.values())


@pytest.mark.parametrize("case", ["site", "tail"])
def test_without_the_ratio_the_distribution_is_wrong(case: str) -> None:
    rules, parts, states = CASES[case]

    def naive(part: Part) -> Move:
        def without(
            templates: Sequence[CrystalTemplate], generator: torch.Generator
        ) -> tuple[list[CrystalTemplate], Tensor]:
            found, log_q = move(part, rules)(templates, generator)
            return found, torch.zeros_like(log_q)

        return without

    values = random_levels(len(states), 1.0)
    end, _ = metropolis(
        table_energy(states, values),
        [states[0]] * 300,
        {part: naive(part) for part in parts},
        steps=40,
        generator=torch.Generator().manual_seed(1),
    )
    assert chi_square(end, states, values) > 2 * limit(len(states))


def proposals(part: Part, initial: Sequence[CrystalTemplate]) -> dict[tuple[CrystalTemplate, CrystalTemplate], float]:
    """Log q by pair, of many regrowths; the last one of each pair."""
    old = list(initial) * 200
    new, log_q = move(part)(old, torch.Generator().manual_seed(2))
    return {(a, b): q for a, b, q in zip(old, new, log_q.tolist(), strict=True) if a != b}


@pytest.mark.parametrize("part", ["sites", "template"])
def test_the_ratio_is_that_of_the_networks_own_probabilities(part: Part) -> None:
    # Where all sites are equal there is one order, and the ratio has no auxiliary variable.
    alike = [t for t in space(SMALL, 2) if len(set(t.sites)) == 1]
    prior = tiny_prior()
    others = torch.ones(N_ELEMENTS, dtype=torch.bool)
    others[sorted(SALT)] = False
    prior.element_bias.data[others] = -60.0  # elements that the rules mask have no weight
    prior.config = replace(prior.config, max_atoms=2)
    batch = TemplateBatch.of(alike)
    with torch.no_grad():
        log_p = prior(Conditions.none(len(alike), CRYSTAL_GRIDS), batch.space_group, pad_sites(batch)).tolist()
    known = dict(zip(alike, log_p, strict=True))
    old = alike * 100
    new, log_q = proposal(part, prior=prior).regrow(old, torch.Generator().manual_seed(3))
    checked = [
        (q, known[b] - known[a]) for a, b, q in zip(old, new, log_q.tolist(), strict=True) if b in known and a != b
    ]
    assert len(checked) > 100
    assert all(q == pytest.approx(exact, abs=1e-9) for q, exact in checked)


@pytest.mark.parametrize("part", PARTS)
def test_the_reverse_move_has_the_opposite_ratio(part: Part) -> None:
    # Of pairs whose auxiliary variables have one value: equal sites have one order, one site one number to keep.
    alike = [t for t in space(SMALL, 2) if len(set(t.sites)) == 1 and (part != "tail" or t.space_group == 1)]
    there = proposals(part, alike)
    both = [pair for pair in there if pair[::-1] in there]
    assert len(both) >= 2
    for pair in both:
        assert there[pair] == pytest.approx(-there[pair[::-1]], abs=1e-9)


WIDE = TemplateRules(required_elements=frozenset({NA}), n_elements=(2, 3), space_groups=frozenset(range(2, 231)))
PEROVSKITE = TemplateRules(composition=((SR, 1), (TI, 1), (OX, 3)))


def at(group: int, *sites: tuple[str, int]) -> CrystalTemplate:
    rows = wyckoff_table().positions_of(group)
    return CrystalTemplate(group, tuple(sorted((rows["abcdefghi".index(letter)], z) for letter, z in sites)))


EXAMPLES = {
    "wide": (
        WIDE,
        [at(225, ("a", NA), ("b", CL)), at(2, ("a", NA), ("i", CL), ("i", K)), at(99, ("a", NA), ("a", CL))],
    ),
    "formula": (
        PEROVSKITE,
        [at(221, ("a", SR), ("b", TI), ("c", OX)), at(99, ("a", SR), ("b", TI), ("a", OX), ("c", OX))],
    ),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_every_proposal_keeps_the_rules_and_the_part_that_is_not_regrown(example: str, part: Part) -> None:
    rules, some = EXAMPLES[example]
    assert all(map(rules.satisfied, some))
    old = some * 100
    new, log_q = move(part, rules)(old, torch.Generator().manual_seed(4))
    assert all(map(rules.satisfied, new))
    assert log_q.isfinite().all()
    assert sum(a != b for a, b in zip(old, new, strict=True)) > 5
    for a, b, q in zip(old, new, log_q.tolist(), strict=True):
        assert a != b or q == 0.0
        assert part == "template" or b.space_group == a.space_group
        assert not rules.composition or b.composition == a.composition
        shared = (Counter(a.sites) & Counter(b.sites)).total()
        assert part != "site" or shared >= len(a.sites) - 1 == len(b.sites) - 1
        assert part != "tail" or shared >= 1


def test_one_seed_one_regrowth() -> None:
    old = space(SMALL, 2)
    for part in PARTS:
        first, again, other = (proposal(part).regrow(old, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
        assert first[0] == again[0] != other[0]
        assert torch.equal(first[1], again[1])


def test_a_template_outside_the_rules_is_never_reached_again() -> None:
    # Sampling under the rules cannot produce it: the reverse move has no probability.
    alien = CrystalTemplate(221, ((wyckoff_table().positions_of(221)[0], K),))
    new, log_q = move("sites")([alien] * 20, torch.Generator().manual_seed(7))
    assert all(map(SMALL.satisfied, new))
    assert float(log_q.min()) > 1e6
    assert not math.isnan(float(log_q.sum()))
