"""Settings of space groups that the symbols and numbers of a CIF may mean.

Symbols are those of gemmi's and spglib's tables: Hermann-Mauguin, short, full and old ones, non-standard settings, with
the origin or axes as `:1 :2 :H :R`, `S` and `Z` (origins 1 and 2 of ICSD), and Hall symbols.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import gemmi
import spglib

from matgen.structures.cif_block import CifBlock
from matgen.structures.operations import Operations, of_group

NAME = re.compile(r"_(?:symmetry_)?space_group_(?:name|symbol)(?!.*(?:hall|schoenf|schonf|magn|ssg))")
HALL = re.compile(r"_(?:symmetry_)?space_group_name_hall")
NUMBER = re.compile(r"_(?:symmetry|space_group)_(?:space_group_)?(?:int_tables?|it)_?number")
SCHOENFLIES = re.compile(r"_(?:symmetry_)?space_group_name_sch\w*")
"""Items that name a group, also where a program spells them otherwise than the dictionary."""

ORIGINS = {"S": "1", "Z": "2", "1": "1", "2": "2", "H": "H", "R": "R"}
"""Extensions of gemmi's table by the marks of files."""

MONOCLINIC = range(3, 16)
"""Numbers of the space groups whose short symbols leave out which axis is unique."""

MARK = re.compile(
    r"\s*(?::\s*([12HRSZhr])|\(\s*(?:origin\s*(?:choice)?\s*|o)?([12HRh]|hex\w*|rhomb\w*)\s*\)|,?\s*origin\s*(?:choice)?\s*([12])"
    r"|(?<=[a-z\d\s])([SZHR])|\s+[oO]([12]))$",
)
"""The mark of an origin or of axes at the end of a symbol."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A space group in one choice of axes and origin.

    Attributes:
        name: Hermann-Mauguin or Hall symbol with its mark.
        number: of its type.
        group: its operations as gemmi has them.
    """

    name: str
    number: int
    group: gemmi.GroupOps

    @cached_property
    def operations(self) -> Operations:
        """Its operations with centring."""
        return of_group(self.group)


@dataclass(frozen=True)
class Told:
    """What a file says about its space group.

    Attributes:
        settings: that all of its symbols and its number allow; empty if it says nothing, or nothing known.
        words: what it says, in words; empty if it says nothing.
        unknown: symbols that no table knows.
        conflict: says that its symbols and number are of different settings; `settings` are those of the first symbol.
        types_differ: whether these are settings of different types of groups.
        open: all settings of the number with cells as large, where it alone is told and `settings` are the standard
            ones; empty otherwise.
        respaced: says as what a symbol is read that is known only without its spaces, such as `P 3 2`; empty otherwise.
    """

    settings: tuple[Setting, ...] = ()
    words: str = ""
    unknown: tuple[str, ...] = ()
    conflict: str = ""
    types_differ: bool = False
    open: tuple[Setting, ...] = ()
    respaced: str = ""

    @property
    def numbers(self) -> frozenset[int]:
        """Numbers of the types of its settings."""
        return frozenset(one.number for one in self.settings)


def told_settings(block: CifBlock) -> Told:
    """Return what a block says about its space group."""
    said = [_values(block, pattern) for pattern in (NAME, HALL, SCHOENFLIES, NUMBER)]
    return _told(*said)


def _values(block: CifBlock, pattern: re.Pattern[str]) -> tuple[str, ...]:
    names = [name for name in block.items if pattern.fullmatch(name) or (pattern is NAME and pattern.match(name))]
    return tuple(dict.fromkeys(value for name in names if (value := block.text((name,)))))


@lru_cache(maxsize=4096)
def _told(
    symbols: tuple[str, ...], halls: tuple[str, ...], schoenflies: tuple[str, ...], numbers: tuple[str, ...]
) -> Told:
    said = [(symbol, by_symbol(symbol)) for symbol in symbols]
    said += [(f"Hall {symbol}", by_hall(symbol)) for symbol in halls]
    alone = not any(found for _, found in said)
    said += [(f"Schoenflies {symbol}", by_schoenflies(symbol, alone=alone)) for symbol in schoenflies]
    said += [(f"number {number}", by_number(number, alone=alone)) for number in numbers]
    known = [(words, found) for words, found in said if found]
    unknown = tuple(words for words, found in said if not found)
    words = ", ".join(words for words, _ in said)
    if not known:
        return Told((), words, unknown)
    settings, conflict, types_differ = known[0][1], "", False
    for other, found in known[1:]:
        both = tuple(one for one in settings if any(_same(one, two) for two in found))
        if both:
            settings = both
        else:
            conflict = f"{known[0][0]} and {other} are of different space groups or settings"
            types_differ |= not {one.number for one in settings} & {one.number for one in found}
    sizes = {len(one.operations) for one in settings}
    every = by_number(str(settings[0].number), alone=False) if alone else ()
    every = tuple(one for one in every if len(one.operations) in sizes)
    respaced = next(filter(None, (_respaced(symbol, by_symbol(symbol)) for symbol in symbols)), "")
    return Told(settings, words, unknown, conflict, types_differ, every, respaced)


