"""Selection of candidates among proposals: checks and duplicates."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from matgen.checks.crystals import standard_checks
from matgen.checks.molecules import in_domain, molecule_checks
from matgen.checks.rules import coordination_kept, rules_kept
from matgen.checks.targets import Interval, target_met
from matgen.checks.verdicts import Check, survives, validate
from matgen.generation.acceptance import intervals, intervals_before_relaxation, least_confidence
from matgen.generation.constraints import CompositionConstraints
from matgen.generation.host_plan import HeldPlan
from matgen.generation.known_chemistry import KNOWN_CHEMISTRY, known_chemistry
from matgen.generation.predictors import EVALUATOR
from matgen.generation.request import Request
from matgen.hull.hull import ReferenceHull, hull_verdict
from matgen.novelty.crystals import POSSIBLE_MATCH, KnownIndex, novel_verdict
from matgen.novelty.molecules import KnownMolecules, novel_molecule
from matgen.relaxation.stability import IS_MINIMUM
from matgen.screening.hulls import no_hull
from matgen.screening.uniqueness import Uniqueness
from matgen.search.copies import NO_COPY, no_copy
from matgen.search.distinct import Distinct
from matgen.structures.candidate import Candidate, Verdict
from matgen.targets.properties import BY_NETWORK
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules

STRAIN = "strain"

PREFERENCES = "preferences"
"""Verdict on rules that had better hold; it decides nothing."""

CHECKED_BEFORE_RELAXATION = frozenset({"charge_balance", "novel", "rules", NO_COPY})
"""Checks besides targets that are made before a relaxation, which hardly changes their outcome."""


@dataclass(frozen=True)
class CandidateChecks:
    """The checks of one request, and which of them decide.

    Attributes:
        checks: by name, in the order in which they decide.
        advisory: names of those that are reported and decide nothing.
        targets: those on the targets by the predictor, whatever the probability.
    """

    checks: Mapping[str, Check]
    advisory: frozenset[str]
    targets: Mapping[str, Check] = field(default_factory=dict)

    @classmethod
    def of(
        cls, request: Request, hull: ReferenceHull | None = None, known: KnownIndex | None = None
    ) -> "CandidateChecks":
        """Make the standard checks of crystals, with the targets of a request.

        Args:
            request: of the run.
            hull: of known phases, if candidates are relaxed by its potential.
            known: crystals that are not novel; a possible form of a known crystal is not called novel either.
        """
        targets = intervals(request.property_targets)
        checked = _by_evaluator(targets, request)
        checks = standard_checks(
            targets,
            confidence=least_confidence(request),
            space_groups=request.symmetry.space_groups,
            p1=isinstance(request.host_plan, HeldPlan) and request.host_plan.held.template.space_group == 1,
            relaxed=request.relaxer != "none",
        )
        if request.relaxation.pressure:  # which compresses crystals below the volumes that are usual at none
            del checks["density"]
        checks |= _targets(checked)
        checks |= _rule_checks(request.composition)
        if hull is not None:
            checks["hull"] = partial(hull_verdict, hull=hull, limit=request.selection.max_ehull)
        elif request.relaxer != "none" and not request.relaxation.pressure:
            checks["hull"] = unjudged
        if known is not None:
            checks["novel"] = partial(novel_verdict, known=known, tolerance=POSSIBLE_MATCH)
        if request.examples:
            checks[NO_COPY] = partial(no_copy, examples=request.examples)
        advisory = {*(f"target_{name}" for name in checked), IS_MINIMUM, PREFERENCES}
        if hull is None:
            advisory.add("hull")
        if request.composition.formula:  # a named formula settles its charges, and may be known
            advisory |= {"charge_balance", "novel", KNOWN_CHEMISTRY}
            checks[KNOWN_CHEMISTRY] = known_chemistry
        if request.selection.allow_known:
            advisory.add("novel")
        if not (request.relaxation.settings.keep_symmetry or request.symmetry.space_groups):  # free to change
            advisory.add("symmetry")
        return cls(checks, frozenset(advisory), _targets(intervals_before_relaxation(request.property_targets)))

    @classmethod
    def of_molecules(cls, request: Request, known: KnownMolecules) -> "CandidateChecks":
        """Make the standard checks of molecules, with the targets of a request.

        Args:
            request: of the run.
            known: molecules that are not novel.
        """
        targets = intervals(request.property_targets)
        checked = _by_evaluator(targets, request)
        checks = molecule_checks(
            targets, confidence=least_confidence(request), relaxed=request.relaxer != "none"
        ) | _targets(checked)
        checks["rules"] = partial(keeps_rules, rules=request.molecule_rules)
        checks["novel"] = partial(_novel_graph, known=known)
        checks["in_domain"] = in_domain
        if request.examples:
            checks[NO_COPY] = partial(no_copy, examples=request.examples)
        advisory = {*(f"target_{name}" for name in checked), STRAIN, "in_domain"}
        if request.composition.formula or request.graph.smiles or request.selection.allow_known:
            advisory.add("novel")
        return cls(checks, frozenset(advisory), _targets(intervals_before_relaxation(request.property_targets)))

    def before_relaxing(self) -> dict[str, Check]:
        """Return the deciding checks that a relaxation hardly changes; it may change the probability of a target."""
        names = CHECKED_BEFORE_RELAXATION - self.advisory
        return dict(self.targets) | {name: check for name, check in self.checks.items() if name in names}

    def deciding_failure(self, verdicts: Mapping[str, Verdict]) -> str:
        """Return the name of the first failed check that decides; empty if there is none."""
        failed = (name for name, verdict in verdicts.items() if not verdict.passed and name not in self.advisory)
        return next(failed, "")


def _by_evaluator(targets: Mapping[str, Interval], request: Request) -> dict[str, Interval]:
    """Return the targets that the evaluator predicts too: not those of property files, or exact ones."""
    known = BY_NETWORK[request.kind]
    return {f"{EVALUATOR}{name}": target for name, target in targets.items() if name in known}


def _targets(targets: Mapping[str, Interval]) -> dict[str, Check]:
    return {f"target_{name}": partial(target_met, name=name, target=target) for name, target in targets.items()}


def unjudged(candidate: Candidate) -> Verdict:
    """Return the verdict on stability by a potential without a hull, which decides nothing."""
    potential = "the potential" if candidate.relaxation is None else candidate.relaxation.potential
    return Verdict("hull", passed=False, value=math.nan, unit="eV/atom", reason=no_hull(potential))


def _rule_checks(composition: CompositionConstraints) -> dict[str, Check]:
    """Return checks of the logical rules on crystals; those on coordination are made after relaxation, too."""
    checks: dict[str, Check] = {}
    if composition.statements:
        checks["rules"] = partial(rules_kept, rules=composition.statements)
    coordination = [rule for rule in composition.statements if rule.reads_coordination]
    if coordination:
        checks["coordination"] = partial(coordination_kept, rules=coordination)
    if composition.preferences:
        checks[PREFERENCES] = partial(coordination_kept, rules=composition.preferences, name=PREFERENCES)
    return checks


def keeps_rules(candidate: Candidate, rules: MoleculeRules) -> Verdict:
    """Check that the graph obeys the rules of the request."""
    fault = rules.why_not(MoleculeTemplate(candidate.template))
    return Verdict("rules", passed=not fault, value=math.nan, unit="", reason=fault or "obeys the rules of the request")


def _novel_graph(candidate: Candidate, known: KnownMolecules) -> Verdict:
    return novel_molecule(MoleculeTemplate(candidate.template), known)


def checked_before_relaxation(
    candidates: Iterable[Candidate], checks: Mapping[str, Check], unique: Uniqueness | Distinct
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
