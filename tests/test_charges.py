"""Charge balance must say what SMACT says, only sooner."""

import random

from pymatgen.core.composition import Composition
from smact.screening import smact_validity

from matgen.chemistry.charges import COMMON, commonly_neutral, is_valid, oxidation_states
from matgen.chemistry.elements import SYMBOLS, known_elements


def test_the_short_way_agrees_with_smact() -> None:
    chance = random.Random(0)
    symbols = [SYMBOLS[z] for z in known_elements()]
    compositions = [
        Composition({s: chance.choice([1, 1, 2, 2, 3, 4, 6, 8]) for s in chance.sample(symbols, chance.randint(1, 5))})
        for _ in range(300)
    ]
    ours, theirs = [is_valid(c) for c in compositions], [bool(smact_validity(c)) for c in compositions]
    assert ours == theirs
    assert 0.2 < sum(theirs) / len(theirs) < 0.8  # both answers occur


def test_common_states_are_some_of_all() -> None:
    common, known = oxidation_states(COMMON), oxidation_states()
    assert all(set(states) <= set(known[symbol]) for symbol, states in common.items())
    assert (common["Sn"], common["Sb"], common["O"]) == ((2, 4), (-3, 3, 5), (-2,))


def test_what_is_commonly_neutral_is_valid() -> None:
    chance = random.Random(1)
    symbols = [SYMBOLS[z] for z in known_elements()]
    amounts = [{s: chance.randint(1, 4) for s in chance.sample(symbols, chance.randint(2, 4))} for _ in range(2000)]
    found = [one for one in amounts if commonly_neutral(one)]
    assert 20 < len(found) < 1000
    assert all(is_valid(Composition(one)) for one in found)
    for rare in ({"Na": 3, "Te": 1}, {"Ar": 1}, {"Fe": 1, "S": 2}):  # Te(-III); no states; S(-I)
        assert is_valid(Composition(rare))
        assert not commonly_neutral(rare)
