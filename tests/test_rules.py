"""Logical rules: what they say, their distances, their masks, and the check for contradictions."""

import itertools
import math
import random
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from pymatgen.core import Element

from matgen.chemistry.charges import likely_states
from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS, known_elements, reduced
from matgen.generation.formulas import formula_counts
from matgen.rules.composition import Facts, composition_distance, distance
from matgen.rules.groups import GROUPS
from matgen.rules.parser import LONGEST, RuleError, parse_rule
from matgen.rules.prospects import Prospects
from matgen.rules.satisfiability import satisfiable, smallest_contradiction
from matgen.rules.statement import And, Comparison, Quantity, Rule, fold, negation

KNOWN = frozenset(known_elements())
FEW = ("Li", "Fe", "O", "F", "Cl")
LEAVES = (
    *("Li", "O", "halogen", "count(Fe) <= 2", "count(O, F) == 3", "count(elements) > 5", "count(Li) != 1"),
    *("share(O) >= 1/2", "share(halogens) < 25%", "share(Li) == 0.2", "elements == 3", "anions >= 2", "halogens != 1"),
)


def atoms(formula: str) -> tuple[tuple[int, int], ...]:
    """The composition of a formula, as written."""
    return tuple(formula_counts(formula).items())


def far(rule: str, formula: str) -> float:
    """The distance of a composition from a rule."""
    return composition_distance(parse_rule(rule), atoms(formula))


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize(
    ("name", "attribute", "apart"),
    [
        ("alkali", "is_alkali", "Fr"),
        ("alkaline_earth", "is_alkaline", "Ra"),
        ("transition_metal", "is_transition_metal", "La Ac"),  # pymatgen counts them twice
        ("lanthanide", "is_lanthanoid", ""),
        ("actinide", "is_actinoid", ""),
        ("rare_earth", "is_rare_earth", "Ac Th Pa U Np Pu"),  # pymatgen's hold the actinides
        ("chalcogen", "is_chalcogen", "Po"),
        ("halogen", "is_halogen", "At"),
        ("noble_gas", "is_noble_gas", "Rn"),
        ("metalloid", "is_metalloid", "Po"),
        ("metal", "is_metal", "Fr Ra Po"),
    ],
)
def test_groups_are_those_of_pymatgen(name: str, attribute: str, apart: str) -> None:
    theirs = {z for z in range(1, 95) if getattr(Element.from_Z(z), attribute)}
    differing = theirs ^ GROUPS[name]
    assert {SYMBOLS[z] for z in differing & KNOWN} <= set(apart.split()), sorted(SYMBOLS[z] for z in differing)


def test_anions_are_the_elements_whose_commonest_state_is_negative() -> None:
    from smact.utils.oxidation import ICSD24OxStatesFilter

    table = ICSD24OxStatesFilter().filter(consensus=3, commonality="main")
    negative = {x for x, state in zip(table["element"], table["oxidation_state"], strict=True) if int(state) < 0}
    assert {SYMBOLS[z] for z in GROUPS["anion"]} == negative


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("Li implies O", ["LiFeO2", "NaCl", "O2"], ["LiF"]),
        ("F xor Cl", ["LiF", "NaCl"], ["PbFCl", "MgO"]),
        ("count(Fe) <= 2", ["Fe2O3", "MgO"], ["Fe3O4"]),
        ("anions >= 2", ["BiOCl", "PbFCl"], ["MgO", "Fe3O4", "FeP"]),
        ("share(O) >= 0.5", ["MgO", "SiO2"], ["Li2O"]),
        ("share(metals) < 50%", ["Fe2O3"], ["MgO"]),
        ("elements == 3 and not alkali", ["SrTiO3"], ["MgO", "NaNO3"]),
        ("lanthanide or actinide", ["CeO2", "UO2"], ["ZrO2"]),
        ("Li or Na and K", ["LiF", "NaKS"], ["NaCl", "KCl"]),  # and binds more tightly
        ("not Li and Na", ["NaCl"], ["LiF", "LiNaO"]),  # and not more tightly still
        ("not (Li and Na)", ["NaCl", "LiF", "MgO"], ["LiNaO"]),
        ("Li implies O implies Fe", ["LiFeO2", "LiF"], ["Li2O"]),  # to the right
        ("count(Fe, Co, Ni) = 2", ["FeNi", "Co2O3"], ["FeO"]),
        ("count(transition_metals) >= 1", ["TiO2"], ["MgO", "LaF3"]),
    ],
)
def test_a_rule_says_what_it_says(rule: str, kept: list[str], broken: list[str]) -> None:
    assert [formula for formula in kept if far(rule, formula)] == []
    assert [formula for formula in broken if not far(rule, formula)] == []


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("", 1, "an element, a group of elements, count(...)"),
        ("Li implies", 11, "got its end"),
        ("count(Fe <= 2", 10, "expected ')'"),
        ("fe", 1, "did you mean Fe?"),
        ("halogenz", 1, "did you mean halogen?"),
        ("Li foo", 4, "the end, or one of and, or, xor, implies"),
        ("Fe >= 2", 4, "write count(Fe)"),
        ("count(Fe) <= x", 14, "expected a number"),
        ("count(Fe) == 2.5", 14, "a whole number from 0 to 1000"),
        ("share(O) >= 2", 13, "a share from 0 to 1"),
        ("share(O) >= 1/0", 13, "a share from 0 to 1"),
        ("oxidation(halogen) == 1", 11, "one element in oxidation(...)"),
        ("coordination(Ti) == 40", 21, "a whole number from 0 to 24"),
        ("((Li)", 6, "expected ')'"),
        ("Li $ O", 4, "got '$'"),
        ("count(Fe)", 10, "one of <, <=, ==, !=, >=, >"),
        ("1 <= Li", 1, "got '1'"),
        ("Li and Po", 8, "leave Po out"),
        ("(" * 40 + "Li" + ")" * 40, 22, "at most 20 levels"),
        ("not " * 40 + "Li", 85, "at most 20 levels"),
        (" xor ".join(["Li"] * 20), 136, f"at most {LONGEST} comparisons"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, place: int, expected: str) -> None:
    with pytest.raises(RuleError) as error:
        parse_rule(text)
    assert f"at character {place} of the rule" in str(error.value)
    assert expected in str(error.value)


