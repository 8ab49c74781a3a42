"""Laws of moves on molecules: exact detailed balance by enumeration, and the right frequencies in a run."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import combinations, product
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from matgen.energies.graph_prior import LearnedGraphPrior
from matgen.nn.conditions import MOLECULE_GRIDS, Conditions
from matgen.nn.graph_prior import GraphPrior, GraphPriorConfig
from matgen.samplers.metropolis import metropolis
from matgen.samplers.molecule_edits import Dice, Edit, exchange, insert, rebond, resize, retype, shift, swap, transfer
from matgen.samplers.molecule_moves import molecule_move, standard_moves
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeError, MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules, composition_of
from matgen.templates.skeleton import N_TYPES, Skeleton, labelled

T = TypeVar("T")

CARBON, NITROGEN, OXYGEN = 0, 1, 2
RULES = MoleculeRules(allowed_elements=frozenset({6, 8}), n_heavy=(1, 3))
EVERY = tuple(range(N_TYPES))


@cache
def space(types: tuple[int, ...], most: int) -> tuple[MoleculeTemplate, ...]:
    """Every molecule of at most so many heavy atoms of these types, by writing down every skeleton."""
    found = set()
    for n in range(1, most + 1):
        pairs = list(combinations(range(n), 2))
        for kinds, orders in product(product(types, repeat=n), product(range(4), repeat=len(pairs))):
            bonds = tuple((i, j, order) for (i, j), order in zip(pairs, orders, strict=True) if order)
            if Skeleton(kinds, bonds).is_legal:
                try:
                    found.add(Skeleton(kinds, bonds).template())
                except MoleculeError:
                    continue
    return tuple(sorted(found, key=str))


class Scripted(Dice):
    """Picks by a script, then first options; records the number of options, so that all outcomes can be enumerated."""

    def __init__(self, script: Sequence[int]) -> None:
        super().__init__(())
        self.script, self.sizes = script, list[int]()

    def pick(self, options: Sequence[T]) -> T:
        index = len(self.sizes)
        self.sizes.append(len(options))
        return options[self.script[index] if index < len(self.script) else 0]


def outcomes(act: Callable[[Dice], tuple[Skeleton, float] | None]) -> Iterator[tuple[float, Skeleton, float]]:
    """Probability, skeleton and log ratio of everything that an edit may do."""
    script: list[int] = []
    while True:
        dice = Scripted(script)
        found = act(dice)
        if found is not None and found[0].is_legal:
            yield 1 / math.prod(dice.sizes), *found
        script = (script + [0] * len(dice.sizes))[: len(dice.sizes)]
        while script and script[-1] == dice.sizes[len(script) - 1] - 1:
            script.pop()
        if not script:
            return
        script[-1] += 1


def flow(edit: Edit, molecule: MoleculeTemplate, energy: Callable[[MoleculeTemplate], float]) -> dict:
    """Probability exp(-E) of a molecule times that of an accepted move to each other one."""
    flows: dict[MoleculeTemplate, float] = defaultdict(float)
    here = labelled(molecule)
    for probability, skeleton, log_q in outcomes(lambda dice: edit(dice.pick(here.skeletons), dice)):
        try:
            new = skeleton.template()
            there = labelled(new).log_labellings
        except MoleculeError:
            continue
        log_ratio = energy(molecule) - energy(new) - (log_q + there - here.log_labellings)
        flows[new] += math.exp(-energy(molecule)) * probability * min(1.0, math.exp(log_ratio))
    return flows


EDITS: dict[str, Edit] = {
    "retype": retype(EVERY),
    "rebond": rebond,
    "resize": resize(EVERY),
    "insert": insert(EVERY),
    "swap": swap,
    "shift": shift,
    "exchange": exchange,
    "transfer": transfer,
}

LARGER = ["Cc1ccccc1", "c1ccncc1", "CC(C)(C)O", "C1CC2CC12", "[NH3+]CC([O-])=O", "OC1=CC=CO1", "C=CC=CO", "CC(=N)N"]


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_in_detailed_balance_among_small_molecules(name: str) -> None:
    molecules = space((CARBON, NITROGEN, OXYGEN, 4, 5), 3)
    levels = torch.rand(len(molecules), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    table = dict(zip(molecules, levels.tolist(), strict=True))
    there_and_back = {molecule: flow(EDITS[name], molecule, lambda m: table.get(m, 0.0)) for molecule in molecules}
    compared = 0
    for one, flows in there_and_back.items():
        for other, there in flows.items():
            if other in there_and_back and other != one:
                assert there == pytest.approx(there_and_back[other].get(one, 0.0), rel=1e-9), f"{one} to {other}"
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("smiles", LARGER)
def test_every_edit_is_in_detailed_balance_where_there_are_symmetries_and_kekule_forms(name: str, smiles: str) -> None:
    old = MoleculeTemplate.of(smiles)
    for new, there in sorted(flow(EDITS[name], old, lambda m: 0.1 * len(m.smiles)).items(), key=str)[:4]:
        if new != old:
            back = flow(EDITS[name], new, lambda m: 0.1 * len(m.smiles))[old]
            assert there == pytest.approx(back, rel=1e-9), f"{old} to {new}"


@pytest.mark.parametrize("name", ["swap", "shift", "exchange", "transfer"])
def test_some_edits_keep_the_formula(name: str) -> None:
    for smiles in LARGER:
        old = MoleculeTemplate.of(smiles)
        assert all(composition_of(new) == composition_of(old) for new in flow(EDITS[name], old, lambda _: 0.0))


def chi_square(sample: Sequence[MoleculeTemplate], weights: dict[MoleculeTemplate, float]) -> float:
    """Of independent samples against weights; its mean is the number of states less one."""
    counts, total = Counter(sample), sum(weights.values())
    assert set(counts) <= set(weights)
    expected = {molecule: len(sample) * weight / total for molecule, weight in weights.items()}
    assert min(expected.values()) > 5, "too few samples for the chi-square distribution to hold"
    return sum((counts[molecule] - e) ** 2 / e for molecule, e in expected.items())


def sampled(energy: Callable[[TemplateBatch], Tensor], n_chains: int, steps: int) -> list[MoleculeTemplate]:
    """The ends of chains that begin at methane."""
    generator = torch.Generator().manual_seed(0)
    start = [MoleculeTemplate.of("C")] * n_chains
    return metropolis(energy, start, standard_moves(RULES), steps=steps, generator=generator)[0]


def test_a_flat_energy_visits_all_molecules_equally_often() -> None:
    molecules = space((CARBON, OXYGEN), 3)
    assert len(molecules) > 20
    found = sampled(lambda batch: torch.zeros(batch.n_systems), n_chains=400, steps=150)
    degrees = len(molecules) - 1
    assert chi_square(found, dict.fromkeys(molecules, 1.0)) < degrees + 4 * math.sqrt(2 * degrees)  # four deviations


def test_the_energy_of_the_prior_is_sampled() -> None:
    torch.manual_seed(0)
    energy = LearnedGraphPrior(
        GraphPrior(GraphPriorConfig(width=16, layers=1, heads=2)), Conditions.none(1, MOLECULE_GRIDS)
    )
    molecules = space((CARBON, OXYGEN), 3)
    levels = 0.2 * energy(TemplateBatch.of(molecules)).double()  # flatter, so that few samples reach them all
    table = dict(zip((m.smiles for m in molecules), levels.tolist(), strict=True))
    found = sampled(lambda batch: torch.tensor([table[name] for name in batch.smiles]), n_chains=600, steps=150)
    degrees = len(molecules) - 1
    weights = {molecule: math.exp(-table[molecule.smiles]) for molecule in molecules}
    assert chi_square(found, weights) < degrees + 4 * math.sqrt(2 * degrees)
    assert chi_square(found, dict.fromkeys(molecules, 1.0)) > degrees + 4 * math.sqrt(2 * degrees)


def test_moves_keep_the_rules_and_have_no_ratio_where_nothing_changes() -> None:
    rules = MoleculeRules(forbidden_smarts=("[OX2][OX2]", "C#C"), max_rings=1)
    generator = torch.Generator().manual_seed(0)
    templates = [MoleculeTemplate.of(smiles) for smiles in ("CCO", "c1ccco1", "CC(=O)NC")] * 10
    changed = 0
    for _ in range(10):
        for move in standard_moves(rules).values():
            new, log_q = move(templates, generator)
            assert all(rules.satisfied(template) for template in new)
            assert all(a != b or q == 0 for a, b, q in zip(templates, new, log_q.tolist(), strict=True))
            changed += sum(a != b for a, b in zip(templates, new, strict=True))
            templates = new
    assert changed > 100


def test_one_seed_moves_alike_and_under_a_composition_the_formula_stays() -> None:
    rules = MoleculeRules(composition=((1, 6), (6, 3), (8, 1)))
    start = [MoleculeTemplate.of("CC(C)=O")] * 20
    ends = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(5)
        moves = standard_moves(rules)
        ends.append(metropolis(lambda b: torch.zeros(b.n_systems), start, moves, steps=40, generator=generator)[0])
    assert ends[0] == ends[1]
    assert len(set(ends[0])) > 3
    assert {composition_of(molecule)[8] for molecule in ends[0]} == {1}


def test_what_cannot_be_a_molecule_becomes_no_change() -> None:
    def nonsense(old: Skeleton, _: Dice) -> tuple[Skeleton, float]:
        return Skeleton((*old.types, 0), old.bonds), 1.0

    methane = [MoleculeTemplate.of("C")]
    new, log_q = molecule_move(nonsense, MoleculeRules())(methane, torch.Generator().manual_seed(0))
    assert new == methane
    assert log_q.tolist() == [0.0]
