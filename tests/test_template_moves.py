"""Laws of sampling templates: the exact distribution over multisets of sites, by every move and at every rung."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement, product

import pytest
import torch
from torch import Tensor

from matgen.chemistry.elements import ATOMIC_NUMBERS, known_elements
from matgen.samplers.metropolis import Move, metropolis
from matgen.samplers.resample import effective_sample_size, resample, systematic, temperature_for
from matgen.samplers.template_moves import ElementKernel, element_move, regrow, substitute, swap
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules
from matgen.templates.wyckoff import wyckoff_table

LI, NA, K, CL, AG = (ATOMIC_NUMBERS[s] for s in ("Li", "Na", "K", "Cl", "Ag"))
ROWS = wyckoff_table().positions_of(2)  # P-1: 1a to 1h without freedom, then the general 2i
A, GENERAL = ROWS[0], ROWS[-1]
TRIO = frozenset({LI, NA, AG})  # two similar elements, and another
RULES = TemplateRules(allowed_elements=TRIO)


def template(*sites: tuple[int, int]) -> CrystalTemplate:
    return CrystalTemplate(2, tuple(sorted(sites)))


# One fixed site and two general ones, which are indistinguishable: 3 x 6 = 18 templates.
SPACE = [
    template((A, z), *((GENERAL, g) for g in pair))
    for z, pair in product(sorted(TRIO), combinations_with_replacement(sorted(TRIO), 2))
]


SHORTER = [template((A, z), (GENERAL, g)) for z, g in product(sorted(TRIO), repeat=2)]


def table_energy(space: Sequence[CrystalTemplate], values: Sequence[float]) -> Callable[[TemplateBatch], Tensor]:
    """An energy that looks templates up; what it does not know has infinite energy."""
    table = dict(zip(space, values, strict=True))
    return lambda batch: torch.tensor([table.get(t, math.inf) for t in batch.unbatch()], dtype=torch.float64)


def random_levels(n: int, spread: float) -> list[float]:
    return (spread * torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).tolist()


def chi_square(sample: Sequence[CrystalTemplate], space: Sequence[CrystalTemplate], values: Sequence[float]) -> float:
    """Of independent samples against exp(-E); its mean is the number of states less one."""
    weights = [math.exp(-v) for v in values]
    counts = Counter(sample)
    assert set(counts) <= set(space)
    expected = [len(sample) * w / sum(weights) for w in weights]
    assert min(expected) > 5, "too few samples for the chi-square distribution to hold"
    return sum((counts[t] - e) ** 2 / e for t, e in zip(space, expected, strict=True))


def limit(n_states: int) -> float:
    """What chi-square with n - 1 degrees of freedom exceeds once in 1000 times (Wilson & Hilferty 1931)."""
    degrees = n_states - 1
    return degrees * (1 - 2 / (9 * degrees) + 3.09 * math.sqrt(2 / (9 * degrees))) ** 3


class Resampler:
    """Samples the whole template: the element of the fixed site, one or two general sites, and their elements."""

    def regrow(
        self, templates: Sequence[CrystalTemplate], generator: torch.Generator
    ) -> tuple[list[CrystalTemplate], Tensor]:
        trio = sorted(TRIO)
        sampled = []
        for count in torch.randint(1, 3, (len(templates),), generator=generator).tolist():
            z, *general = (trio[i] for i in torch.randint(3, (1 + count,), generator=generator).tolist())
            sampled.append(template((A, z), *((GENERAL, g) for g in general)))
        log_q = [self.log_density(new) - self.log_density(old) for new, old in zip(sampled, templates, strict=True)]
        return sampled, torch.tensor(log_q)

    def log_density(self, t: CrystalTemplate) -> float:
        general = [z for p, z in t.sites if p == GENERAL]
        orders = len(set(general))  # of at most two sites
        return math.log(orders / 2 / 3 ** (1 + len(general)))


KERNEL = ElementKernel.of(sorted(TRIO))
LIKENESS = ElementKernel.of(sorted(TRIO), width=0.8)
MOVES: dict[str, Mapping[str, Move]] = {
    "substitute": {"substitute": element_move(substitute(KERNEL), RULES)},
    "substitute by likeness": {"substitute": element_move(substitute(LIKENESS), RULES)},
    "regrow": {"regrow": regrow(Resampler(), RULES)},
    "all": {
        "substitute": element_move(substitute(LIKENESS), RULES),
        "swap": element_move(swap(), RULES),
        "regrow": regrow(Resampler(), RULES),
    },
}


@pytest.mark.parametrize("moves", MOVES)
def test_moves_keep_detailed_balance_over_multisets(moves: str) -> None:
    space = SPACE + SHORTER if "regrow" in MOVES[moves] else SPACE  # only regrowth changes the number of sites
    values = random_levels(len(space), 2.0)
    start = [SPACE[0]] * 600  # independent chains; 30 steps are some five correlation times
    generator = torch.Generator().manual_seed(1)
    end, report = metropolis(table_energy(space, values), start, MOVES[moves], steps=30, generator=generator)
    assert chi_square(end, space, values) < limit(len(space))
    assert all(0.2 < float(a) < 1.0 for name, a in report.acceptance.items() if name != "swap")
    assert report.energy.shape == (31, 600)


def test_swaps_sample_the_arrangements_of_one_formula() -> None:
    # Li2 Na2 Ag4 over four fixed sites of one atom each and two general ones of two atoms each.
    fixed = ROWS[:4]
    rules = TemplateRules(composition=((LI, 2), (NA, 2), (AG, 4)))
    space = sorted(
        {
            t
            for four in product(sorted(TRIO), repeat=4)
            for pair in combinations_with_replacement(sorted(TRIO), 2)
            if rules.satisfied(t := template(*zip(fixed, four, strict=True), *((GENERAL, z) for z in pair)))
        },
        key=str,
    )
    assert len(space) > 10
    values = random_levels(len(space), 1.5)
    # Single swaps of equal multiplicity cannot trade 2i against two of 1a..1d; those of any multiplicity break the
    # formula on the way. So each class of general pairs is closed, and is sampled separately.
    classes: dict[tuple[int, ...], list[CrystalTemplate]] = {}
    for t in space:
        classes.setdefault(tuple(z for p, z in t.sites if p == GENERAL), []).append(t)
    moves = {"swap": element_move(swap(keep_composition=True), rules)}
    for members in classes.values():
        levels = [values[space.index(t)] for t in members]
        start = [members[0]] * 400
        end, _ = metropolis(
            table_energy(space, values), start, moves, steps=20, generator=torch.Generator().manual_seed(2)
        )
        assert all(rules.satisfied(t) for t in end)
        if len(members) > 1:
            assert chi_square(end, members, levels) < limit(len(members))


def test_tempering_crosses_a_barrier_and_keeps_the_target() -> None:
    # Two deep wells of unequal depth, LiLiLi and AgAgAg, with 8 kT between them: a chain at T = 1 stays in its own.
    deep, other = template((A, LI), (GENERAL, LI), (GENERAL, LI)), template((A, AG), (GENERAL, AG), (GENERAL, AG))
    values = [-8.0 if t == deep else -7.5 if t == other else 0.0 for t in SPACE]
    energy, start = table_energy(SPACE, values), [deep, other] * 150
    moves = {"substitute": element_move(substitute(KERNEL), RULES)}

    def share(temperatures: Sequence[float]) -> tuple[float, int]:
        generator = torch.Generator().manual_seed(3)
        end, report = metropolis(energy, start, moves, steps=60, temperatures=temperatures, generator=generator)
        assert len(report.exchange) == len(temperatures) - 1
        assert all(float(e) > 0.1 for e in report.exchange)
        return sum(t == deep for t in end) / len(end), sum(a != b for a, b in zip(start, end, strict=True))

    exact = math.exp(8.0) / (math.exp(8.0) + math.exp(7.5) + 16)
    plain, crossed_plainly = share([1.0])
    tempered, crossed = share([1.0, 2.0, 5.0])
    assert abs(plain - 0.5) < 0.05  # it remembers the initial template
    assert crossed_plainly < 20
    assert crossed > 75
    assert abs(tempered - exact) < 4 * math.sqrt(exact * (1 - exact) / len(start))


def test_labelled_moves_keep_positions_and_touch_one_or_two_sites() -> None:
    batch = TemplateBatch.of(SPACE * 5)
    generator = torch.Generator().manual_seed(4)
    substituted, log_q = substitute(KERNEL)(batch, generator)
    swapped, symmetric = swap()(batch, generator)
    assert not log_q.any()
    assert not symmetric.any()
    for new, changes in ((substituted, {1}), (swapped, {0, 2})):
        assert torch.equal(new.site_position, batch.site_position)
        assert torch.equal(new.site_system, batch.site_system)
        differ = (new.site_element != batch.site_element).long()
        n_changed = torch.zeros(batch.n_systems, dtype=torch.long).index_add(0, batch.site_system, differ)
        assert set(n_changed.tolist()) == changes
    sums = [torch.zeros(batch.n_systems).index_add(0, b.site_system, b.site_element.float()) for b in (batch, swapped)]
    assert torch.equal(*sums)
    kept, _ = swap(keep_composition=True)(batch, generator)
    assert [t.composition for t in kept.unbatch()] == [t.composition for t in batch.unbatch()]
    assert not torch.equal(kept.site_element, batch.site_element)
    # Nothing is left unchanged but a template of one element.
    plain = torch.tensor([len(t.composition) == 1 for t in SPACE * 5])
    differ = (swapped.site_element != batch.site_element).long()
    assert torch.equal(
        torch.zeros(batch.n_systems, dtype=torch.long).index_add(0, batch.site_system, differ) == 0, plain
    )


def test_a_kernel_with_a_width_prefers_similar_elements() -> None:
    uniform, likeness = ElementKernel.of(known_elements()), ElementKernel.of(known_elements(), width=0.5)
    assert float(likeness.probability[NA, K]) > 10 * float(likeness.probability[NA, CL])
    assert float(uniform.probability[NA, K]) == pytest.approx(1 / (len(known_elements()) - 1))
    for kernel in (uniform, likeness):
        rows = kernel.probability[torch.tensor(known_elements())]
        assert torch.allclose(rows.sum(1), torch.ones(len(rows), dtype=torch.float64))
        assert not rows.diagonal(offset=1).isnan().any()
        assert not kernel.probability.diagonal().any()


def test_with_one_element_there_is_nothing_to_substitute() -> None:
    only = template((A, NA))
    batch = TemplateBatch.of([only])
    new, log_q = substitute(ElementKernel.of([NA]))(batch, torch.Generator())
    assert new.unbatch() == [only]
    assert log_q.tolist() == [0.0]
    assert swap()(batch, torch.Generator())[0].unbatch() == [only]


def test_what_does_not_change_is_not_scored_again() -> None:
    scored: list[int] = []

    def energy(batch: TemplateBatch) -> Tensor:
        scored.append(batch.n_systems)
        return torch.zeros(batch.n_systems)

    start = [template((A, NA)), template((A, NA), (GENERAL, LI))]
    metropolis(energy, start, {"swap": element_move(swap(), RULES)}, steps=2, generator=torch.Generator())
    assert scored == [2, 1, 1]  # the first template has nothing to swap


def test_proposals_that_break_the_rules_become_no_change() -> None:
    # Na must stay: from NaLiLi no substitution of the fixed site may be accepted.
    rules = TemplateRules(allowed_elements=TRIO, required_elements=frozenset({NA}))
    start = [template((A, NA), (GENERAL, LI), (GENERAL, LI))] * 200
    moves = {"substitute": element_move(substitute(KERNEL), rules), "regrow": regrow(Resampler(), rules)}
    end, _ = metropolis(
        lambda batch: torch.zeros(batch.n_systems), start, moves, steps=20, generator=torch.Generator().manual_seed(5)
    )
    assert all(rules.satisfied(t) for t in end)
    assert len(set(end)) > 5


def test_one_seed_one_run_and_batch_mates_do_not_matter() -> None:
    values = random_levels(len(SPACE), 2.0)
    energy = table_energy(SPACE, values)

    def run(mates: Sequence[CrystalTemplate], seed: int) -> list[CrystalTemplate]:
        generator = torch.Generator().manual_seed(seed)
        moves = {name: MOVES["all"][name] for name in ("substitute", "swap")}
        start = [SPACE[3], SPACE[7], *mates]
        return metropolis(energy, start, moves, steps=30, temperatures=[1.0, 2.0], generator=generator)[0][:2]

    assert run([SPACE[0]], 6) == run([SPACE[0]], 6) == run([SPACE[9]], 6)
    assert any(run([SPACE[0]], 6) != run([SPACE[0]], seed) for seed in (7, 8, 9))


def test_errors_teach() -> None:
    energy, generator = table_energy(SPACE[:1], [0.0]), torch.Generator()
    with pytest.raises(ValueError, match=r"finite energy at the start.*got inf for `2: 1a Li, 2i Li, 2i Na`"):
        metropolis(energy, SPACE[:2], MOVES["all"], steps=1, generator=generator)
    with pytest.raises(ValueError, match="expected moves and positive temperatures"):
        metropolis(energy, SPACE[:1], {}, steps=1, generator=generator)
    with pytest.raises(ValueError, match="expected moves and positive temperatures"):
        metropolis(energy, SPACE[:1], MOVES["all"], steps=1, temperatures=[0.0], generator=generator)


# ---------------------------------------------------------------- resampling


def test_systematic_resampling_is_fair_and_lean() -> None:
    weights = torch.tensor([0.5, 0.25, 0.13, 0.12, 0.0], dtype=torch.float64)
    counts = torch.zeros(5)
    generator = torch.Generator().manual_seed(10)
    for _ in range(400):
        sampled = torch.bincount(systematic(weights.log(), 10, generator), minlength=5)
        assert (sampled >= (10 * weights).floor()).all()
        assert (sampled <= (10 * weights).ceil()).all()
        counts += sampled
    # Each of 400 rounds rounds a count up or down: a spread of at most 1/2, of 1/40 for their mean.
    assert torch.allclose(counts / 400, 10 * weights.float(), atol=4 / 40)


def test_resampling_follows_the_energy_and_its_temperature() -> None:
    energies = torch.tensor([0.0, math.log(2.0), math.inf])
    generator = torch.Generator().manual_seed(11)
    assert torch.bincount(resample(energies, 300, generator), minlength=3).tolist() == [200, 100, 0]
    hot = torch.bincount(resample(energies, 300, generator, temperature=1e6), minlength=3)
    assert hot.tolist() == [150, 150, 0]


def test_the_temperature_keeps_the_effective_sample_that_is_required() -> None:
    energies = 10 * torch.randn(500, generator=torch.Generator().manual_seed(12)).double()
    temperature = temperature_for(energies, 100.0)
    assert temperature > 1
    assert effective_sample_size(-energies / temperature) == pytest.approx(100.0, rel=1e-6)
    assert temperature_for(torch.zeros(500), 100.0) == 1.0  # already even
    assert effective_sample_size(torch.zeros(8)) == pytest.approx(8.0)
    assert effective_sample_size(torch.tensor([0.0, -math.inf])) == pytest.approx(1.0)


def test_resampling_errors_teach() -> None:
    with pytest.raises(ValueError, match="at most 2, the number of finite energies, got 3"):
        temperature_for(torch.tensor([0.0, 1.0, math.inf]), 3)
    with pytest.raises(ValueError, match="finite log weights"):
        resample(torch.tensor([math.inf, math.inf]), 3, torch.Generator())
