"""What a set of crystals is made of, in shares: rare elements, elements alone, the commonest layout and space group.

A generator that fills its sets with what predictors like, and the training data hardly hold, shows it here.
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

from matgen.structures.conversion import described
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import layout, layout_label
from matgen.templates.symmetry import NoTemplateError

FILE = Path(__file__).resolve().parent / "shares.json"

POLONIUM = 84
"""From this element on, none has a stable isotope."""

LIGHT_RADIOACTIVE = frozenset({43, 61})
"""Technetium and promethium, the others without one. Bismuth, at 2e19 years, counts as stable."""


@dataclass(frozen=True)
class Share:
    """How many of a set are of some kind.

    Attributes:
        count: how many.
        share: of the set; 0 of an empty one.
        what: the layout or space group that is counted; empty where the name of the share says all.
    """

    count: int
    share: float
    what: str = ""


@dataclass(frozen=True)
class Shares:
    """Shares of a set of crystals.

    Attributes:
        source: of the crystals, in words.
        n: how many they are.
        shares: by name, as in `KINDS`, then of the commonest layout and space group.
    """

    source: str
    n: int
    shares: dict[str, Share]


def has_f_block(elements: frozenset[int]) -> bool:
    """Whether there is a lanthanoid or an actinoid, lanthanum to lutetium and actinium onwards."""
    return any(Element.from_Z(z).is_lanthanoid or Element.from_Z(z).is_actinoid for z in elements)


def has_radioactive(elements: frozenset[int]) -> bool:
    """Whether there is an element without stable isotopes: technetium, promethium, polonium and all beyond."""
    return any(z in LIGHT_RADIOACTIVE or z >= POLONIUM for z in elements)


def has_noble_gas(elements: frozenset[int]) -> bool:
    """Whether there is an element of group 18."""
    return any(Element.from_Z(z).is_noble_gas for z in elements)


def is_single_element(elements: frozenset[int]) -> bool:
    """Whether there is one element only."""
    return len(elements) == 1


KINDS = {
    "f_block": has_f_block,
    "radioactive": has_radioactive,
    "noble_gas": has_noble_gas,
    "single_element": is_single_element,
}
"""What is asked of the elements of a crystal, by name."""


def shares(crystals: Iterable[tuple[frozenset[int], CrystalTemplate | None]], source: str) -> Shares:
    """The shares of a set.

    Args:
        crystals: atomic numbers and template of each; one without a template has no layout or space group, but counts.
        source: of the crystals, in words.
    """
    rows = list(crystals)
    templates = [template for _, template in rows if template is not None]
    layouts = Counter(layout_label(layout(template)) for template in templates)
    groups = Counter(str(template.space_group) for template in templates)
    n = len(rows)
    counts = {name: sum(asked(elements) for elements, _ in rows) for name, asked in KINDS.items()}
    found = {name: Share(count, _ratio(count, n)) for name, count in counts.items()}
    found |= {"commonest_layout": _commonest(layouts, n), "commonest_space_group": _commonest(groups, n)}
    return Shares(source, n, found)


def shares_of_structures(structures: Iterable[Structure], source: str) -> Shares:
    """The shares of structures, their templates found at the usual tolerance."""
    return shares(((frozenset(one.atomic_numbers), template_of(one)) for one in structures), source)


def template_of(structure: Structure) -> CrystalTemplate | None:
    """The template of a structure; None where its symmetry cannot be found, or it holds an unknown element."""
    try:
        return described(structure)[0]
    except NoTemplateError:
        return None


def _commonest(counts: Counter[str], n: int) -> Share:
    """The most frequent of them; of equally frequent ones the first by name, whatever the order of the set."""
    what, count = min(counts.items(), key=lambda one: (-one[1], one[0]), default=("", 0))
    return Share(count, _ratio(count, n), what)


def _ratio(count: int, n: int) -> float:
    return round(count / n, 6) if n else 0.0


@cache
def training_shares() -> Shares:
    """The shares of the training split, which ship."""
    raw = json.loads(FILE.read_text(encoding="utf-8"))
    return Shares(raw["source"], raw["n"], {name: Share(**one) for name, one in raw["shares"].items()})
