"""The settings of a run that differ from the usual ones, as a reader knows them."""

from collections.abc import Mapping
from typing import Any

from matgen.structures.run_report import dotted_settings

OPTIONS = {
    "targets.band_gap": "--bandgap",
    "targets.gap": "--gap",
    "properties.band_gap": "--bandgap",
    "properties.gap": "--gap",
    "search.n": "-n",
    "search.seed": "--seed",
    "composition.rules": "--rule",
    "symmetry.space_groups": "--spacegroup",
    "relaxation.method": "--relax",
    "selection.max_ehull": "--max-ehull",
}
"""Options of settings whose names differ from theirs."""

ALWAYS = frozenset({"search.n", "search.seed"})
"""Settings that are told whatever they are."""

WITHOUT = frozenset({"kind", "screen"})
"""Settings that the title tells."""


def told_options(configuration: Mapping[str, Any], usual: Mapping[str, Any]) -> list[list[str]]:
    """Return pairs of option and value for what differs from the usual settings.

    Args:
        configuration: of a run.
        usual: settings where no option is given.
    """
    before = dict(dotted_settings(usual))
    found = []
    for name, value in dotted_settings(configuration):
        differs = name not in before or before[name] != value
        if name in WITHOUT or not (differs or name in ALWAYS) or value in ("", [], {}, None):
            continue
        found.append([_option(name), _text(value)])
    return found


def _option(name: str) -> str:
    if name in OPTIONS:
        return OPTIONS[name]
    table, _, last = name.partition(".")
    if table in {"targets", "properties"}:
        return f"--property {last}"
    plain_name = last or table
    return name if "." in plain_name else f"--{plain_name.replace('_', '-')}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