# ---------------------------------------------------------------- distances


def some_rules(n: int, seed: int) -> list[Rule]:
    """Random rules of two to four comparisons."""
    dice = random.Random(seed)
    found = []
    for _ in range(n):
        text = dice.choice(LEAVES)
        for _ in range(dice.randint(1, 3)):
            other = dice.choice(LEAVES)
            text = f"({text}) {dice.choice(['and', 'or', 'xor', 'implies'])} {dice.choice(['', 'not '])}({other})"
        found.append(parse_rule(text))
    return found


def some_compositions(n: int, seed: int) -> list[dict[int, int]]:
    """Random compositions of a few elements."""
    dice = random.Random(seed)
    return [{ATOMIC_NUMBERS[x]: dice.randint(1, 4) for x in dice.sample(FEW, dice.randint(1, 4))} for _ in range(n)]


def truth(rule: Rule, composition: dict[int, int]) -> bool:
    """Plain Boolean logic, with fractions for shares: an evaluation that shares no code with distances."""

    def leaf(comparison: Comparison) -> bool:
        inside = {z: n for z, n in composition.items() if z in comparison.quantity.elements}
        value = {
            "count": Fraction(sum(inside.values())),
            "kinds": Fraction(len(inside)),
            "share": Fraction(sum(inside.values()), sum(composition.values())),
        }[comparison.quantity.kind]
        return bool(eval(f"value {comparison.operator} number", {"value": value, "number": comparison.number}))  # noqa: S307

    return fold(rule.tree, leaf, all, any)


def test_the_distance_is_zero_exactly_where_the_rule_holds() -> None:
    outcomes = set()
    for rule, composition in itertools.product(some_rules(60, 0), some_compositions(60, 1)):
        value = distance(rule, Facts(composition))
        assert math.isfinite(value)
        assert (value == 0) is truth(rule, composition), (rule.text, composition)
        assert value == 0 or value >= 1
        outcomes.add(value == 0)
    assert outcomes == {True, False}


def test_negation_turns_every_answer_round() -> None:
    for rule, composition in itertools.product(some_rules(30, 2), some_compositions(30, 3)):
        opposite = Rule("", negation(rule.tree))
        assert (distance(opposite, Facts(composition)) == 0) is not (distance(rule, Facts(composition)) == 0)


def test_and_adds_and_or_takes_the_least() -> None:
    rules = some_rules(20, 4)
    for one, other, composition in zip(rules, rules[1:], some_compositions(19, 5), strict=False):
        facts = Facts(composition)
        apart = distance(one, facts), distance(other, facts)
        assert distance(Rule("", And((one.tree, other.tree))), facts) == sum(apart)
        assert distance(parse_rule(f"({one.text}) or ({other.text})"), facts) == min(apart)


