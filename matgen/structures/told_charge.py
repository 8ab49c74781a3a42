"""The charge of a molecule that the comment of an XYZ tells, in the ways in which programs write it."""

import re

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
