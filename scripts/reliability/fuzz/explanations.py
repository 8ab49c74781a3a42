"""Which of two readings of a file is right.

A reader that differs is explained, or the comparison is a fault: by the words of the file (listed operations times
sites, sum formula times Z), or because all the others agree with matgen.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gemmi
import numpy as np
from pymatgen.core.composition import Composition

from fuzz.compared_crystals import ATOM, Crystal
from fuzz.independent_readers import NAMES, OPERATIONS, applied, block_of, by_names, column, number, value_of

TOUCHING = 0.1
"""Å; atoms that are nearer are one, which operations brought there, or a fault of the reader."""


@dataclass(frozen=True)
class Words:
    """What a CIF says about its atoms: sum formula, and formula units in the cell (0 if it does not say)."""

    formula: Mapping[str, float]
    units: float

    def fit(self, one: Crystal) -> bool:
        """Whether atoms are those that are announced."""
        total, n_atoms = sum(self.formula.values()), sum(one.counts.values())
        if not total or not n_atoms:
            return False
        names = {*self.formula, *one.counts}
        alike = all(abs(self.formula.get(x, 0) / total - one.counts.get(x, 0) / n_atoms) < 0.01 for x in names)
        return alike and (not self.units or abs(n_atoms - self.n_atoms) < ATOM * n_atoms)

    @property
    def n_atoms(self) -> float:
        """Atoms in the cell; some programs give the formula of the cell with the number of its units."""
        total, whole = sum(self.formula.values()), [round(n) for n in self.formula.values()]
        of_cell = [float(n) for n in whole] == list(self.formula.values()) and math.gcd(*whole) == self.units != 1
        return total if of_cell else self.units * total


def words_of(text: str) -> Words:
    """Return the formula and Z of a CIF, also of one whose loops are broken."""
    formula, units = item(text, "_chemical_formula_sum"), item(text, "_cell_formula_units_Z")
    amounts = Composition(re.sub(r"[\s,]", "", formula)).get_el_amt_dict() if formula.strip("?. ") else {}
    if "D" in amounts:
        amounts["H"] = amounts.get("H", 0) + amounts.pop("D")
    return Words(amounts, float(units) if re.fullmatch(r"[\d.]+", units) else 0.0)


def item(text: str, name: str) -> str:
    """Return the first value of an item that stands on its line."""
    found = re.search(rf"(?im)^{re.escape(name)}[ \t]+('[^'\n]*'|\"[^\"\n]*\"|\S+)", text)
    return found[1].strip("'\"") if found else ""


def atoms_by_multiplicity(text: str) -> float:
    """Return the number of atoms that the multiplicities of the sites of a CIF add up to; 0 if it has none."""
    return sum(number(one) for one in block_of(text).find_values("_atom_site_symmetry_multiplicity"))


def explained(own: Crystal, others: Mapping[str, Crystal | str], text: str = "") -> dict[str, str]:
    """Return a class of explanation for each reader that differs; "unexplained" is a fault of matgen until shown.

    Args:
        own: as matgen reads it.
        others: by name.
        text: of the CIF; empty for other formats.
    """
    read = {name: one for name, one in others.items() if isinstance(one, Crystal)}
    differing = {name: own.differs(one) for name, one in read.items()}
    if not any(differing.values()):
        return {}
    like = sorted(name for name, what in differing.items() if not what)
    evidence = Evidence.of(own, like, text, lists="operations" in read)
    unlike = {name: what for name, what in differing.items() if what}
    return {name: evidence.explanation(name, read[name], what) for name, what in unlike.items()}


@dataclass(frozen=True)
class Evidence:
    """What tells which of two readings is right.

    Attributes:
        own: as matgen reads it.
        like: readers that agree with it.
        words: formula and Z of the file.
        lists: whether the file lists operations that can be applied.
        named: whether the sites have these atoms by a setting that spglib has under the name in the file.
        bare: the sites of the file, without symmetry; None if it is no CIF.
        whole: whether the sites alone have the group that the file names.
        group: number of that group; 0 if the file gives none.
        n_atoms: sum of the multiplicities of the sites; 0 if the file gives none.
        n_listed: number of operations that are listed, whether they can be read or not.
        flat: whether one of these maps the cell to a plane, and so is no operation.
        fraction: whether a coordinate is a fraction such as 1/3, which a CIF may not hold.
    """

    own: Crystal
    like: Sequence[str]
    words: Words
    lists: bool
    named: bool
    bare: Crystal | None
    whole: bool
    group: int
    n_atoms: float
    n_listed: int
    flat: bool
    fraction: bool

    @classmethod
    def of(cls, own: Crystal, like: Sequence[str], text: str, *, lists: bool) -> "Evidence":
        """Collect the evidence of the text of a CIF; of an empty text there is none."""
        words = next(iter(_quietly(lambda one: [words_of(one)], text)), Words({}, 0))
        bare = next(iter(_quietly(lambda one: [applied(block_of(one), IDENTITY)], text)), None)
        named = any(not own.differs(one) for one in _quietly(by_names, text))
        group = next(iter(_quietly(lambda one: [group_of(one)], text)), 0)
        whole = bare is not None and not bare.differs(own) and group in own.groups
        n_atoms = next(iter(_quietly(lambda one: [atoms_by_multiplicity(one)], text)), 0.0)
        listed = _quietly(lambda one: max((column(block_of(one), name) for name in OPERATIONS), key=len), text)
        rotations = _quietly(lambda _: [gemmi.Op(one).rot for one in listed], text)
        flat = any(abs(float(np.linalg.det(one))) < 1 for one in rotations)
        fraction = bool(re.search(r"(?m)^.*\s[\d.]+/[\d.]+(\s|$)", text))
        return cls(own, like, words, lists, named, bare, whole, group, n_atoms, len(listed), flat, fraction)

    def explanation(self, name: str, other: Crystal, what: str) -> str:
        """Say why another reader differs."""
        alone = self.bare is not None and not self.bare.differs(other)
        unchanged = self.bare is not None and not self.bare.differs(self.own)
        counted, others = (sum(one.counts.values()) for one in (self.own, other))
        touching = bool(other.groups and self.own.groups) and other.closest < TOUCHING < self.own.closest
        reasons = {
            "contradicts formula or Z of the file": self.words.fit(self.own) and not self.words.fit(other),
            "contradicts the multiplicities of the file": counted == self.n_atoms != others,
            "does not apply the listed operations to the listed sites": "operations" in self.like,
            "applies the group of the file to sites that are all atoms, and have it": self.whole,
            "takes the sites alone, and ignores the group that the file names": self.named and not self.lists and alone,
            "uses another setting than the name in the file has by spglib, or by Hall's rules": self.named
            and not self.lists,
            "takes the sites alone, and applies none of the operations that are listed": alone and self.n_listed > 1,
            "applies an operation that is none to sites that are all atoms": self.flat and unchanged,
            "reads no fraction": self.fraction and name == "gemmi",
            "has not the group of the number in the file": self.group in self.own.groups
            and self.group not in other.groups,
            "leaves atoms on one another": touching,
            f"alone, while {', '.join(self.like)} agree": len(self.like) >= 2,
        }
        reason = next((reason for reason, true in reasons.items() if true), "")
        return f"{what}: {name} {reason}" if reason else f"unexplained: {what}"


def group_of(text: str) -> int:
    """Return the number of the space group that a CIF gives; 0 if it gives none."""
    given = next((v for n in NAMES if "umber" in n and (v := value_of(block_of(text), n))), "0")
    return int(given) if given.isdigit() else 0


IDENTITY = ((np.eye(3), np.zeros(3)),)


def _quietly(reader: Callable[[str], list[Any]], text: str) -> list[Any]:
    """Return what a reader makes of a text; nothing if it fails, or there is none."""
    if not text:
        return []
    try:
        return reader(text)
    except (ValueError, RuntimeError, StopIteration, IndexError):
        return []
