"""Log evidences of the templates of crystals of one formula."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matgen.chemistry.elements import SYMBOLS, reduced
from matgen.errors import UserError
from matgen.evaluation.evidence import Evidence, EvidenceConfig, evidence_of
from matgen.generation.formulas import parse_formula
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.request import Request
from matgen.runtime.progress import Report, Silence
from matgen.samplers.annealing import evaluations
from matgen.structures.conversion import described
from matgen.structures.files import Entry, read_structures
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import MAX_ATOMS
from matgen.templates.symmetry import NoTemplateError
from matgen.weights.models import load_models
from matgen.weights.shipped import folder_of


class EvidenceError(UserError, ValueError):
    """Crystals whose evidences cannot be computed or compared."""


@dataclass(frozen=True)
class Compared:
    """The evidence of one crystal's template.

    Attributes:
        name: of the crystal.
        evidence: of its template.
        note: what of its file was read otherwise than written; empty if nothing was.
    """

    name: str
    evidence: Evidence
    note: str = ""


def run(
    paths: Iterable[Path],
    formula: str,
    config: EvidenceConfig | None = None,
    *,
    report: Report | None = None,
    **options: Any,
) -> list[Compared]:
    """Return the evidences of the templates of crystals, in the order of the files.

    All files are read and checked before anything is computed. Every template has random numbers of the same seed, so
    that the result of a crystal does not depend on the others.

    Args:
        paths: files, folders and zips of crystals.
        formula: of all of them, in any number of formula units.
        config: effort of the annealing; the defaults if left out.
        report: hears the progress.
        **options: of `Request`, which defines the energy: `weights`, `device`, `sampler`, `energies`, `pressure`.

    Raises:
        EvidenceError: a crystal cannot be read, has another formula, is too large, or has no symmetry.
        RequestError, UnknownElementError: the formula cannot be read.
    """
    config, report = config or EvidenceConfig(), report or Silence()
    request = Request.of(formula=formula, **options)
    wanted = reduced(parse_formula(formula))
    entries = list(read_structures(paths))
    templates = [(entry.name, _template(entry, formula, wanted)) for entry in entries]
    if not templates:
        raise EvidenceError("expected crystals, got none; name their files")
    resources = request.resources
    kind = Crystals(request, load_models(resources.device, folder_of(resources.weights)))
    _check_possible(templates, kind)
    request.terms.to(kind.device)
    of_each = evaluations(config.levels, config.steps)
    found: list[Compared] = []
    for entry, (name, template) in zip(entries, templates, strict=True):

        def progress(done: int, before: int = len(found) * of_each) -> None:
            report("anneal", before + done, len(templates) * of_each)

        found.append(Compared(name, evidence_of(template, request, kind, config, progress), entry.note))
    return found


def records(found: Sequence[Compared]) -> Iterator[dict[str, Any]]:
    """Yield the results as JSON types, with the difference of each to the first and its error."""
    for one in found:
        difference, error = difference_to(one.evidence, found[0].evidence)
        plain = asdict(one.evidence) | {
            "occam": one.evidence.occam,
            "log_evidence": one.evidence.log_evidence,
            "converged": one.evidence.converged,
            "difference": difference,
            "difference_error": error,
        }
        finite = {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in plain.items()}
        yield {"name": one.name, "note": one.note} | finite


def difference_to(one: Evidence, other: Evidence) -> tuple[float, float]:
    """Return the difference of two log evidences, nats, and its standard error; both zero for the same template.

    Estimates of one template have the same random numbers, and are one estimate.
    """
    if one == other:
        return 0.0, 0.0
    return one.log_evidence - other.log_evidence, math.hypot(one.error, other.error)


def _template(entry: Entry, formula: str, wanted: tuple[tuple[int, int], ...]) -> CrystalTemplate:
    """Return the template of a crystal of the formula."""
    crystal = entry.crystal
    if crystal is None:
        raise EvidenceError(f"cannot read {entry.name}: {entry.error}; correct the file, or leave it out")
    if not crystal.is_ordered:
        raise EvidenceError(f"expected an ordered crystal, got partly occupied sites in {entry.name}; leave it out")
    amounts = crystal.composition.element_composition.get_el_amt_dict()
    known = set(amounts) <= set(SYMBOLS)
    if not known or reduced({SYMBOLS.index(symbol): round(n) for symbol, n in amounts.items()}) != wanted:
        got = crystal.composition.reduced_formula
        raise EvidenceError(f"expected crystals of {formula}, got {got} in {entry.name}; give one formula a time")
    try:
        template, _ = described(crystal)
    except NoTemplateError as error:
        raise EvidenceError(f"expected a crystal with symmetry, got {entry.name}: {error}; leave it out") from error
    n_atoms = int(TemplateBatch.of([template]).n_atoms[0])
    if n_atoms > MAX_ATOMS:
        raise EvidenceError(
            f"expected at most {MAX_ATOMS} atoms in the primitive cell, which the models know, got {n_atoms} in "
            f"{entry.name}; leave it out"
        )
    return template


def _check_possible(templates: Sequence[tuple[str, CrystalTemplate]], kind: Crystals) -> None:
    """Check that the prior gives every template a probability, before any is annealed."""
    energies = kind.prior()(TemplateBatch.of([template for _, template in templates]).to(kind.device))
    for (name, template), energy in zip(templates, energies.tolist(), strict=True):
        if not math.isfinite(energy):
            raise EvidenceError(f"expected a template that the prior allows, got {template} of {name}; leave it out")
