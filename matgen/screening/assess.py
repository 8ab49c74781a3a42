"""Structures in, rows out: what one worker does with one chunk.

Cheap checks come first; where atoms overlap, or a molecule has lost its graph, no model is asked, since what it would
say means nothing. The networks read many structures at once. Whatever a structure lacks is said in its row, and nothing
is guessed: predictions are made for what the models may know. What differs between crystals and molecules is their
`Screener`'s business.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch

from matgen.checks.crystals import target_met
from matgen.generation.predictors import EVALUATOR, as_predictions
from matgen.screening.config import NONE, ScreenConfig
from matgen.screening.crystals import CrystalScreener
from matgen.screening.molecules import MoleculeScreener
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.screening.screener import Screener, unasked
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.conversion import state_of
from matgen.structures.files import Found, digest, read
from matgen.targets.target import Target
from matgen.templates.batch import Template, TemplateBatch
from matgen.templates.symmetry import NoTemplateError

LARGEST = 500
"""Atoms as given beyond which a structure is not judged at all: it would hold up thousands of others."""

BATCH = 32
"""Structures that the networks read at once; more gain nothing on a core."""


def screener_of(config: ScreenConfig) -> Screener:
    """Who judges structures of the kind that a configuration names."""
    return CrystalScreener(config) if config.kind == "crystal" else MoleculeScreener(config)


def check_files(config: ScreenConfig) -> None:
    """Load what every worker will load, so that what is wrong with it is told before any work is done.

    Raises:
        UserError: a file that is missing, damaged, or does not belong to the others.
    """
    screener_of(config).check_files()


def assess(chunk: Sequence[Found], config: ScreenConfig) -> list[Row]:
    """The row of each structure of a chunk, in order, without what only all of them together tell."""
    screener = screener_of(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what packages say of the inputs of others is in the verdicts
        rows = [_read(found, config, screener) for found in chunk]
        if config.relax != NONE:
            rows = screener.relaxed(rows)
        rows = _predicted(rows, config, screener)
        if config.reference != NONE:
            rows = screener.weighed(rows)
        return [row if config.known == NONE else screener.compared(row) for row in rows]


def _read(found: Found, config: ScreenConfig, screener: Screener) -> Row:
    """A row with all verdicts that cost nothing."""
    entry = read(found, config.kind)
    row = Row(entry.name, entry.path, entry.index, digest(found), entry.error)
    if entry.structure is None:
        return row
    n_atoms = len(entry.structure)
    if n_atoms > LARGEST:
        counted = f"{n_atoms} atoms{' in the cell' if config.kind == 'crystal' else ''}"
        return replace(row, n_atoms=n_atoms, error=f"{counted}; more than {LARGEST} are not judged")
    candidate = screener.candidate(entry.name, entry.structure, entry.template)
    said = f"read from its file; {entry.note}" if entry.note else "read from its file"
    readable = Verdict("reads", passed=True, value=float(n_atoms), unit="atoms", reason=said)
    return screener.checked(replace(row, n_atoms=n_atoms, candidate=candidate).told(readable))


# ---------------------------------------------------------------- networks


def _predicted(rows: list[Row], config: ScreenConfig, screener: Screener) -> list[Row]:
    """Rows with the graph energy, the properties by guide and judge, and what follows from them."""
    templates: dict[int, Template] = {}
    for index, row in enumerate(rows):
        if row.candidate is None:
            continue
        why = screener.unfit(row.candidate) or screener.out_of_scope(row.candidate)
        if not why:
            try:
                templates[index] = screener.template(row.candidate)
            except NoTemplateError as error:
                why = f"{error}, which the models need"
        if why:
            rows[index] = row.told(unasked("in_domain", "", why))
    indices = list(templates)
    for start in range(0, len(indices), BATCH):
        part = indices[start : start + BATCH]
        read_rows = _opinions([rows[i] for i in part], [templates[i] for i in part], screener, config.targets)
        for index, row in zip(part, read_rows, strict=True):
            rows[index] = row
    return [_aimed(row, config) for row in rows]


@torch.no_grad()
def _opinions(rows: list[Row], templates: list[Template], screener: Screener, targets: Sequence[Target]) -> list[Row]:
    """What the networks say, all rows in one batch."""
    candidates = [row.candidate for row in rows if row.candidate is not None]
    state = state_of([candidate.structure for candidate in candidates], templates=templates)
    guided, energies = screener.predictor().read(TemplateBatch.of(templates), state)
    judged = screener.evaluator()(state, torch.zeros(len(rows)))
    found = as_predictions(guided, targets), as_predictions({name: judged[name] for name in guided}, targets)
    told_rows = []
    for i, (row, candidate, template, energy) in enumerate(
        zip(rows, candidates, templates, energies.tolist(), strict=True)
    ):
        predicted = found[0][i] | {f"{EVALUATOR}{name}": prediction for name, prediction in found[1][i].items()}
        full = replace(candidate, template=str(template), energies={DENSITY_ENERGY: energy}, properties=predicted)
        told_rows.append(replace(row, candidate=full).told(screener.in_domain(full, energy)))
    return told_rows


def _aimed(row: Row, config: ScreenConfig) -> Row:
    """With the verdicts on wishes, by guide and by judge."""
    candidate: Candidate | None = row.candidate
    if candidate is None:
        return row
    targets = [
        (f"{prefix}{name}", target) for name, target in config.target_intervals.items() for prefix in ("", EVALUATOR)
    ]
    return row.told(*(target_met(candidate, name, target) for name, target in targets))
