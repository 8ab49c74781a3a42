"""Charge balance must say what SMACT says, only sooner."""

import random

from pymatgen.core.composition import Composition
from smact.screening import smact_validity

from matgen.charges import is_valid
from matgen.elements import SYMBOLS, known_elements


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
