"""Structures in, rows out: what one worker does with one chunk.

Cheap checks come first; where atoms overlap, or a molecule has lost its graph, no model is asked, since what it would
say means nothing. The networks read many structures at once. Whatever a structure lacks is said in its row, and nothing
is guessed: predictions are made for what the models may know. What differs between crystals and molecules is their
`Referee`'s business.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch

from matgen.candidate import Candidate, Verdict
from matgen.energies.property import Target
from matgen.guide import JUDGE, as_predictions
from matgen.io import state_of
from matgen.screening.config import NONE, ScreenConfig
from matgen.screening.crystals import CrystalReferee
from matgen.screening.molecules import MoleculeReferee
from matgen.screening.referee import Referee, unasked
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.structure_files import Found, digest, read
from matgen.templates.batch import Template, TemplateBatch
from matgen.templates.symmetry import NoTemplateError
from matgen.validation.checks import target_met

LARGEST = 500
"""Atoms as given beyond which a structure is not judged at all: it would hold up thousands of others."""

BATCH = 32
"""Structures that the networks read at once; more gain nothing on a core."""


def referee_of(config: ScreenConfig) -> Referee:
    """Who judges structures of the kind that a configuration names."""
    return CrystalReferee(config) if config.kind == "crystal" else MoleculeReferee(config)


def check_files(config: ScreenConfig) -> None:
    """Load what every worker will load, so that what is wrong with it is told before any work is done.

    Raises:
        UserError: a file that is missing, damaged, or does not belong to the others.
    """
    referee_of(config).check_files()


def assess(chunk: Sequence[Found], config: ScreenConfig) -> list[Row]:
    """The row of each structure of a chunk, in order, without what only all of them together tell."""
    referee = referee_of(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what packages say of the inputs of others is in the verdicts
        rows = [_read(found, config, referee) for found in chunk]
        if config.relax != NONE:
            rows = referee.relaxed(rows)
        rows = _predicted(rows, config, referee)
        if config.reference != NONE:
            rows = referee.weighed(rows)
        return [row if config.known == NONE else referee.compared(row) for row in rows]


def _read(found: Found, config: ScreenConfig, referee: Referee) -> Row:
    """A row with all verdicts that cost nothing."""
    entry = read(found, config.kind)
    row = Row(entry.name, entry.path, entry.index, digest(found), entry.error)
    if entry.structure is None:
        return row
    n_atoms = len(entry.structure)
    if n_atoms > LARGEST:
        counted = f"{n_atoms} atoms{' in the cell' if config.kind == 'crystal' else ''}"
        return replace(row, n_atoms=n_atoms, error=f"{counted}; more than {LARGEST} are not judged")
    candidate = referee.candidate(entry.name, entry.structure, entry.template)
    said = f"read from its file; {entry.note}" if entry.note else "read from its file"
    readable = Verdict("reads", passed=True, value=float(n_atoms), unit="atoms", reason=said)
    return referee.checked(replace(row, n_atoms=n_atoms, candidate=candidate).told(readable))


# ---------------------------------------------------------------- networks


def _predicted(rows: list[Row], config: ScreenConfig, referee: Referee) -> list[Row]:
    """Rows with the graph energy, the properties by guide and judge, and what follows from them."""
    templates: dict[int, Template] = {}
    for index, row in enumerate(rows):
        if row.candidate is None:
            continue
        why = referee.unfit(row.candidate) or referee.out_of_scope(row.candidate)
        if not why:
            try:
                templates[index] = referee.template(row.candidate)
            except NoTemplateError as error:
                why = f"{error}, which the models need"
        if why:
            rows[index] = row.told(unasked("in_domain", "", why))
    indices = list(templates)
    for start in range(0, len(indices), BATCH):
        part = indices[start : start + BATCH]
        read_rows = _opinions([rows[i] for i in part], [templates[i] for i in part], referee, config.wishes)
        for index, row in zip(part, read_rows, strict=True):
            rows[index] = row
    return [_aimed(row, config) for row in rows]


@torch.no_grad()
def _opinions(rows: list[Row], templates: list[Template], referee: Referee, wishes: Sequence[Target]) -> list[Row]:
    """What the networks say, all rows in one batch."""
    candidates = [row.candidate for row in rows if row.candidate is not None]
    state = state_of([candidate.structure for candidate in candidates], templates=templates)
    guided, energies = referee.guide().read(TemplateBatch.of(templates), state)
    judged = referee.judge()(state, torch.zeros(len(rows)))
    found = as_predictions(guided, wishes), as_predictions({name: judged[name] for name in guided}, wishes)
    told_rows = []
    for i, (row, candidate, template, energy) in enumerate(
        zip(rows, candidates, templates, energies.tolist(), strict=True)
    ):
        predicted = found[0][i] | {f"{JUDGE}{name}": prediction for name, prediction in found[1][i].items()}
        full = replace(candidate, template=str(template), energies={DENSITY_ENERGY: energy}, properties=predicted)
        told_rows.append(replace(row, candidate=full).told(referee.in_domain(full, energy)))
    return told_rows


def _aimed(row: Row, config: ScreenConfig) -> Row:
    """With the verdicts on wishes, by guide and by judge."""
    candidate: Candidate | None = row.candidate
    if candidate is None:
        return row
    targets = [(f"{prefix}{name}", target) for name, target in config.targets.items() for prefix in ("", JUDGE)]
    return row.told(*(target_met(candidate, name, target) for name, target in targets))
