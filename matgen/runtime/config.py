"""Conversion between a TOML file and a frozen dataclass; unknown keys are errors."""

import difflib
import json
import math
import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from matgen.errors import UserError

C = TypeVar("C")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALARS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}


class ConfigError(UserError, ValueError):
    """An invalid configuration."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a hint for an error message: the nearest choice, or all of them."""
    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(choices)}"


def from_mapping(cls: type[C], raw: Mapping[str, Any], *, where: str = "") -> C:
    """Read a dataclass, with nested ones, from a mapping of TOML or JSON types.

    Args:
        cls: a dataclass; fields missing in the mapping keep their defaults.
        raw: values by name.
        where: name of the table in messages.

    Raises:
        ConfigError: a key is unknown or missing, or a value has another type.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{_place(where)}expected a table, got {raw!r}")
    kinds = get_type_hints(cls)
    known = {name: kinds[name] for name in _written(cls)}
    for name in raw:
        if name not in known:
            raise ConfigError(f"{_place(where)}unknown key {name!r}; {did_you_mean(name, known)}")
    values = {name: _value(known[name], value, f"{where}.{name}" if where else name) for name, value in raw.items()}
    try:
        return cls(**values)
    except TypeError as error:  # a field without a default is missing
        raise ConfigError(f"{_place(where)}{str(error).partition('() ')[2]}; add it") from error


def check_least(config: Any, least: float, *names: str) -> None:
    """Check that fields are finite and not below a limit.

    Raises:
        ConfigError: one is.
    """
    for name in names:
        if not least <= getattr(config, name) < math.inf:
            raise ConfigError(f"expected {name} of at least {least:g}, got {getattr(config, name)}")


def check_positive(config: Any, *names: str) -> None:
    """Check that fields are finite and above zero.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"expected {name} above 0, got {getattr(config, name)}")


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a dataclass as JSON and TOML types, without None; `from_mapping` reads it back."""
    values = {name: getattr(config, name) for name in _written(config)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ConfigError: the file does not exist or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}; check its name") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}; see toml.io for the format") from error


def to_toml(config: Any) -> str:
    """Return a dataclass as TOML text."""
    return _table(to_mapping(config), ())


def _written(config: Any) -> list[str]:
    """Return the names of the fields written to files: all without `in_files=False` in their metadata."""
    return [f.name for f in fields(config) if f.init and f.metadata.get("in_files", True)]


def _place(where: str) -> str:
    return f"[{where}] " if where else ""


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return from_mapping(kind, value, where=where)  # type: ignore[arg-type]
    if origin in {Union, types.UnionType}:
        return _either([k for k in args if k is not types.NoneType], value, where)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where}: got {value!r}; {did_you_mean(str(value), map(str, args))}")
        return value
    if origin in {tuple, frozenset}:
        return origin(_items(kind, _typed(value, list, "a list", where), where))
    if origin is dict:
        table = _typed(value, dict, "a table", where)
        return {name: _value(args[1], item, f"{where}.{name}") for name, item in table.items()}
    return _scalar(kind, value, where)


def _either(kinds: list[Any], value: Any, where: str) -> Any:
    """Return the value as the first type of a union that matches."""
    for kind in kinds[:-1]:
        try:
            return _value(kind, value, where)
        except ConfigError:
            continue
    return _value(kinds[-1], value, where)


def _items(kind: Any, items: list[Any], where: str) -> list[Any]:
    """Return the items of a tuple[X, ...], tuple[X, Y] or frozenset[X]."""
    args = get_args(kind)
    kinds = args if get_origin(kind) is tuple and args[-1] is not Ellipsis else (args[0],) * len(items)
    if len(kinds) != len(items):
        raise ConfigError(f"{where}: expected {len(kinds)} values, got {len(items)}")
    return [_value(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(zip(kinds, items, strict=True))]


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is Path:
        return Path(_typed(value, str, "a path in quotes", where))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _typed(value, kind, _SCALARS[kind], where)


def _typed(value: Any, kind: type, expected: str, where: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {expected}, got {value!r}")
    return value


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case frozenset():
            return sorted(map(_plain, value))
        case tuple() | list():
            return [_plain(item) for item in value]
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case _ if is_dataclass(value):
            return to_mapping(value)
    return value


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """Return TOML text with scalars first and tables below, as TOML requires."""
    lines = [f"{_key(name)} = {_text(value)}\n" for name, value in values.items() if not isinstance(value, dict)]
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    header = f"\n[{'.'.join(map(_key, path))}]\n" if path and (lines or not tables) else ""
    return header + "".join(lines) + "".join(_table(value, (*path, name)) for name, value in tables.items())


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(_text, value))}]"
    return repr(value)