def test_the_distance_of_a_count_is_that_of_the_number() -> None:
    assert [far("count(Fe) <= 2", f"Fe{n}O") for n in range(1, 6)] == [0, 0, 1, 2, 3]
    assert [far("count(Fe) == 3", f"Fe{n}O") for n in range(1, 6)] == [2, 1, 0, 1, 2]
    assert [far("share(O) >= 0.5", f"Fe5O{n}") for n in range(1, 6)] == [2, 2, 1, 1, 0]  # atoms to be exchanged
    assert [far("anions >= 3", formula) for formula in ("MgO", "BiOCl", "PbFClO")] == [2, 1, 0]


def test_oxidation_states_of_well_known_compounds() -> None:
    known = {
        "Fe2O3": {"Fe": 3, "O": -2},
        "FeO": {"Fe": 2, "O": -2},
        "LiFePO4": {"Li": 1, "Fe": 2, "P": 5, "O": -2},
        "SrTiO3": {"Sr": 2, "Ti": 4, "O": -2},
        "CuFeO2": {"Cu": 1, "Fe": 3, "O": -2},
        "MnF2": {"Mn": 2, "F": -1},
        "Na2SO4": {"Na": 1, "S": 6, "O": -2},
    }
    for formula, states in known.items():
        assert likely_states(reduced(dict(atoms(formula)))) == {ATOMIC_NUMBERS[x]: q for x, q in states.items()}, (
            formula
        )
    for formula in ("Fe3O4", "Fe2", "Cu3Au"):  # two states of iron; an element; an alloy
        assert likely_states(reduced(dict(atoms(formula)))) == {}


def test_rules_on_oxidation_states() -> None:
    assert far("oxidation(Fe) == 3", "Fe2O3") == 0
    assert far("oxidation(Fe) == 3", "FeO") == 1
    assert far("oxidation(Fe) >= 2", "FeO") == 0
    for formula in ("MgO", "Fe3O4"):  # no iron; no single state
        assert far("oxidation(Fe) == 3", formula) > 0
        assert far("not oxidation(Fe) == 3", formula) == 0
    assert far("not oxidation(Fe) == 3", "Fe2O3") > 0
    assert far("Fe implies oxidation(Fe) == 3", "MgO") == 0


def test_coordination_numbers_must_hold_for_every_atom() -> None:
    ti = ATOMIC_NUMBERS["Ti"]

    def of(rule: str, *numbers: float) -> float:
        return distance(parse_rule(rule), Facts({ti: max(len(numbers), 1), 8: 2}, {ti: list(numbers)}))

    assert of("coordination(Ti) == 6", 6, 6) == 0
    assert of("coordination(Ti) == 6", 5.6, 6.4) == 0  # rounded
    assert of("coordination(Ti) == 6", 6, 4) == 1.5
    assert of("coordination(Ti) >= 6", 4) > of("coordination(Ti) >= 6", 5) > 0
    assert of("not coordination(Ti) == 6", 6, 4) == 0
    assert of("not coordination(Ti) == 6", 6, 6) > 0
    assert of("coordination(Ti) == 6") > 0  # none found
    absent = Facts({12: 1, 8: 1}, {12: [6.0], 8: [6.0]})
    assert distance(parse_rule("coordination(Ti) == 6"), absent) > 0
    assert distance(parse_rule("Ti implies coordination(Ti) == 6"), absent) == 0


# ---------------------------------------------------------------- masks

ALLOWED = tuple(ATOMIC_NUMBERS[x] for x in FEW[:4])
MOST = 5


def completions(composition: dict[int, int]) -> list[dict[int, int]]:
    """Every composition that adding single atoms of `ALLOWED` leads to, within `MOST`."""
    room = MOST - sum(composition.values())
    return [
        {z: composition.get(z, 0) + added.count(z) for z in ALLOWED if composition.get(z, 0) + added.count(z)}
        for k in range(room + 1)
        for added in itertools.combinations_with_replacement(ALLOWED, k)
    ]


