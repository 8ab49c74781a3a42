"""Flat keywords of a request, such as `n` or `formula`, and the tables that hold them.

A keyword is the name of its field, unless the metadata of the field name another (`keyword`), or none.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from matgen.generation.between_settings import BetweenConfig
from matgen.generation.constraints import CompositionConstraints, GraphConstraints, SymmetryConstraints
from matgen.generation.errors import RequestError
from matgen.generation.like import LikenessConfig
from matgen.generation.potential_term import RankingConfig
from matgen.generation.relaxation_settings import RelaxationConfig
from matgen.generation.sampler_settings import SamplerConfig, Stages
from matgen.generation.search_settings import ResourceConfig, SearchConfig, SelectionConfig, VerificationConfig
from matgen.runtime.config import to_mapping
from matgen.targets.properties import PROPERTIES, PROPERTIES_OF, Property
from matgen.targets.target import TargetError, find_property

FLAT_TABLES: dict[str, type] = {
    "composition": CompositionConstraints,
    "symmetry": SymmetryConstraints,
    "graph": GraphConstraints,
    "like": LikenessConfig,
    "between": BetweenConfig,
    "search": SearchConfig,
    "selection": SelectionConfig,
    "verification": VerificationConfig,
    "relaxation": RelaxationConfig,
    "ranking": RankingConfig,
    "resources": ResourceConfig,
}
"""Tables whose fields may also be given as flat keywords, by name."""

TABLES: dict[str, type] = {**FLAT_TABLES, "stages": Stages, "sampler": SamplerConfig}
"""All tables of a request, by name."""

FIELDS = ("kind", "targets", *TABLES, "energies")
"""All fields of a request."""

KEYWORDS: dict[str, tuple[str, ...]] = {
    keyword: (table, field.name)
    for table, cls in FLAT_TABLES.items()
    for field in fields(cls)
    if (keyword := field.metadata.get("keyword", field.name)) is not None
} | {"pressure": ("relaxation", "settings", "pressure")}
"""Table and field of each flat keyword, and the field of that if it is a table."""


def distributed(options: Mapping[str, Any], kind: str = "crystal") -> dict[str, Any]:
    """Return fields of a request, as TOML types, from flat keywords, tables, and targets by property name.

    Args:
        options: flat keywords, fields of a request, and properties; the value of a property is a number, a (low, high)
            pair, or text such as ">3".
        kind: whose properties are known, unless the options name one.

    Raises:
        RequestError: an unknown keyword.
        TargetError: an unknown property.
    """
    properties = PROPERTIES_OF.get(options.get("kind", kind), PROPERTIES)
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name in FIELDS and not is_keyword(name, value):
            found = overlaid(found, {name: plain(value)})
        elif name in KEYWORDS:
            found = overlaid(found, reduce(lambda inner, key: {key: inner}, reversed(KEYWORDS[name]), plain(value)))
        else:
            _check_property(name, properties)
            found = overlaid(found, {"targets": {name: plain(value)}})
    if isinstance(found.get("targets"), dict):
        found["targets"] = {name: _target(value) for name, value in found["targets"].items()}
    return found


def is_keyword(name: str, value: Any) -> bool:
    """Tell whether a name means a flat keyword: it is one, and its value is no table of this name."""
    return name in KEYWORDS and not (name in TABLES and (isinstance(value, Mapping) or is_dataclass(value)))


def overlaid(base: Any, over: Any) -> Any:
    """Return a mapping with another one over it, table by table.

    Where a table meets what is no table, the latter stays, so that the reader of the result refuses it.
    """
    if not isinstance(over, dict):
        return over
    if not isinstance(base, dict):
        return base
    return base | {name: overlaid(base[name], value) if name in base else value for name, value in over.items()}


def plain(value: Any) -> Any:
    """Return a value as TOML types: dataclasses as tables, other collections and arrays as lists."""
    match value:
        case Path():
            return str(value)
        case Mapping():
            return {name: plain(item) for name, item in value.items()}
        case _ if is_dataclass(value):
            return to_mapping(value)
        case _ if hasattr(value, "tolist"):
            return value.tolist()
        case Iterable() if not isinstance(value, str):
            return [plain(item) for item in value]
    return value


def _target(value: Any) -> Any:
    """Return a (low, high) pair as text, anything else as it is."""
    return f"{value[0]}:{value[1]}" if isinstance(value, list) and len(value) == 2 else value


def _check_property(name: str, properties: Mapping[str, Property]) -> None:
    """Check that a keyword names a property.

    Raises:
        RequestError: it is close to another keyword.
        TargetError: it is close to none, or to a property.
    """
    try:
        find_property(name, properties)
    except TargetError:
        close = difflib.get_close_matches(name, [*KEYWORDS, *FIELDS, *properties], n=1, cutoff=0.6)
        if close and close[0] not in properties:
            raise RequestError(f"unknown keyword {name!r}; did you mean {close[0]}?") from None
        raise
