"""Columns of the tables for the labels that files carry, such as a measured gap: `given_NAME`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST = 50
"""Columns at most; further labels are in the JSON lines alone."""

MOST_COUNTED = 10_000
"""Names at most that are told apart for the count of those without a column."""

PREFIX = "given_"


@dataclass(frozen=True)
class GivenColumn:
    """A column of labels.

    Attributes:
        label: its name in the files.
        numbers: whether all of its values are numbers; otherwise all are written as text.
    """

    label: str
    numbers: bool

    @property
    def name(self) -> str:
        """Name of the column."""
        return PREFIX + self.label

    def value(self, given: Mapping[str, Any]) -> float | str | None:
        """Return the value of a row; None if it has none."""
        found = given.get(self.label)
        if found is None:
            return None
        return float(found) if self.numbers else str(found)


class GivenColumns:
    """The labels of all rows, of which the first become columns, in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, bool] = {}
        self._others: set[str] = set()

    def add(self, given: Mapping[str, Any]) -> None:
        """Add the labels of a row."""
        for label, value in given.items():
            number = isinstance(value, int | float)
            if label in self._numbers:
                self._numbers[label] &= number
            elif len(self._numbers) < MOST:
                self._numbers[label] = number
            elif len(self._others) < MOST_COUNTED:
                self._others.add(label)

    @property
    def columns(self) -> tuple[GivenColumn, ...]:
        """The columns."""
        return tuple(GivenColumn(label, numbers) for label, numbers in self._numbers.items())

    @property
    def left_out(self) -> int:
        """Number of labels without a column."""
        return len(self._others)
