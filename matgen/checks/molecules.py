"""Checks of a molecule, each a function that returns a `Verdict`, cheap to dear.

A molecule is its template, a canonical SMILES, and a geometry whose atoms stand in the order of the template's graph.
A molecule that is none is not an error but a verdict with a reason.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import rdkit
from rdkit import rdBase

from matgen.checks.molecular_graph import changed_bonds, stereo_of_geometry
from matgen.checks.rmsd import _aligned_rmsd
from matgen.checks.targets import Interval, target_met
from matgen.checks.verdicts import Check, converged
from matgen.structures.candidate import Candidate, Verdict
from matgen.templates.molecule import MolecularGraph, MoleculeError, MoleculeTemplate, with_positions
from matgen.templates.skeleton import MAX_HEAVY


def _graph(candidate: Candidate) -> MolecularGraph | str:
    """The graph that a candidate asks for, or why there is none for its atoms."""
    try:
        graph = MoleculeTemplate(candidate.template).graph
    except (MoleculeError, RuntimeError, ValueError) as error:
        return f"{candidate.template} is no molecule: {str(error).splitlines()[0]}"
    if list(candidate.structure.atomic_numbers) != graph.elements.tolist():
        return f"{candidate.template} has other atoms than {candidate.structure.composition.formula}"
    if not np.isfinite(candidate.structure.cart_coords).all():
        return "coordinates are not finite"
    return graph


def sanitised(candidate: Candidate) -> Verdict:
    """RDKit understands the SMILES, valences included, and its atoms are those of the geometry."""
    graph = _graph(candidate)
    passed = not isinstance(graph, str)
    reason = f"RDKit reads {candidate.template}" if passed else str(graph)
    return Verdict("sanitised", passed, float(len(candidate.structure)), "atoms", reason)


def graph_kept(candidate: Candidate) -> Verdict:
    """Those atoms, and only those, are near each other that the template bonds."""
    graph = _graph(candidate)
    if isinstance(graph, str):
        return Verdict("graph_kept", passed=False, value=math.nan, unit="bonds", reason=graph)
    broken, formed = changed_bonds(graph, candidate.structure.cart_coords)
    told = [f"{pair} broken" for pair in broken] + [f"{pair} formed" for pair in formed]
    reason = f"graph lost: {', '.join(told[:3])}{' …' * (len(told) > 3)}" if told else "near atoms are the bonded ones"
    return Verdict("graph_kept", not told, float(len(told)), "bonds", reason)


def stereo(candidate: Candidate) -> Verdict:
    """Every centre and double bond has the hand that the template asks for; passes where none is asked for."""
    graph = _graph(candidate)
    if isinstance(graph, str):
        return Verdict("stereo", passed=False, value=math.nan, unit="stereo", reason=graph)
    if not len(graph.stereo):
        return Verdict("stereo", passed=True, value=0.0, unit="stereo", reason="no hand is asked for")
    shown = stereo_of_geometry(MoleculeTemplate(candidate.template), candidate.structure.cart_coords)
    missed = int((shown != graph.stereo[:, -1]).sum())
    flat = int((shown == 0).sum())
    n = len(shown)
    reason = f"all {n} hands are as asked for"
    if missed:
        reason = f"hand missed: {missed} of {n} are not as asked for{f', {flat} of them flat' if flat else ''}"
    return Verdict("stereo", not missed, float(missed), "stereo", reason)


def posebusters(candidate: Candidate, *, energy_ratio: bool = False) -> Verdict:
    """The tests of PoseBusters for a molecule by itself: lengths, angles, clashes, flatness.

    Buttenschoen, Morris, Deane, Chem. Sci. 15, 3130 (2024).

    Args:
        candidate: final geometry and template.
        energy_ratio: also compare its UFF energy to that of 50 conformers, which takes most of the time.
    """
    graph = _graph(candidate)
    if isinstance(graph, str):
        return Verdict("posebusters", passed=False, value=math.nan, unit="tests", reason=graph)
    molecule = with_positions(MoleculeTemplate(candidate.template), candidate.structure.cart_coords)
    with _logging_kept():
        table = _buster(energy_ratio).bust([molecule])
    results = {name: bool(value) for name, value in table.iloc[0].items() if value == value}  # noqa: PLR0124 (NaN)
    wrong = [name for name, passed in results.items() if not passed]
    reason = f"PoseBusters: {', '.join(wrong)}" if wrong else f"passes all {len(results)} tests of PoseBusters"
    return Verdict("posebusters", not wrong, float(len(wrong)), "tests", reason)


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Undo what PoseBusters does to RDKit's log: it lets it talk, to whatever standard error is at that moment."""
    stream = rdkit.log_handler.stream
    try:
        yield
    finally:
        rdkit.log_handler.setStream(stream)
        rdBase.DisableLog("rdApp.*")


