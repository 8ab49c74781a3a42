"""Screening of one chunk of structures by one worker.

Cheap checks come first; if atoms overlap, or a molecule has lost its graph, no model is evaluated, since its prediction
would be meaningless. The networks read many structures at once. An exception of any package becomes a failed verdict of
the structure at fault, and the other checks go on. Predictions are only made within the range of the
models; the row gives the reason for whatever is missing. What differs between crystals and molecules is in their
`Screener`.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from matgen.checks.targets import target_met
from matgen.generation.computed_predictions import computed_predictions
from matgen.generation.predictors import EVALUATOR, as_predictions
from matgen.runtime.failures import each, together
from matgen.screening.config import NONE, ScreenConfig
from matgen.screening.crystals import CrystalScreener
from matgen.screening.molecules import MoleculeScreener
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.screening.screener import Screener, skipped
from matgen.structures.candidate import Candidate, KindName, Prediction, Verdict
from matgen.structures.conversion import state_of
from matgen.structures.faithful import Faithfulness
from matgen.structures.files import Found, digest, read
from matgen.targets.properties import BY_NETWORK
from matgen.templates.batch import Template, TemplateBatch
from matgen.templates.symmetry import NoTemplateError

LARGEST = 500
"""Most atoms as given of a structure that is screened; a larger one would delay thousands of others."""

BATCH = 32
"""Structures that the networks read at once; more are no faster on one core."""


ENERGY: dict[KindName, tuple[str, str]] = {"crystal": ("hull", "eV/atom"), "molecule": ("xtb", "eV")}
"""Verdict on the energy and its unit, by kind."""


def screener_of(config: ScreenConfig) -> Screener:
    """Return the screener for the kind of a configuration."""
    return CrystalScreener(config) if config.kind == "crystal" else MoleculeScreener(config)


def check_files(config: ScreenConfig) -> None:
    """Load the files that every worker will load, so that faults are found before any work is done.

    Raises:
        UserError: a file is missing, damaged, or does not match the others.
    """
    screener = screener_of(config)
    screener.check_files()
    screener.predictor()
    screener.evaluator()


def assess(chunk: Sequence[Found], config: ScreenConfig) -> list[Row]:
    """Return the row of each structure of a chunk, in order, without uniqueness and rank."""
    screener = screener_of(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the verdicts contain what packages warn of
        rows = each(partial(_read, config=config, screener=screener), chunk, unread)
        if config.relax != NONE:
            rows = together(screener.relaxed, rows, _failing("relaxed", "eV/Å"))
        rows = together(partial(_predicted, config=config, screener=screener), rows, _failing("in_domain", ""))
        if config.has_hull:
            name, unit = ENERGY[config.kind]
            rows = together(screener.with_energies, rows, _failing(name, unit))
        if config.lattice_checks:
            rows = each(screener.on_the_lattice, rows, _failing(config.lattice_checks[0], ""))
        return rows if config.known == NONE else each(screener.compared, rows, _failing("novel", ""))


def unread(found: Found, reason: str) -> Row:
    """Return the row of a structure that an exception keeps from being read."""
    return Row(found.name, found.path, found.index, digest(found), f"not readable: {reason}")


def _failing(name: str, unit: str) -> Callable[[Row, str], Row]:
    """Return what adds the failed verdict of a check that raised an exception to a row."""
    return lambda row, reason: row.with_verdicts(skipped(name, unit, f"not assessed: {reason}"))


def _read(found: Found, config: ScreenConfig, screener: Screener) -> Row:
    """Read a structure, and make its row with the verdicts that need no model."""
    entry = read(found, config.kind, contradictory=True)
    row = Row(entry.name, entry.path, entry.index, digest(found), entry.error, id=entry.id, given=entry.given)
    if entry.structure is None:
        return row
    n_atoms = len(entry.structure)
    if n_atoms > LARGEST:
        counted = f"{n_atoms} atoms{' in the cell' if config.kind == 'crystal' else ''}"
        return replace(row, n_atoms=n_atoms, error=f"{counted}; more than {LARGEST} are not screened")
    candidate = screener.candidate(entry.name, entry.structure, entry.template)
    reason = f"read from its file; {entry.note}" if entry.note else "read from its file"
    readable = Verdict("reads", passed=True, value=float(n_atoms), unit="atoms", reason=reason)
    row = replace(row, n_atoms=n_atoms, candidate=candidate).with_verdicts(readable)
    if config.kind == "crystal":
        row = row.with_verdicts(_faithful(entry.faithful))
    return screener.checked(row.with_remarks(file=entry.note))


def _faithful(found: Faithfulness) -> Verdict:
    """Return the verdict on whether the crystal is the one that its file describes; its value counts comparisons."""
    return Verdict("faithful", found.passed, float(len(found.compared)), "comparisons", found.reason)


# ---------------------------------------------------------------- networks


def _predicted(given: Sequence[Row], config: ScreenConfig, screener: Screener) -> list[Row]:
    """Add the graph energy, the properties by predictor and evaluator, and the verdicts on them."""
    rows = list(given)
    templates: dict[int, Template] = {}
    for index, row in enumerate(rows):
        if row.candidate is None:
            continue
        reason = screener.unfit(row.candidate) or screener.out_of_scope(row.candidate)
        if not reason:
            try:
                templates[index] = screener.template(row.candidate)
            except NoTemplateError as error:
                reason = f"{error}, which the models need"
        if reason:
            rows[index] = row.with_verdicts(skipped("in_domain", "", reason))
    indices = list(templates)
    for start in range(0, len(indices), BATCH):
        part = indices[start : start + BATCH]
        read_rows = _read_batch([rows[i] for i in part], [templates[i] for i in part], screener, config)
        for index, row in zip(part, read_rows, strict=True):
            rows[index] = row
    return [_with_targets(row, config, screener) for row in rows]


@torch.no_grad()
def _read_batch(rows: list[Row], templates: list[Template], screener: Screener, config: ScreenConfig) -> list[Row]:
    """Evaluate the networks for all rows in one batch."""
    candidates = [row.candidate for row in rows if row.candidate is not None]
    state = state_of([candidate.structure for candidate in candidates], templates=templates).to(config.device)
    predicted, energies = screener.predictor().read(TemplateBatch.of(templates).to(config.device), state)
    evaluated = screener.evaluator()(state, torch.zeros(len(rows), device=config.device))
    by_predictor = as_predictions(predicted, config.targets, config.known_properties)
    by_evaluator = as_predictions({name: evaluated[name] for name in predicted if name in evaluated}, config.targets)
    read_rows = []
    for i, (row, candidate, template, energy) in enumerate(
        zip(rows, candidates, templates, energies.tolist(), strict=True)
    ):
        properties = by_predictor[i] | {f"{EVALUATOR}{name}": found for name, found in by_evaluator[i].items()}
        full = replace(candidate, template=str(template), energies={DENSITY_ENERGY: energy}, properties=properties)
        # At a pressure nothing is of the domain, which is known at none.
        domain = () if config.relaxation.pressure else (screener.in_domain(full, energy),)
        told = row.with_remarks(networks=_no_numbers(properties))
        read_rows.append(replace(told, candidate=full).with_verdicts(*domain))
    return read_rows


def _no_numbers(properties: Mapping[str, Prediction]) -> str:
    """Say which predictions are no finite numbers, which those of sound weights are."""
    odd = [name for name, found in properties.items() if not math.isfinite(found.value)]
    return f"no finite prediction of {', '.join(odd)}: the weights may be damaged" if odd else ""


def _with_targets(row: Row, config: ScreenConfig, screener: Screener) -> Row:
    """Add the verdicts on the targets: by predictor and evaluator, or exact where they need no model."""
    candidate: Candidate | None = row.candidate
    if candidate is None:
        return row
    exact = computed_predictions(candidate.structure, config.targets, moments=not screener.unfit(candidate))
    candidate = replace(candidate, properties=candidate.properties | exact)
    row = replace(row, candidate=candidate)
    targets = [
        (f"{prefix}{name}", target)
        for name, target in config.target_intervals.items()
        for prefix in ("", EVALUATOR)
        if not prefix or name in BY_NETWORK[config.kind]  # the evaluator knows no other property
    ]
    return row.with_verdicts(*(target_met(candidate, name, target) for name, target in targets))
