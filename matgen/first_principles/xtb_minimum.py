"""Minima of molecules by GFN2-xTB, and the electronic properties at them."""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from pymatgen.core.structure import Molecule

from matgen.checks.molecules import graph_kept, stereo
from matgen.first_principles.records import shared_fields, with_nulls
from matgen.relaxation.xtb import POTENTIAL, TOGETHER, XtbConfig, relax_molecule
from matgen.relaxation.xtb_properties import electronic, estimated_gap, gap_from_levels
from matgen.runtime.failures import each
from matgen.runtime.processes import in_chunks, in_pool
from matgen.structures.candidate import Candidate
from matgen.structures.rmsd import best_rmsd
from matgen.templates.molecule import MoleculeTemplate

RECIPE = 2
"""Version; to be changed where other figures result from the same settings."""

NUMBERS = ("gap", "minimum_gap", "levels_gap", "raw_gap", "homo", "lumo", "dipole", "energy", "energy_drop", "rmsd")


@dataclass(frozen=True)
class XtbMinimum:
    """Minimum of a molecule by GFN2-xTB; NaN where there is no result.

    Attributes:
        gap: estimate of the B3LYP gap of the geometry as given, by `estimated_gap` as everywhere, eV.
        minimum_gap: the same at the minimum, eV; of candidates of a design, which are at it, the two are equal.
        levels_gap: the same by a quadratic form of both levels for ions and radicals too, eV.
        raw_gap: from HOMO to LUMO, eV.
        homo: highest occupied level, eV.
        lumo: lowest unoccupied level, eV.
        dipole: length of the dipole moment, D.
        energy: eV/atom.
        energy_drop: energy lost in the relaxation, eV per molecule.
        rmsd: of all atoms from their initial positions, equivalent atoms permuted, Å.
        kept: whether graph and stereo are unchanged.
        settings: what the figures depend on: `XtbConfig` and the version.
        converged: whether there is a result.
        reason: why there is none, or how the graph changed; empty otherwise.
        seconds: wall time.
    """

    gap: float
    minimum_gap: float
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
    """Return the result of a calculation that failed."""
    nothing: dict[str, Any] = dict.fromkeys(NUMBERS, math.nan)
    return XtbMinimum(**nothing, kept=False, converged=False, reason=reason, seconds=seconds)


def minimum(molecule: Molecule, template: MoleculeTemplate, config: XtbConfig | None = None) -> XtbMinimum:
    """Relax a molecule; return its minimum, or the reason why there is none.

    Args:
        molecule: atoms in the order of the graph of its template.
        template: graph and stereo of the molecule.
        config: thresholds; the defaults if left out.
    """
    config = config or XtbConfig()
    started = time.perf_counter()
    relaxed, report = relax_molecule(molecule, config)
    if not report.converged:
        return failed(report.reason, round(report.seconds, 2))
    given, found = electronic(molecule), electronic(relaxed)
    for one in (given, found):
        if not math.isfinite(one.gap):
            return failed(one.reason or "no empty level", round(time.perf_counter() - started, 2))
    after = Candidate(template.smiles, relaxed, molecule, None, template.smiles)
    faults = [verdict.reason for verdict in (graph_kept(after), stereo(after)) if not verdict.passed]
    return XtbMinimum(
        gap=estimated_gap(given, molecule)[0],
        minimum_gap=estimated_gap(found, relaxed)[0],
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


Initial = tuple[str, Molecule, MoleculeTemplate]
"""A name and a molecule with its template."""


def minima(
    initial_geometries: Iterable[Initial], config: XtbConfig | None = None, n_jobs: int = 1
) -> Iterator[tuple[str, XtbMinimum]]:
    """Relax molecules in a pool of processes and yield results as they arrive.

    Args:
        initial_geometries: unique names, and molecules; taken as workers become free.
        config: thresholds; the defaults if left out.
        n_jobs: processes; 1 for the current one.

    Yields:
        Names and results, in the order in which they finish: one for every molecule, also if its worker died.
    """
    chunks = in_chunks(initial_geometries, TOGETHER if n_jobs > 1 else 1)
    for results in in_pool(partial(_each, config=config), chunks, _given_up, n_jobs):
        yield from results


def _each(initial_geometries: tuple[Initial, ...], config: XtbConfig | None) -> list[tuple[str, XtbMinimum]]:
    return each(lambda one: (one[0], minimum(one[1], one[2], config)), initial_geometries, _given_up)


def _given_up(initial: Initial, reason: str) -> tuple[str, XtbMinimum]:
    return initial[0], failed(reason)


def key(molecule: Molecule, template: MoleculeTemplate, config: XtbConfig) -> str:
    """Return a hash that identifies a calculation: the molecule as given, the settings, the version of tblite."""
    content = json.dumps(
        [template.smiles, molecule.cart_coords.tolist(), asdict(config), POTENTIAL, RECIPE], allow_nan=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def to_record(found: XtbMinimum) -> dict[str, Any]:
    """Return a result as JSON types; NaN becomes null."""
    return with_nulls(asdict(found), NUMBERS)


def from_record(record: Mapping[str, Any]) -> XtbMinimum:
    """Return the result that `to_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: the record is damaged.
    """
    record = {"minimum_gap": record.get("gap")} | dict(record)  # recipe 1 has that of the minimum alone
    return XtbMinimum(**shared_fields(record, NUMBERS), kept=bool(record["kept"]))
