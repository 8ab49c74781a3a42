"""The charge of a molecule, told in the comment of an XYZ, in the ways in which programs write it, or by its atoms."""

import math
import re

import numpy as np

from matgen.structures.broken import BrokenStructureError

NAMES = "total_charge|net_charge|molecular_charge|mol_charge|charge|chrg"

NUMBER = r"[-+]?(?:\d{1,9}(?:\.\d{0,15})?|\.\d{1,15})(?:[eE][-+]?\d{1,3})?"

NAMED = re.compile(
    rf"""(?<![\w.])["']?(?:{NAMES})["']?(?:\s*[=:]\s*|\s+(?=[-+\d]))["']?({NUMBER})(?![\w.])""",
    re.IGNORECASE,
)
"""`charge=-1`, `charge: -1`, `charge -1`, `total_charge=-1.0`, `{"charge": -1}`."""

LETTER = re.compile(r"(?<![\w.])[qQ]\s*[=:]\s*([-+]?\d{1,9}(?:\.0{0,15})?)(?![\w.])")
"""`q = -1`; with a fraction it is something else."""

TWO_NUMBERS = re.compile(r"\s*([-+]?\d+)\s*,?\s+(\d+)\s*")
"""Charge and multiplicity of Gaussian, or two other numbers."""

LARGEST = 20
"""Largest charge that a molecule is believed to have."""


ROUNDED = 0.1
"""How far the sum of the charges of atoms may be from a whole number, since they are written with few digits, e."""


def charge_of_atoms(charges: np.ndarray) -> int:
    """Return the charge of a molecule whose atoms have these.

    Args:
        charges: of atoms (n,), e; may be partial.

    Raises:
        BrokenStructureError: their sum is near no whole number.
    """
    total = float(np.sum(charges))
    if not math.isfinite(total) or abs(total - round(total)) > ROUNDED:
        raise BrokenStructureError(
            f"expected charges of atoms that add up to a whole number, the charge of the molecule, got {total:.3g}; "
            "tell it as `charge`, or leave out the charges of atoms"
        )
    return round(total)


def told_charge(comment: str) -> int | None:
    """Return the charge that a comment tells; None if it tells none.

    Raises:
        BrokenStructureError: it is no whole number, two differ, or two numbers may be a charge and a multiplicity.
    """
    told = {float(one) for one in (*NAMED.findall(comment), *LETTER.findall(comment))}
    if len(told) > 1:
        given = " and ".join(f"{one:g}" for one in sorted(told))
        raise BrokenStructureError(f"its comment tells the charges {given}; keep one")
    for charge in told:
        if charge % 1 or abs(charge) > LARGEST:
            raise BrokenStructureError(f"expected a whole number as the charge of a molecule, got {charge:g}")
        return int(charge)
    numbers = TWO_NUMBERS.fullmatch(comment)
    if numbers and int(numbers[1]) and abs(int(numbers[1])) <= LARGEST and int(numbers[2]):
        raise BrokenStructureError(
            f"its comment {comment.strip()!r} may tell charge and multiplicity; if so, write charge={int(numbers[1])}"
        )
    return None
