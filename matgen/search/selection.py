"""Selection of candidates among proposals: checks, duplicates, and predictions by the evaluator."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from matgen.checks.crystals import standard_checks
from matgen.checks.molecules import in_domain, molecule_checks
from matgen.checks.targets import Interval, target_met
from matgen.checks.verdicts import Check, survives, validate
from matgen.energies.property_target import StatePredictor
from matgen.generation.acceptance import intervals, least_confidence
from matgen.generation.predictors import EVALUATOR, as_predictions
from matgen.generation.request import Request
from matgen.hull.hull import ReferenceHull, hull_verdict
from matgen.novelty.crystals import POSSIBLE_MATCH, KnownIndex, novel_verdict
from matgen.novelty.molecules import KnownMolecules, novel_molecule
from matgen.relaxation.stability import FALLS_BACK
from matgen.screening.uniqueness import Uniqueness
from matgen.structures.candidate import Candidate, Material, Prediction, Verdict, kind_of
from matgen.structures.conversion import state_of
from matgen.targets.properties import PROPERTIES_OF
from matgen.targets.target import Target
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.noise import CLEAN

STRAIN = "strain"

LASTING = frozenset({"charge_balance", "novel", "rules"})
"""Checks besides targets that are made before a relaxation, which hardly changes their outcome."""


@dataclass(frozen=True)
class Rulebook:
    """The checks of one request, and which of them decide.

    Attributes:
        checks: by name, in ascending cost.
        advisory: names of those that are reported and decide nothing.
        targets: those on the targets by the predictor, whatever the probability.
    """

    checks: Mapping[str, Check]
    advisory: frozenset[str]
    targets: Mapping[str, Check] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, hull: ReferenceHull | None = None, known: KnownIndex | None = None) -> "Rulebook":
        """Make the standard checks of crystals, with the targets of a request.

        Args:
            request: of the run.
            hull: of known phases, if candidates are relaxed by its potential.
            known: crystals that are not novel; a possible form of a known crystal is not called novel either.
        """
        targets = intervals(request.property_targets)
        checked = {f"{EVALUATOR}{name}": target for name, target in targets.items()}
        checks = standard_checks(
            targets,
            confidence=least_confidence(request),
            space_groups=request.symmetry.space_groups,
            relaxed=request.relaxer != "none",
        )
        checks |= _targets(checked)
        if hull is not None:
            checks["hull"] = partial(hull_verdict, hull=hull, limit=request.selection.max_ehull)
        if known is not None:
            checks["novel"] = partial(novel_verdict, known=known, tolerance=POSSIBLE_MATCH)
        advisory = {*(f"target_{name}" for name in checked), FALLS_BACK}
        if request.composition.formula:  # a named formula settles its charges, and may be known
            advisory |= {"charge_balance", "novel"}
        if request.selection.allow_known:
            advisory.add("novel")
        if not (request.relaxation.settings.keep_symmetry or request.symmetry.space_groups):  # free to change
            advisory.add("symmetry")
        return cls(checks, frozenset(advisory), _targets(targets))

    @classmethod
    def of_molecules(cls, request: Request, known: KnownMolecules) -> "Rulebook":
        """Make the standard checks of molecules, with the targets of a request.

        Args:
            request: of the run.
            known: molecules that are not novel.
        """
        targets = intervals(request.property_targets)
        checked = {f"{EVALUATOR}{name}": target for name, target in targets.items()}
        checks = molecule_checks(
            targets, confidence=least_confidence(request), relaxed=request.relaxer != "none"
        ) | _targets(checked)
        checks["rules"] = partial(keeps_rules, rules=request.molecule_rules)
        checks["novel"] = partial(_novel_graph, known=known)
        checks["in_domain"] = in_domain
        advisory = {*(f"target_{name}" for name in checked), STRAIN, "in_domain"}
        if request.composition.formula or request.graph.smiles or request.selection.allow_known:
            advisory.add("novel")
        return cls(checks, frozenset(advisory), _targets(targets))

    def before_relaxing(self) -> dict[str, Check]:
        """Return the deciding checks that a relaxation hardly changes; it may change the probability of a target."""
        lasting = {name: check for name, check in self.checks.items() if name in LASTING and name not in self.advisory}
        return dict(self.targets) | lasting

    def objection(self, verdicts: Mapping[str, Verdict]) -> str:
        """Return the name of the first failed check that decides; empty if there is none."""
        failed = (name for name, verdict in verdicts.items() if not verdict.passed and name not in self.advisory)
        return next(failed, "")


def _targets(targets: Mapping[str, Interval]) -> dict[str, Check]:
    return {f"target_{name}": partial(target_met, name=name, target=target) for name, target in targets.items()}


def predictions(
    predictor: StatePredictor,
    material: Material,
    device: str = "cpu",
    smiles: str = "",
    targets: Iterable[Target] = (),
) -> dict[str, Prediction]:
    """Predict every property of a crystal, or of a molecule with its SMILES, by a model on a device."""
    state = state_of([material], templates=[smiles]).to(device)
    with torch.no_grad():
        predicted = predictor(state, torch.tensor([CLEAN], device=device))
    return as_predictions({name: predicted[name] for name in PROPERTIES_OF[kind_of(material)]}, targets)[0]


def keeps_rules(candidate: Candidate, rules: MoleculeRules) -> Verdict:
    """Check that the graph obeys the rules of the request."""
    fault = rules.why_not(MoleculeTemplate(candidate.template))
    return Verdict("rules", passed=not fault, value=math.nan, unit="", reason=fault or "obeys the rules of the request")


def _novel_graph(candidate: Candidate, known: KnownMolecules) -> Verdict:
    return novel_molecule(MoleculeTemplate(candidate.template), known)


def worthwhile(
    candidates: Iterable[Candidate], checks: Mapping[str, Check], unique: Uniqueness
) -> tuple[list[Candidate], list[Candidate]]:
    """Split candidates into those worth relaxing and the rest.

    Args:
        candidates: best first.
        checks: that decide.
        unique: earlier proposals.

    Returns:
        Those worth relaxing, and the rest with the verdicts that reject them.
    """
    kept: list[Candidate] = []
    dropped: list[Candidate] = []
    for candidate in candidates:
        verdicts = validate(candidate, checks)
        if survives(verdicts):
            verdicts["unique"] = unique.verdict(candidate)
        if survives(verdicts):
            kept.append(candidate)
        else:
            dropped.append(replace(candidate, verdicts=verdicts))
    return kept, dropped
