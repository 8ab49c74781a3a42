"""What first principles, or GFN2-xTB for molecules, say of the structures of a folder."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matgen.first_principles.calculations import Result, result_of
from matgen.first_principles.gpaw import FirstPrinciples
from matgen.first_principles.subjects import RESULTS
from matgen.first_principles.xtb_minimum import XtbMinimum
from matgen.report.lines import read_lines


def first_principles(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the part `first_principles` of each structure that `verified.jsonl` names; the last result counts.

    Candidates that were verified together with those of other folders have the name of their folder before their own.
    """
    found = read_lines(folder / f"{RESULTS}.jsonl", lambda record: (str(record["name"]), result_of(record)))
    last = dict(found.values)
    known = {name.removeprefix(f"{folder.resolve().name}/"): one for name, one in last.items()} | last
    return {name: {"first_principles": result_record(one)} for name, one in known.items()}


def result_record(result: Result) -> dict[str, Any]:
    """Return a result as plain data."""
    return _by_xtb(result) if isinstance(result, XtbMinimum) else _by_gpaw(result)


def _by_gpaw(result: FirstPrinciples) -> dict[str, Any]:
    settings = result.settings
    found: dict[str, Any] = {
        "code": "GPAW",
        "version": settings.get("gpaw"),
        "functional": functional(settings),
        "converged": result.converged,
        "seconds": result.seconds,
        "text": _gpaw_words(result),
    }
    if result.converged:
        found |= {"bandgap": result.gap, "direct_gap": result.direct_gap, "magnetic_moment": result.magnetic_moment}
        found |= {"energy": result.energy}
    return found


def functional(settings: Mapping[str, Any]) -> str:
    """Return the functional of a calculation, with `+U` where an element has a Hubbard U."""
    return str(settings.get("xc", "PBE")) + "+U" * bool(settings.get("hubbard_u"))


def _gpaw_words(result: FirstPrinciples) -> str:
    if not result.converged:
        return f"The calculation gave no result: {result.reason}."
    kind = "a metal" if result.gap <= 0 or math.isnan(result.gap) else f"a gap of {result.gap:.2f} eV"
    moment = result.magnetic_moment
    magnetic = f", magnetic moment {moment:.1f} μB per cell" if abs(moment) > 0.1 else ""
    by = functional(result.settings)
    return f"By {by} at the geometry of the candidate: {kind}{magnetic}. PBE gaps are about a third below experiment."


def _by_xtb(result: XtbMinimum) -> dict[str, Any]:
    numbers = {"bandgap": result.gap, "dipole": result.dipole, "energy": result.energy, "rmsd": result.rmsd}
    return {
        "code": "GFN2-xTB",
        "functional": "semi-empirical",
        "converged": result.converged,
        "seconds": result.seconds,
        "text": _xtb_words(result),
    } | (numbers if result.converged else {})


def _xtb_words(result: XtbMinimum) -> str:
    if not result.converged:
        return f"The calculation gave no result: {result.reason}."
    kept = "bonds and stereochemistry kept" if result.kept else f"it changed: {result.reason}"
    return (
        f"Gap {result.gap:.2f} eV on the scale of B3LYP, dipole moment {result.dipole:.2f} D; at the minimum, atoms "
        f"are {result.rmsd:.2f} Å (root mean square) from the candidate's, {kept}."
    )
