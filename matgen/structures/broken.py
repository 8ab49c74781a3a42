"""Structures that cannot be read: the error, and what readers raise on text that makes no sense to them."""

import csv

from pymatgen.core.structure import Molecule

from matgen.errors import UserError

READER_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    OSError,
    EOFError,
    csv.Error,
)
"""Errors that readers of other packages raise on invalid text."""


class BrokenStructureError(UserError, ValueError):
    """A structure that cannot be read or is not valid; the message gives the reason.

    Attributes:
        atoms: elements and positions in free space, without bonds that explain them; None if these are unknown too.
    """

    def __init__(self, message: str, atoms: Molecule | None = None) -> None:
        super().__init__(message)
        self.atoms = atoms


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError | IndexError | AssertionError):
        text = f"{type(error).__name__} {text}"
    return text if len(text) <= 200 else f"{text[:199]}…"
