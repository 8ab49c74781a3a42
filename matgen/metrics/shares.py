"""Composition of a set of crystals: shares of rare elements, elemental crystals, commonest layout and space group.

They reveal a generator that exploits its predictors with crystals that are rare in the training data.
`scripts/build/build_shares.py` computes `shares.json`, the same shares of the training split.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from matgen.chemistry.hazards import is_radioactive
from matgen.structures.conversion import template_of
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import layout, layout_label

FILE = Path(__file__).resolve().parent / "shares.json"


@dataclass(frozen=True)
class Share:
    """Share of a set.

    Attributes:
        count: number of crystals.
        share: of the set; 0 for an empty set.
        what: Wyckoff layout or space group that is counted; empty for other shares.
    """

    count: int
    share: float
    what: str = ""


@dataclass(frozen=True)
class Shares:
    """Shares of a set of crystals.

    Attributes:
        source: of the crystals, in words.
        n: number of crystals.
        shares: by name, as in `KINDS`, then of the commonest Wyckoff layout and space group.
    """

    source: str
    n: int
    shares: dict[str, Share]


def has_f_block(elements: frozenset[int]) -> bool:
    """Return whether there is a lanthanoid or an actinoid, lanthanum to lutetium and actinium onwards."""
    return any(Element.from_Z(z).is_lanthanoid or Element.from_Z(z).is_actinoid for z in elements)


def has_radioactive(elements: frozenset[int]) -> bool:
    """Return whether there is an element without stable isotopes: technetium, promethium, polonium and all beyond."""
    return any(map(is_radioactive, elements))


def has_noble_gas(elements: frozenset[int]) -> bool:
    """Return whether there is an element of group 18."""
    return any(Element.from_Z(z).is_noble_gas for z in elements)


def is_single_element(elements: frozenset[int]) -> bool:
    """Return whether there is one element only."""
    return len(elements) == 1


KINDS = {
    "f_block": has_f_block,
    "radioactive": has_radioactive,
    "noble_gas": has_noble_gas,
    "single_element": is_single_element,
}
"""Conditions on the elements of a crystal, by name."""


def shares(crystals: Iterable[tuple[frozenset[int], CrystalTemplate | None]], source: str) -> Shares:
    """Return the shares of a set.

    Args:
        crystals: atomic numbers and template of each; without a template it counts, but has no layout or space group.
        source: of the crystals, in words.
    """
    counts, layouts, groups, n = dict.fromkeys(KINDS, 0), Counter[str](), Counter[str](), 0
    for elements, template in crystals:
        n += 1
        for name, holds in KINDS.items():
            counts[name] += holds(elements)
        if template is not None:
            layouts[layout_label(layout(template))] += 1
            groups[str(template.space_group)] += 1
    found = {name: Share(count, _ratio(count, n)) for name, count in counts.items()}
    found |= {"commonest_layout": _commonest(layouts, n), "commonest_space_group": _commonest(groups, n)}
    return Shares(source, n, found)


def shares_of_structures(structures: Iterable[Structure], source: str) -> Shares:
    """Return the shares of structures, with templates at the default tolerance."""
    return shares(((frozenset(one.atomic_numbers), template_of(one)) for one in structures), source)


def _commonest(counts: Counter[str], n: int) -> Share:
    """Return the most frequent one; of equally frequent ones the first by name, independent of the order of the set."""
    what, count = min(counts.items(), key=lambda one: (-one[1], one[0]), default=("", 0))
    return Share(count, _ratio(count, n), what)


def _ratio(count: int, n: int) -> float:
    return round(count / n, 6) if n else 0.0


@cache
def training_shares() -> Shares:
    """Return the shipped shares of the training split."""
    raw = json.loads(FILE.read_text(encoding="utf-8"))
    return Shares(raw["source"], raw["n"], {name: Share(**one) for name, one in raw["shares"].items()})
