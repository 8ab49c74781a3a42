"""Checks of a molecule, each a function that returns a `Verdict`, cheap ones first.

A molecule is its template, a canonical SMILES, and a geometry whose atoms are in the order of the template's graph.
"""

import logging
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
from matgen.checks.targets import Interval, target_checks
from matgen.checks.verdicts import Check, converged
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.rmsd import rmsd
from matgen.templates.molecule import MolecularGraph, MoleculeError, MoleculeTemplate, with_positions
from matgen.templates.skeleton import MAX_HEAVY


def _graph(candidate: Candidate) -> MolecularGraph | str:
    """Return the graph of a candidate, or why there is none for its atoms."""
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
    """RDKit accepts the SMILES, with valences, and its atoms are those of the geometry."""
    graph = _graph(candidate)
    passed = not isinstance(graph, str)
    reason = f"RDKit reads {candidate.template}" if passed else str(graph)
    return Verdict("sanitised", passed, float(len(candidate.structure)), "atoms", reason)


def graph_kept(candidate: Candidate) -> Verdict:
    """Exactly the atoms that the template bonds are within bond length of each other."""
    graph = _graph(candidate)
    if isinstance(graph, str):
        return Verdict("graph_kept", passed=False, value=math.nan, unit="bonds", reason=graph)
    broken, formed = changed_bonds(graph, candidate.structure.cart_coords)
    changes = [f"{pair} broken" for pair in broken] + [f"{pair} formed" for pair in formed]
    reason = (
        f"graph lost: {', '.join(changes[:3])}{' …' * (len(changes) > 3)}"
        if changes
        else "bonds are those of the graph"
    )
    return Verdict("graph_kept", not changes, float(len(changes)), "bonds", reason)


def stereo(candidate: Candidate) -> Verdict:
    """Every stereocentre and double bond has the stereo of the template; passes if none is specified."""
    graph = _graph(candidate)
    if isinstance(graph, str):
        return Verdict("stereo", passed=False, value=math.nan, unit="stereo", reason=graph)
    if not len(graph.stereo):
        return Verdict("stereo", passed=True, value=0.0, unit="stereo", reason="no stereo is specified")
    shown = stereo_of_geometry(MoleculeTemplate(candidate.template), candidate.structure.cart_coords)
    missed = int((shown != graph.stereo[:, -1]).sum())
    flat = int((shown == 0).sum())
    n = len(shown)
    reason = f"all {n} stereo elements are as specified"
    if missed:
        reason = f"stereo missed: {missed} of {n} are not as specified{f', {flat} of them flat' if flat else ''}"
    return Verdict("stereo", not missed, float(missed), "stereo", reason)


def posebusters(candidate: Candidate, *, energy_ratio: bool = False) -> Verdict:
    """The molecule passes the tests of PoseBusters: lengths, angles, clashes, flatness.

    Buttenschoen, Morris, Deane, Chem. Sci. 15, 3130 (2024).

    Args:
        candidate: final geometry and template.
        energy_ratio: also compare the UFF energy with that of 50 conformers, which takes most of the time.
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
    """Restore RDKit's log, which PoseBusters enables and redirects to standard error, and silence that of PoseBusters.

    It logs, for instance, that a molecule has one atom.
    """
    stream, log = rdkit.log_handler.stream, logging.getLogger("posebusters")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
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
    """The energy of the proposal above the minimum that it relaxed to; passes unless limited.

    Args:
        candidate: before and after relaxation, with its report.
        limit: largest energy allowed, eV.
    """
    report = candidate.relaxation
    if report is None:
        return Verdict("strain", passed=math.isinf(limit), value=math.nan, unit="eV", reason="not relaxed")
    drop = float(report.energy_before - report.energy) * len(candidate.structure)
    if math.isnan(drop):
        return Verdict("strain", passed=math.isinf(limit), value=math.nan, unit="eV", reason=report.reason)
    passed = drop <= limit
    moved = rmsd(candidate.unrelaxed, candidate.structure)
    reason = f"{'' if passed else f'strained, limit {limit:g} eV: '}{drop:.3f} eV above the minimum of "
    return Verdict("strain", passed, drop, "eV", f"{reason}{report.potential}, {moved:.2f} Å RMSD from it")


def in_domain(candidate: Candidate) -> Verdict:
    """The molecule is as small as those of training data, and neutral and without unpaired electrons like them."""
    heavy, charge = n_heavy(candidate), int(candidate.molecule.charge)
    unpaired = unpaired_electrons(candidate)
    faults = [f"{heavy} heavy atoms, more than the {MAX_HEAVY} of the training molecules"] * (heavy > MAX_HEAVY)
    faults += [f"charge {charge:+d}, while training molecules are neutral"] * (charge != 0)
    faults += [f"open shell: unpaired electrons ({unpaired}), of which no training molecule has any"] * (unpaired != 0)
    reason = f"{heavy} heavy atoms of H, C, N, O, F"
    if faults:
        reason = f"out of domain: {'; '.join(faults)}; predictions mean little"
    return Verdict("in_domain", not faults, float(heavy), "heavy atoms", reason)


def unpaired_electrons(candidate: Candidate) -> int:
    """Return the number of unpaired electrons, as the graph or the spin of the molecule tells."""
    return max(MoleculeTemplate(candidate.template).unpaired_electrons, int(candidate.molecule.spin_multiplicity) - 1)


def n_heavy(candidate: Candidate) -> int:
    """Return the number of atoms other than hydrogen."""
    return sum(z > 1 for z in candidate.structure.atomic_numbers)


def molecule_checks(
    targets: Mapping[str, Interval] | None = None,
    *,
    confidence: float = 0.0,
    relaxed: bool = True,
    energy_ratio: bool = False,
) -> dict[str, Check]:
    """Return the usual checks of molecules, cheap ones first.

    Args:
        targets: target interval of each property.
        confidence: least probability of each target, where predictions have one.
        relaxed: whether candidates were relaxed, so that convergence and strain are checked.
        energy_ratio: whether PoseBusters also compares energies.
    """
    checks = target_checks(targets or {}, confidence)
    checks |= {"sanitised": sanitised, "graph_kept": graph_kept, "stereo": stereo}
    if relaxed:
        checks |= {"relaxed": converged, "strain": strain}
    return checks | {"posebusters": partial(posebusters, energy_ratio=energy_ratio)}