@cache
def _buster(energy_ratio: bool) -> Any:  # noqa: FBT001 (a key of the cache)
    import posebusters as package
    from yaml import safe_load

    text = (Path(package.__file__).parent / "config" / "mol.yml").read_text(encoding="utf-8")
    config = safe_load(text)
    if not energy_ratio:
        config["modules"] = [one for one in config["modules"] if one["function"] != "energy_ratio"]
    return package.PoseBusters(config=config, max_workers=0)


def strain(candidate: Candidate, limit: float = math.inf) -> Verdict:
    """How much energy the proposal held above the minimum that it relaxed to; for information unless limited.

    Args:
        candidate: before and after relaxation, with its report.
        limit: energy that is still allowed, eV.
    """
    report = candidate.relaxation
    if report is None:
        return Verdict("strain", passed=math.isinf(limit), value=math.nan, unit="eV", reason="not relaxed")
    drop = float(report.energy_before - report.energy) * len(candidate.structure)
    if math.isnan(drop):
        return Verdict("strain", passed=math.isinf(limit), value=math.nan, unit="eV", reason=report.reason)
    passed = drop <= limit
    moved = _aligned_rmsd(candidate.unrelaxed.cart_coords, candidate.structure.cart_coords)
    reason = f"{'' if passed else f'strained, limit {limit:g} eV: '}{drop:.3f} eV above the minimum of "
    return Verdict("strain", passed, drop, "eV", f"{reason}{report.potential}, {moved:.2f} Å RMSD from it")


def in_domain(candidate: Candidate) -> Verdict:
    """It is as small as the molecules that the networks learned from, and neutral like them."""
    heavy, charge = n_heavy(candidate), int(candidate.molecule.charge)
    faults = [f"{heavy} heavy atoms, more than the {MAX_HEAVY} of the training molecules"] * (heavy > MAX_HEAVY)
    faults += [f"charge {charge:+d}, where training molecules have none"] * (charge != 0)
    reason = f"{heavy} heavy atoms of H, C, N, O, F"
    if faults:
        reason = f"out of domain: {'; '.join(faults)}; predictions mean little"
    return Verdict("in_domain", not faults, float(heavy), "heavy atoms", reason)


def n_heavy(candidate: Candidate) -> int:
    """Atoms other than hydrogen."""
    return sum(z > 1 for z in candidate.structure.atomic_numbers)


def molecule_checks(
    targets: Mapping[str, Interval] | None = None,
    *,
    confidence: float = 0.0,
    relaxed: bool = True,
    energy_ratio: bool = False,
) -> dict[str, Check]:
    """The usual checks of molecules, cheap to dear.

    Args:
        targets: wanted interval of each property.
        confidence: least probability with which each must lie there, where predictions tell one.
        relaxed: whether candidates were relaxed, so that convergence and strain are judged.
        energy_ratio: whether PoseBusters compares energies too.
    """
    checks: dict[str, Check] = {
        f"target_{name}": partial(target_met, name=name, target=target, confidence=confidence)
        for name, target in (targets or {}).items()
    }
    checks |= {"sanitised": sanitised, "graph_kept": graph_kept, "stereo": stereo}
    if relaxed:
        checks |= {"relaxed": converged, "strain": strain}
    return checks | {"posebusters": partial(posebusters, energy_ratio=energy_ratio)}
