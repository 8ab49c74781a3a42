"""Interpolation between two requests: E(x) = α E_A(x) + (1 − α) E_B(x).

What the two may differ in are targets, examples, and rules that had better hold. Constraints of both hold, as masks;
every other setting must be the same in both, or be given beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matgen.generation.between_settings import BetweenConfig, End
from matgen.generation.constraints import CompositionConstraints, GraphConstraints, SymmetryConstraints
from matgen.generation.errors import RequestError
from matgen.generation.like import LikenessConfig
from matgen.generation.old_keys import current_keys
from matgen.runtime.config import ConfigError, from_mapping, read_toml

BLENDED = ("targets", "like")
"""Tables whose terms are weighted."""

CONSTRAINTS = {"composition": CompositionConstraints, "symmetry": SymmetryConstraints, "graph": GraphConstraints}
"""Tables whose masks must both hold."""

UNITED = {
    "composition": ("include", "exclude", "rules"),
    "graph": ("smarts", "avoid"),
    "resources": ("with_files",),
}
"""Constraints of which those of both hold, and property files, of which those of both are read."""

COMMON = {"composition": ("elements",), "symmetry": ("space_groups",)}
"""Constraints of which what both allow is allowed; empty allows everything."""


def with_ends(config: BetweenConfig) -> BetweenConfig:
    """Return the table with what its files hold.

    Raises:
        ConfigError: a file is missing, or no TOML.
        RequestError: a file is itself an interpolation.
    """
    return replace(config, ends=tuple(_end(table) for table in _tables(config)))


def _end(table: Mapping[str, Any]) -> End:
    like = from_mapping(LikenessConfig, table.get("like", {}), where="like")
    targets = table.get("targets", {})
    if not isinstance(targets, Mapping):
        raise RequestError(f"expected a table of targets, got {targets!r}")
    return End(dict(targets), like, tuple(_preferred(table)))


def _tables(config: BetweenConfig) -> list[dict[str, Any]]:
    """Return the content of both files, by their current keys."""
    found = []
    for path in config.requests:
        raw = read_toml(Path(path))
        try:
            table = current_keys(raw)[0]
            for name, kind in CONSTRAINTS.items():
                from_mapping(kind, table.get(name, {}), where=name)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        if table.get("between"):
            raise RequestError(f"expected targets or examples in {path}, got an interpolation; name its requests")
        found.append(table)
    return found


def with_both(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of a request with the constraints and the other settings of the two that it lies between.

    Args:
        tables: with a table `between`.

    Raises:
        RequestError: the two contradict each other, or a setting differs and is not given.
        ConfigError: a file is missing, or no TOML.
    """
    config = from_mapping(BetweenConfig, tables["between"], where="between")
    sources = [*zip(config.requests, _tables(config), strict=True), ("the request", dict(tables))]
    _check_kinds(sources)
    asked = [table.get(name) or _preferred(table) for _, table in sources[:2] for name in BLENDED]
    if not any(asked):
        raise RequestError(f"expected targets or examples in {' or '.join(config.requests)}, got none; add some")
    for _, table in sources[:2]:  # what is weighted is no constraint
        if _preferred(table):
            table["composition"] = {k: v for k, v in table["composition"].items() if k != "prefer"}
    found = dict(tables)
    for name in dict.fromkeys(name for _, table in sources[:2] for name in table if name not in BLENDED):
        given = [(path, table[name]) for path, table in sources if name in table]
        if all(isinstance(value, Mapping) for _, value in given):
            found[name] = _joined(name, given)
        else:
            found.setdefault(name, _agreed(name, given[:2]))
    return found


def _preferred(table: Mapping[str, Any]) -> list[str]:
    """Return the rules that had better hold."""
    return list(table.get("composition", {}).get("prefer", []))


def _check_kinds(sources: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Check that all are of one kind.

    Raises:
        RequestError: they are not.
    """
    kinds = {path: table.get("kind", "crystal") for path, table in sources[:2]}
    path, table = sources[2]
    if "kind" in table:
        kinds[path] = table["kind"]
    if len(set(kinds.values())) > 1:
        named = " and ".join(f"{path} is of {kind}s" for path, kind in kinds.items())
        raise RequestError(f"expected requests of one kind, got two: {named}; interpolate within one")


def _joined(name: str, given: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return one table that keeps the constraints of all, and the settings in which they agree."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for _, table in given for key in table):
        values = [(path, table[key]) for path, table in given if key in table]
        lists = [list(value) for _, value in values if isinstance(value, list) and value]
        if key in UNITED.get(name, ()):
            found[key] = list(dict.fromkeys(item for value in lists for item in value))
        elif key in COMMON.get(name, ()) and len(lists) > 1:
            found[key] = [item for item in lists[0] if all(item in value for value in lists[1:])]
            if not found[key]:
                named = " and ".join(f"{value} in {path}" for path, value in values if value)
                raise RequestError(f"expected {key} that both allow, got {named}; nothing keeps both")
        elif (name, key) == ("composition", "avoid_hazard"):
            found[key] = any(value for _, value in values)
        elif (name, key) == ("composition", "max_atoms"):
            found[key] = min((value for _, value in values if value), default=0)
        elif len(values) > 1 and all(isinstance(value, Mapping) for _, value in values):
            found[key] = _joined(f"{name}.{key}", values)
        else:
            found[key] = _agreed(f"{name}.{key}", values)
    return found


def _agreed(name: str, values: Sequence[tuple[str, Any]]) -> Any:
    """Return the value that all give; a setting that is no constraint may be given by the request in their place.

    Raises:
        RequestError: they differ.
    """
    path, value = values[-1]
    constraint = name.split(".", maxsplit=1)[0] in {"composition", "symmetry", "graph"}
    if path == "the request" and not constraint:
        return value
    if any(other != value for _, other in values):
        named = " and ".join(f"{other!r} in {path}" for path, other in values)
        advice = "no material keeps both" if constraint else "give it as an option, or make them equal"
        raise RequestError(f"expected one {name}, got {named}; {advice}")
    return value