def _respaced(symbol: str, found: tuple[Setting, ...]) -> str:
    """Say as what a symbol is read whose axes are other ones by its spaces; empty if they are not."""
    apart = re.search(r"\d\s+\d", symbol)
    if not found or not apart or " ".join(symbol.split()).lower() in _table():
        return ""
    name = found[0].name
    return "" if " ".join(apart[0].split()) in name else f"its space group {symbol} is read as {name}"


def _same(one: Setting, other: Setting) -> bool:
    return one.number == other.number and (one.name == other.name or one.group == other.group)


@lru_cache(maxsize=4096)
def by_symbol(symbol: str) -> tuple[Setting, ...]:
    """Return the settings that a Hermann-Mauguin symbol may mean; empty if no table knows it."""
    plain = re.sub(r"(\d)\s*\((\d)\)", r"\1\2", symbol.replace("~", "").replace("_", "").replace("\\", "")).strip()
    mark = MARK.search(plain)
    both = [(plain[: mark.start()], next(filter(None, mark.groups()))[0].upper())] if mark else []
    for base, letter in [*both, (plain, "")]:
        found = _named(base) or _by_gemmi(base)
        marked = tuple(one for one in found if letter and one.name.endswith(f":{ORIGINS[letter]}"))
        if marked or (found and (not letter or (letter in "SZ12" and not any(":" in one.name for one in found)))):
            return marked or found
    return ()


@lru_cache(maxsize=4096)
def by_hall(symbol: str) -> tuple[Setting, ...]:
    """Return the setting of a Hall symbol; empty if it is none."""
    try:
        group = gemmi.symops_from_hall(symbol.replace("_", " "))
    except (RuntimeError, ValueError):
        return ()
    if found := gemmi.find_spacegroup_by_ops(group):
        return (_setting(found),)
    number = of_group(group).number
    return (Setting(f"Hall {symbol}", number, group),) if number else ()


@cache
def by_number(text: str, *, alone: bool) -> tuple[Setting, ...]:
    """Return the settings of a number: all of them, or the standard ones if nothing else is said."""
    if not text.isdigit() or not 1 <= int(text) <= 230:
        return ()
    number = int(text)
    standard = gemmi.get_spacegroup_reference_setting(number).hm
    several = (one for one in gemmi.spacegroup_table() if one.number == number and (not alone or one.hm == standard))
    return tuple(map(_setting, several))


def by_schoenflies(symbol: str, *, alone: bool) -> tuple[Setting, ...]:
    """Return the settings of a Schoenflies symbol, such as `Oh^5`, as `by_number` does."""
    plain = re.sub(r"[\s_^{}]", "", symbol).lower()
    numbers = {kind.number for h in range(1, 531) if (kind := spglib.get_spacegroup_type(h)) and plain == _of(kind)}
    return by_number(str(numbers.pop()), alone=alone) if len(numbers) == 1 else ()


def _of(kind: spglib.SpaceGroupType) -> str:
    return kind.schoenflies.replace("^", "").lower()


def _by_gemmi(symbol: str) -> tuple[Setting, ...]:
    """Return the settings of an old symbol that gemmi translates, such as F m 3 m and C m c e."""
    found = gemmi.find_spacegroup_by_name(symbol) if symbol else None
    return _named(found.hm) if found else ()


def _named(symbol: str) -> tuple[Setting, ...]:
    """Return the settings of a symbol as it is spaced, or else without spaces."""
    table, spaced = _table(), " ".join(symbol.split()).lower()
    return table.get(spaced, ()) or table.get(_key(symbol), ())


def _setting(group: gemmi.SpaceGroup) -> Setting:
    return Setting(group.xhm(), group.number, group.operations())


def _key(symbol: str) -> str:
    return re.sub(r"\s+", "", symbol).lower()


@cache
def _table() -> dict[str, tuple[Setting, ...]]:
    """Return the settings by their symbols, with spaces and without, of gemmi's and spglib's tables."""
    keys: dict[str, dict[str, Setting]] = defaultdict(dict)

    def add(symbol: str, setting: Setting) -> None:
        for key in (" ".join(symbol.split()).lower(), _key(symbol)):
            keys[key].setdefault(setting.name, setting)

    for group in gemmi.spacegroup_table():
        setting = _setting(group)
        add(group.hm, setting)
        if group.number in MONOCLINIC:
            add("".join(part for part in group.hm.split() if part != "1"), setting)
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        found = kind and gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(kind.hall_symbol))
        if kind and found:
            same = () if found.number in MONOCLINIC else kind.international.split("=")
            for symbol in (kind.international_full, *same):
                add(symbol.replace("_", ""), _setting(found))
    return {key: tuple(found.values()) for key, found in keys.items()}
