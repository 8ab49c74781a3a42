"""Configuration keys of version 0.1, which are still read."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from matgen.generation.keywords import FIELDS, KEYWORDS, TABLES, is_keyword
from matgen.relaxation.config import RelaxConfig
from matgen.runtime.config import ConfigError, did_you_mean

RENAMED: dict[str, dict[str, str]] = {
    "stages": {"redraws": "regrowth"},
    "sampler": {
        "shaped_starts": "refined_geometries",
        "start_noise": "initial_noise",
        "start_levels": "initial_levels",
        "start_churn": "initial_churn",
        "start_trials": "initial_trials",
        "start_known": "prototype_noise",
        "start_drawn": "sampled_noise",
        "draw_temperature": "sampling_temperature",
        "wish": "target",
        "familiarity": "chemical_distance",
        "rank_wish": "rank_target",
    },
}
"""New names of old keys, by table."""

RELAXATION_KEYS = frozenset(field.name for field in fields(RelaxConfig))
"""Keys that stood directly below [relaxation], and now stand below [relaxation.settings]."""


def current_keys(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a configuration with old keys replaced by new ones.

    Version 0.1 knew no tables but [properties], [relaxation], [stages] and [sampler]: all other keys were flat.

    Args:
        raw: what a TOML file, or the report of a run, holds.

    Returns:
        The configuration by tables of `Request`, and the new place of each old key found.

    Raises:
        ConfigError: an unknown key, a key in a table to which it does not belong, or an old key beside its new one.
    """
    found: dict[str, Any] = {}
    moved: dict[str, str] = {}
    given: dict[tuple[str, ...], str] = {}
    for name, value in raw.items():
        for old, path, content in _places(name, value):
            new = ".".join(path)
            if old != new:
                moved[old] = new
            _put(found, path, content, given.get(path, new), old)
            given.setdefault(path, old)
    return found, moved


def _places(name: str, value: Any) -> list[tuple[str, tuple[str, ...], Any]]:
    """Return old key, new place and content of everything that stands below a key at the top."""
    if name == "properties":
        return [(name, ("targets",), value)]
    if name in TABLES and isinstance(value, Mapping):
        inner = [(f"{name}.{key}", _place(name, key), content) for key, content in value.items()]
        return inner or [(name, (name,), {})]
    if name in FIELDS and not is_keyword(name, value):
        return [(name, (name,), value)]
    if name in KEYWORDS:
        return [(name, KEYWORDS[name], value)]
    raise ConfigError(f"unknown key {name!r}; {_hint(name)}")


def _place(table: str, key: str) -> tuple[str, ...]:
    """Return where a key of a table belongs.

    Raises:
        ConfigError: it belongs to another table.
    """
    if table == "relaxation" and key in RELAXATION_KEYS:
        return table, "settings", key
    known = {field.name for field in fields(TABLES[table])}
    if key not in known and key in KEYWORDS:
        other = ".".join(KEYWORDS[key])
        raise ConfigError(f"[{table}] unknown key {key!r}; write {other}")
    return table, RENAMED.get(table, {}).get(key, key)


def _hint(name: str) -> str:
    """Return the nearest key, and the table that holds it."""
    hint = did_you_mean(name, [*FIELDS[:-1], *KEYWORDS])
    nearest = hint.removeprefix("did you mean ").removesuffix("?")
    return f"{hint} Write it as {'.'.join(KEYWORDS[nearest])}" if nearest in KEYWORDS else hint


def _put(found: dict[str, Any], path: tuple[str, ...], content: Any, before: str, now: str) -> None:
    """Set a nested key, which a file names by `now`, and may have named by `before`.

    Raises:
        ConfigError: it is set already, or a table is none.
    """
    for name in path[:-1]:
        found = found.setdefault(name, {})
        if not isinstance(found, dict):
            raise ConfigError(f"[{name}] expected a table, got {found!r}")
    if path[-1] in found and not (isinstance(content, Mapping) and not content):
        new = ".".join(path)
        extra = now if before == new else before
        both = f"as {before} and as {now}, which are the same setting" if before != now else f"twice as {now}"
        raise ConfigError(f"expected {new} once, got it {both}; delete {extra}")
    found.setdefault(path[-1], content)
