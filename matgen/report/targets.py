"""The targets of a run, in words and as ranges."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matgen.report.words import described, property_label, within
from matgen.targets.target import Target, TargetError, parse_target


def read_targets(texts: Mapping[str, Any], kind: str, units: Mapping[str, str]) -> list[Target]:
    """Return the targets that `run.json` records; `unread_targets` names those that are not understood.

    Args:
        texts: of the targets, by property.
        kind: of the material.
        units: of properties of property files.
    """
    found = []
    for name, text in texts.items():
        one = described(name, kind, units.get(name, ""))
        try:
            found.append(parse_target(one.name, str(text), {one.name: one}))
        except TargetError:
            continue
    return found


def unread_targets(texts: Mapping[str, Any], kind: str, targets: Sequence[Target]) -> list[str]:
    """Return a sentence on each target of a run that `read_targets` does not understand."""
    known = {target.name for target in targets}
    return [
        f"The target {name} = {text} is not understood by this version, and is left out."
        for name, text in texts.items()
        if described(name, kind).name not in known
    ]


def target_record(target: Target) -> dict[str, Any]:
    """Return a target as plain data; an open side is null."""
    low, high = target.window
    return {
        "name": target.name,
        "label": property_label(target.name),
        "unit": target.asked.unit,
        "text": target_text(target),
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
    }


def target_text(target: Target) -> str:
    """Return the values that meet a target in words, such as `1.5 ± 0.25 eV` or `at most 0.05 eV/atom`."""
    unit = f" {target.asked.unit}".rstrip()
    if target.point:
        return f"{target.low:g} ± {target.tolerance:g}{unit}" if target.tolerance else f"{target.low:g}{unit}"
    if math.isinf(target.high):
        return f"at least {target.low:g}{unit}"
    if math.isinf(target.low):
        return f"at most {target.high:g}{unit}"
    return f"{target.low:g} to {target.high:g}{unit}"


def asked(what: str, targets: Sequence[Target]) -> str:
    """Return what a run asked for as a phrase, such as `crystals with a PBE band gap of 1.5 ± 0.25 eV`."""
    phrases = []
    for target in targets:
        label = within(property_label(target.name))
        article = "an" if label[0] in "aeio" else "a"
        phrases.append(f"{article} {label} of {target_text(target)}")
    *first, last = phrases or [""]
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"{what} with {listed}" if listed else what