def test_masks_never_forbid_what_can_be_completed_and_end_exactly_where_rules_hold() -> None:
    allowed = torch.zeros(95, dtype=torch.bool)
    allowed[list(ALLOWED)] = True
    every = [dict(zip(ALLOWED, counts, strict=True)) for counts in itertools.product(range(MOST), repeat=len(ALLOWED))]
    every = [{z: n for z, n in one.items() if n} for one in every if 0 < sum(one.values()) < MOST]
    table = torch.zeros(len(every), 95, dtype=torch.long)
    for row, one in enumerate(every):
        for z, n in one.items():
            table[row, z] = n
    prospects = Prospects(table, MOST - table.sum(1), allowed)
    sizes = torch.tensor([1, 2]).expand(len(every), -1)
    forbidden = wrongly_open = 0
    for rule in some_rules(25, 6):
        ends, follows = prospects.can_end([rule]), prospects.can_follow([rule], sizes)
        reachable = {tuple(sorted(one.items())) for one in completions({}) if one and truth(rule, one)}
        for row, one in enumerate(every):
            assert bool(ends[row]) is truth(rule, one), (rule.text, one)
            for (place, size), z in itertools.product(enumerate((1, 2)), ALLOWED):
                after = one | {z: one.get(z, 0) + size}
                if sum(after.values()) > MOST:
                    assert not follows[row, place, z]
                    continue
                possible = any(tuple(sorted(c.items())) in reachable for c in completions(after))
                assert possible <= bool(follows[row, place, z]), (rule.text, one, SYMBOLS[z], size)
                forbidden += not follows[row, place, z]
                wrongly_open += bool(follows[row, place, z]) and not possible
        assert not follows[:, :, ATOMIC_NUMBERS["Cl"]].any()  # not allowed
    assert forbidden > 200
    assert wrongly_open < 0.2 * forbidden  # a bound, not an exact answer


# ---------------------------------------------------------------- contradictions


def possible(*rules: str, elements: frozenset[int] = KNOWN, most: int = 20) -> bool:
    return satisfiable([parse_rule(rule) for rule in rules], elements, most)


def test_satisfiability_is_that_of_all_compositions() -> None:
    elements = frozenset(ATOMIC_NUMBERS[x] for x in FEW)
    every = [
        {z: n for z, n in zip(sorted(elements), counts, strict=True) if n}
        for counts in itertools.product(range(6), repeat=len(elements))
        if 0 < sum(counts) <= 5
    ]
    answers = []
    rules = some_rules(60, 7)
    for some in zip(rules, rules[1:], rules[2:], strict=False):
        expected = any(all(truth(rule, one) for rule in some) for one in every)
        assert satisfiable(some, elements, 5) is expected, [rule.text for rule in some]
        answers.append(expected)
    assert set(answers) == {True, False}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["Li implies O", "F xor Cl", "anions >= 2"], True),
        (["F xor Cl", "F and Cl"], False),
        (["count(Fe) >= 3 and count(Fe) <= 2"], False),
        (["count(Fe) >= 21"], False),
        (["anions >= 2", "count(anions) <= 1"], False),
        (["share(O) >= 0.5", "share(metals) > 0.5"], False),
        (["share(O) >= 0.5", "share(metals) >= 0.5"], True),
        (["halogens == 4", "chalcogens == 4", "lanthanides == 12"], True),
        (["halogens == 4", "chalcogens == 4", "lanthanides == 13"], False),  # 21 atoms
        (["halogens == 5"], False),
        (["oxidation(Fe) == 9"], False),
        (["oxidation(Fe) == 3", "oxidation(Fe) == 2"], False),
        (["oxidation(Fe) == 3", "elements == 1"], False),
        (["oxidation(Fe) == 3", "not Fe"], False),
        (["not oxidation(Fe) == 3", "Fe"], True),
        (["coordination(Ti) == 6", "coordination(Ti) <= 4"], False),
        (["coordination(Ti) <= 6", "not coordination(Ti) <= 5", "not coordination(Ti) == 6"], True),  # 5 and 6
        (["not coordination(Ti) == 6", "coordination(Ti) == 6"], False),
    ],
)
def test_rules_that_can_and_cannot_hold(*, rules: list[str], expected: bool) -> None:
    assert possible(*rules) is expected


def test_the_smallest_contradiction_is_the_smallest() -> None:
    # Against every subset, for items that conflict in arbitrary pairs and triples.
    dice = random.Random(0)
    for _ in range(40):
        items = list(range(7))
        bad = [set(dice.sample(items, dice.randint(1, 3))) for _ in range(dice.randint(0, 3))]

        def fine(some: Sequence[int], bad: list[set[int]] = bad) -> bool:
            return not any(one <= set(some) for one in bad)

        found = smallest_contradiction(items, fine)
        assert len(found) == (min(map(len, bad)) if bad else 0)
        assert not found or not fine(found)


def test_a_quantity_is_compared_by_value() -> None:
    # Rules are keys of caches, so that equal ones must be equal.
    assert parse_rule("Li implies O") == parse_rule(" Li implies O ")
    assert Quantity("count", frozenset({3})) == Quantity("count", frozenset({3}))
