"""Laws of held sites: every template keeps them, each is listed once, and redrawn elements have the exact ratio."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, product
from math import comb

import pytest
import torch
from test_template_moves import chi_square, limit, random_levels, table_energy
from test_template_regrowth import CL, NA, OX, PM, PRIOR, SALT, SR, TI, K, space
from torch import Tensor

from matgen.energies.element_regrowth import ElementRegrowth
from matgen.energies.template_regrowth import LearnedRegrowth
from matgen.nn.conditions import CRYSTAL_GRIDS, Conditions
from matgen.samplers.metropolis import Move, metropolis
from matgen.samplers.template_moves import regrow
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import ContradictionError, TemplateRules
from matgen.templates.held import HeldTemplate, OpenSites
from matgen.templates.wyckoff import wyckoff_table

MIRROR = wyckoff_table().positions_of(6)[0]

# In Pm one site is held; one group has two sites that may trade places, the other has one.
PM_HOST = CrystalTemplate(6, tuple(sorted([(MIRROR, OX), (MIRROR, TI), (MIRROR, TI), (MIRROR + 1, SR)])))
TWO = frozenset({NA, CL, K})
HELD = HeldTemplate(
    PM_HOST,
    (
        OpenSites(tuple(i for i, site in enumerate(PM_HOST.sites) if site == (MIRROR, TI)), TWO),
        OpenSites(tuple(i for i, site in enumerate(PM_HOST.sites) if site == (MIRROR + 1, SR)), SALT),
    ),
)
RULES = TemplateRules(space_groups=frozenset({6}), max_atoms=20)
NONE = Conditions.none(1, CRYSTAL_GRIDS)


def test_every_template_is_listed_once_and_keeps_the_held_site() -> None:
    found = list(HELD.all())
    assert len(found) == len(set(found)) == HELD.count() == comb(3 + 1, 2) * 2
    for template in found:
        assert (MIRROR, OX) in template.sites
        assert HELD.same_positions(template)
        two, one = HELD.parts(template)
        assert [p for p, _ in two] == [MIRROR] * 2
        assert [p for p, _ in one] == [MIRROR + 1]
        assert HELD.with_open([*two, *one]) == template


@pytest.mark.parametrize("template", list(HELD.all()), ids=str)
def test_a_correspondence_keeps_positions_and_held_sites_and_lists_each_arrangement(template: CrystalTemplate) -> None:
    ways = HELD.correspondences(template, 10)
    differ = len({z for _, z in HELD.parts(template)[0]}) == 2
    assert len(ways) == len(set(ways)) == (2 if differ else 1)
    for way in ways:
        assert sorted(way) == list(range(len(template.sites)))
        assert all(PM_HOST.sites[i][0] == position for i, (position, _) in zip(way, template.sites, strict=True))
        assert way[template.sites.index((MIRROR, OX))] == PM_HOST.sites.index((MIRROR, OX))


def balance(states: Sequence[CrystalTemplate], moves: dict[str, Move], *, exact: bool) -> None:
    """Run many chains, and compare where they end with the target distribution."""
    values = random_levels(len(states), 1.0)
    end, report = metropolis(
        table_energy(states, values),
        [states[0]] * 300,  # independent chains; 40 steps are many correlation times
        moves,
        steps=40,
        generator=torch.Generator().manual_seed(1),
    )
    assert all(float(acceptance[0]) > 0.1 for acceptance in report.acceptance.values())
    assert (chi_square(end, states, values) < limit(len(states))) is exact


def without_ratio(move: Move) -> Move:
    """The move, as if it were symmetric."""

    def naive(templates: Sequence[CrystalTemplate], generator: torch.Generator) -> tuple[list[CrystalTemplate], Tensor]:
        found, log_q = move(templates, generator)
        return found, torch.zeros_like(log_q)

    return naive


@pytest.mark.parametrize("exact", [True, False])
def test_redrawn_elements_keep_detailed_balance_over_multisets(exact: bool) -> None:  # noqa: FBT001
    moves = {str(group): regrow(ElementRegrowth(PRIOR, NONE, HELD, group), RULES) for group in (0, 1)}
    balance(
        list(HELD.all()), moves if exact else {name: without_ratio(move) for name, move in moves.items()}, exact=exact
    )


def test_sites_regrown_behind_held_ones_keep_detailed_balance_over_multisets() -> None:
    held = (MIRROR, NA)
    few = replace(PM, max_atoms=3)
    states = [template for template in space(few, 3) if held in template.sites and len(template.sites) > 1]
    assert len(states) > 10  # of one and of two open sites; the template without any is no state
    proposal = LearnedRegrowth(PRIOR, few, NONE, "tail", (held,))
    balance(states, {"tail": regrow(proposal, few)}, exact=True)
    found, _ = proposal.regrow(states * 50, torch.Generator().manual_seed(2))
    assert set(found) == set(states)


@pytest.mark.parametrize("part", ["site", "tail"])
def test_regrowth_never_touches_held_sites(part: str) -> None:
    held = ((MIRROR, NA), (MIRROR, NA), (MIRROR + 1, CL))
    rest = combinations_with_replacement(list(product((MIRROR, MIRROR + 1), (NA, CL))), 2)
    rules = TemplateRules(allowed_elements=SALT, space_groups=frozenset({6}), max_atoms=12)
    initial = [CrystalTemplate(6, tuple(sorted((*held, *some)))) for some in rest]
    proposal = LearnedRegrowth(PRIOR, rules, NONE, part, held)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    changed = 0
    for _ in range(10):
        found, _ = proposal.regrow(initial, generator)
        for old, new in zip(initial, found, strict=True):
            left = list(new.sites)
            for site in held:
                left.remove(site)  # raises if it is gone
            changed += new != old
    assert changed > 20


def test_groups_that_cannot_be_told_apart_are_refused() -> None:
    one, other = (OpenSites((i,), SALT) for i in (0, 1))
    with pytest.raises(ContradictionError, match=r"expected different elements for two replacements on .* 1a"):
        HeldTemplate(PM_HOST, (one, other))
    with pytest.raises(ContradictionError, match="expected each site to be replaced once"):
        HeldTemplate(PM_HOST, (one, one))
    with pytest.raises(ContradictionError, match="expected elements that may replace others, got none"):
        HeldTemplate(PM_HOST, (OpenSites((0,), frozenset()),))
    assert HeldTemplate(PM_HOST, (one, OpenSites((1,), frozenset({K})))).count() == 2
