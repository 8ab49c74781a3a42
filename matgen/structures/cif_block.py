"""One data block of a CIF, read by gemmi: items by name, whatever the dictionary (DDL1, DDLm) and letter case."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import gemmi

from matgen.structures.broken import BrokenStructureError, one_line

HAS_CELL = re.compile(r"_cell[_.]length_a\b", re.IGNORECASE)
"""The item by which a text, or a block, describes a crystal."""

DETERMINING = (
    *("_cell_length", "_cell_angle", "_sym", "_space_group"),
    *("_atom_site_label", "_atom_site_type_symbol", "_atom_site_fract", "_atom_site_occ"),
)
"""Beginnings of the items that make the crystal."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\((\d+)\))?")
FRACTION = re.compile(r"([+-]?\d+)\s*/\s*(\d+)")


@dataclass(frozen=True)
class CifBlock:
    """Items of a data block.

    Attributes:
        items: raw values by name in lower case, with `_` for the `.` of DDLm; one value unless it is of a loop.
    """

    items: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, text: str) -> "CifBlock":
        """Read the block of a text that has a cell.

        Raises:
            BrokenStructureError: the text is no CIF, or has no cell, or several.
        """
        try:
            document = gemmi.cif.read_string(_ascii(text), check_level=0)
        except (ValueError, RuntimeError) as error:
            raise BrokenStructureError(f"not readable as cif: {one_line(error)}") from error
        blocks = [(block.name, cls(_items(block))) for block in document]
        found = [(name, block) for name, block in blocks if "_cell_length_a" in block.items]
        if not found:
            raise BrokenStructureError("not readable as cif: it has no cell (_cell_length_a)")
        if len(found) > 1:
            several = ", ".join(f"data_{name}" for name, _ in found)
            raise BrokenStructureError(f"expected one crystal, got {len(found)}, {several[:80]}; give each on its own")
        return found[0][1]

    def column(self, name: str) -> list[str]:
        """Values of an item; empty text for `.` and `?`."""
        return [_plain(value) for value in self.items.get(name, ())]

    def text(self, names: Sequence[str]) -> str:
        """The first of several items that has a value; empty if none has."""
        return next((value for name in names for value in self.column(name)[:1] if value), "")

    def number(self, *names: str) -> float | None:
        """The first of several items that has a value; None if none has, or it is no number."""
        return as_number(self.text(names))


def _ascii(text: str) -> str:
    """Return a text in the characters of CIF; others stand in names and comments alone, but for that of a vacancy."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("□", "Va")
    return CONTROL.sub(" ", plain.encode("ascii", errors="replace").decode())


def _items(block: Any) -> dict[str, list[str]]:
    """Return the items of a block; of one that is given twice the first that has a value.

    Raises:
        BrokenStructureError: cell, symmetry or sites are given twice, and not the same.
    """
    items: dict[str, list[str]] = {}
    for name, values in _named_values(block):
        before = items.get(name)
        if before and any(map(_plain, before)):
            other = [*map(_plain, values)] != [*map(_plain, before)] and any(map(_plain, values))
            if other and name.startswith(DETERMINING):
                raise BrokenStructureError(f"it gives {name} twice, with different values; leave one out")
            continue
        items[name] = values
    return items


def _named_values(block: Any) -> Iterator[tuple[str, list[str]]]:
    for item in block:
        if item.pair is not None:
            yield _name(item.pair[0]), [item.pair[1]]
        elif item.loop is not None:
            tags, values = item.loop.tags, item.loop.values
            yield from ((_name(tag), values[i :: len(tags)]) for i, tag in enumerate(tags))


def _name(tag: str) -> str:
    return tag.lower().replace(".", "_")


def _plain(value: str) -> str:
    return "" if gemmi.cif.is_null(value) else gemmi.cif.as_string(value).strip()


def as_number(text: str) -> float | None:
    """Return a number with its uncertainty, such as 0.123(4), or a fraction such as 1/3; None if it is neither."""
    if found := NUMBER.fullmatch(text):
        return float(found[1])
    if (found := FRACTION.fullmatch(text)) and int(found[2]):
        return float(Fraction(int(found[1]), int(found[2])))
    return None
