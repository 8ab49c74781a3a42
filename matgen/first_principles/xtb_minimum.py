"""A molecule held against GFN2-xTB: where it relaxes to, and what its electrons do there."""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from pymatgen.core.structure import Molecule

from matgen.checks.molecules import best_rmsd, graph_kept, stereo
from matgen.relaxation.xtb import (
    POTENTIAL,
    TOGETHER,
    XtbConfig,
    calibrated_gap,
    electronic,
    gap_from_levels,
    relax_molecule,
)
from matgen.runtime.processes import DIED, in_chunks, in_pool
from matgen.structures.candidate import Candidate
from matgen.templates.molecule import MoleculeTemplate

RECIPE = 1
"""Another one where it would give other figures for the same settings."""

NUMBERS = ("gap", "levels_gap", "raw_gap", "homo", "lumo", "dipole", "energy", "energy_drop", "rmsd")


@dataclass(frozen=True)
class XtbMinimum:
    """What GFN2-xTB says of a molecule at the minimum that it relaxes to; NaN where it says nothing.

    Attributes:
        gap: what B3LYP would say of the gap, by a line, eV.
        levels_gap: the same by a quadratic form of both levels, eV; nearer on molecules like those of QM9.
        raw_gap: from HOMO to LUMO, eV.
        homo: highest level that holds an electron, eV.
        lumo: the next one above, eV.
        dipole: length of the dipole moment, D.
        energy: eV/atom.
        energy_drop: by which the relaxation lowered it, eV, of the whole molecule.
        rmsd: of all atoms from where they were, equal ones exchanged at will, Å.
        kept: whether it is still the same graph with the same hands.
        settings: what the figures depend on: `XtbConfig` and the version.
        converged: whether there is a result.
        reason: why not, or what became of the graph; empty otherwise.
        seconds: wall time.
    """

    gap: float
    levels_gap: float
    raw_gap: float
    homo: float
    lumo: float
    dipole: float
    energy: float
    energy_drop: float
    rmsd: float
    kept: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    converged: bool = True
    reason: str = ""
    seconds: float = 0.0


def failed(reason: str, seconds: float = 0.0) -> XtbMinimum:
    """The result where there is none."""
    nothing: dict[str, Any] = dict.fromkeys(NUMBERS, math.nan)
    return XtbMinimum(**nothing, kept=False, converged=False, reason=reason, seconds=seconds)


def minimum(molecule: Molecule, template: MoleculeTemplate, config: XtbConfig | None = None) -> XtbMinimum:
    """Relax a molecule, whatever becomes of it.

    Args:
        molecule: atoms in the order of the graph of its template.
        template: of it.
        config: thresholds; the defaults if left out.
    """
    config = config or XtbConfig()
    started = time.perf_counter()
    relaxed, report = relax_molecule(molecule, config)
    if not report.converged:
        return failed(report.reason, round(report.seconds, 2))
    found = electronic(relaxed)
    if not math.isfinite(found.gap):
        return failed(found.reason or "no empty level", round(time.perf_counter() - started, 2))
    after = Candidate(template.smiles, relaxed, molecule, None, template.smiles)
    faults = [verdict.reason for verdict in (graph_kept(after), stereo(after)) if not verdict.passed]
    return XtbMinimum(
        gap=calibrated_gap(found),
        levels_gap=gap_from_levels(found),
        raw_gap=found.gap,
        homo=found.homo,
        lumo=found.lumo,
        dipole=found.dipole,
        energy=found.energy / len(molecule),
        energy_drop=float(report.energy_before - report.energy) * len(molecule),
        rmsd=best_rmsd(template, molecule, relaxed),
        kept=not faults,
        settings=asdict(config) | {"potential": POTENTIAL},
        reason="; ".join(faults),
        seconds=round(time.perf_counter() - started, 2),
    )


Start = tuple[str, Molecule, MoleculeTemplate]
"""A name and a molecule with its template."""


def minima(
    initial_geometries: Iterable[Start], config: XtbConfig | None = None, n_jobs: int = 1
) -> Iterator[tuple[str, XtbMinimum]]:
    """Relax molecules in a pool of processes and yield each result soon after it is there.

    Args:
        initial_geometries: names, which must differ, and molecules; taken as workers get free.
        config: thresholds; the defaults if left out.
        n_jobs: processes; 1 stays in this one.

    Yields:
        Names and results, in the order in which they finish. Every molecule yields one, also if its worker died.
    """
    chunks = in_chunks(initial_geometries, TOGETHER if n_jobs > 1 else 1)
    for results in in_pool(partial(_each, config=config), chunks, _given_up, n_jobs):
        yield from results


def _each(initial_geometries: tuple[Start, ...], config: XtbConfig | None) -> list[tuple[str, XtbMinimum]]:
    return [(name, minimum(molecule, template, config)) for name, molecule, template in initial_geometries]


def _given_up(start: Start) -> tuple[str, XtbMinimum]:
    return start[0], failed(DIED)


def key(molecule: Molecule, template: MoleculeTemplate, config: XtbConfig) -> str:
    """What makes a calculation the same as another one: the molecule as given, the settings, the version of tblite."""
    content = json.dumps(
        [template.smiles, molecule.cart_coords.tolist(), asdict(config), POTENTIAL, RECIPE], allow_nan=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def to_record(found: XtbMinimum) -> dict[str, Any]:
    """A result as JSON types; NaN becomes null."""
    record = asdict(found)
    return record | {name: record[name] if math.isfinite(record[name]) else None for name in NUMBERS}


def from_record(record: Mapping[str, Any]) -> XtbMinimum:
    """The result that `to_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: the record is none of its.
    """
    numbers: dict[str, Any] = {name: math.nan if record[name] is None else float(record[name]) for name in NUMBERS}
    found = XtbMinimum(
        **numbers,
        kept=bool(record["kept"]),
        settings=dict(record["settings"]),
        converged=bool(record["converged"]),
        reason=str(record["reason"]),
        seconds=float(record["seconds"]),
    )
    if found.converged and not all(map(math.isfinite, numbers.values())):
        raise ValueError("expected finite numbers of a converged result")
    return found
