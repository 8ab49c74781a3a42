"""Rows of files with calculated gaps, before they are checked."""

from dataclasses import dataclass
from typing import Any

from pymatgen.core.structure import Structure

from matgen.errors import UserError

PBE = frozenset({"PBE", "PBE+U", "GGA", "GGA+U"})
"""Functionals of the training data: PBE, with the Hubbard U of the Materials Project where it uses one."""


class LabelError(UserError, ValueError):
    """Results that cannot be learned from."""


@dataclass(frozen=True)
class LabelConfig:
    """How to read a table; not needed for results of `matgen verify`.

    Attributes:
        column: of the gaps; also the key of a frame or of a JSON object.
        unit: of the gaps.
        functional: that the gaps were calculated with.
        allow_functional: accept a functional other than PBE.
    """

    column: str = "band_gap"
    unit: str = "eV"
    functional: str = "PBE"
    allow_functional: bool = False

    def __post_init__(self) -> None:
        """Check unit and functional.

        Raises:
            LabelError: a unit or a functional that the models were not trained on.
        """
        if self.unit.lower() != "ev":
            raise LabelError(f"expected gaps in eV, got {self.unit}; convert the column")
        if self.functional.upper() not in PBE and not self.allow_functional:
            raise LabelError(
                f"expected gaps of PBE, which the models learned, got {self.functional}: mixed, they would mean "
                "neither; give --allow-functional too if all targets are to mean that"
            )


@dataclass(frozen=True)
class Row:
    """One crystal of a file: its structure, or the error why there is none, and the value as it stands there."""

    name: str
    structure: Structure | None
    error: str
    value: Any
    source: str


def failed_row(name: str, error: str) -> Row:
    """Return a row without a structure."""
    return Row(name, None, error, None, "")
