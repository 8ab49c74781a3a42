"""Which proposals become candidates: checks, duplicates and a second opinion, every verdict kept."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import torch

from matgen.checks.crystals import Check, Interval, standard_checks, survives, target_met, validate
from matgen.checks.molecules import in_domain, molecule_checks
from matgen.energies.property_target import StatePredictor
from matgen.generation.predictors import EVALUATOR, as_predictions
from matgen.generation.request import Request, intervals, least_confidence
from matgen.hull.hull import ReferenceHull, hull_verdict
from matgen.novelty.crystals import DOUBT, KnownIndex, novel_verdict
from matgen.novelty.duplicates import SeenStructures
from matgen.novelty.fingerprint import NoFingerprintError
from matgen.novelty.molecules import KnownMolecules, novel_molecule
from matgen.relaxation.stability import FALLS_BACK
from matgen.structures.candidate import Candidate, Material, Prediction, Verdict, kind_of
from matgen.structures.conversion import state_of
from matgen.targets.properties import PROPERTIES_OF
from matgen.targets.target import Target
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.noise import CLEAN

STRAIN = "strain"

LASTING = frozenset({"charge_balance", "novel", "rules"})
"""Checks besides targets that are worth asking before a relaxation: who fails then will fail afterwards."""


@dataclass(frozen=True)
class Rulebook:
    """The checks of one request, and which of them decide.

    Attributes:
        checks: by name, cheap to dear.
        advisory: names of those that are reported and decide nothing.
        targets: those on the wishes by the guide, however sure it is.
    """

    checks: Mapping[str, Check]
    advisory: frozenset[str]
    targets: Mapping[str, Check] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, hull: ReferenceHull | None = None, known: KnownIndex | None = None) -> "Rulebook":
        """The usual checks, with the wishes of a request.

        Args:
            request: what is wanted.
            hull: of known phases, where candidates are relaxed by its potential.
            known: crystals that are not new; one that may be a form of a known one is not called new either.
        """
        targets = intervals(request.targets)
        checked = {f"{EVALUATOR}{name}": target for name, target in targets.items()}
        checks = standard_checks(
            targets,
            confidence=least_confidence(request),
            space_groups=request.space_groups,
            relaxed=request.relaxer != "none",
        )
        checks |= _targets(checked)
        if hull is not None:
            checks["hull"] = partial(hull_verdict, hull=hull, limit=request.max_ehull)
        if known is not None:
            checks["novel"] = partial(novel_verdict, known=known, tolerance=DOUBT)
        advisory = {*(f"target_{name}" for name in checked), FALLS_BACK}
        if request.formula:  # whoever names a formula has decided about its charges, and that it may be known
            advisory |= {"charge_balance", "novel"}
        if request.allow_known:
            advisory.add("novel")
        if not (request.relaxation.keep_symmetry or request.space_groups):  # it was let go
            advisory.add("symmetry")
        return cls(checks, frozenset(advisory), _targets(targets))

    @classmethod
    def of_molecules(cls, request: Request, known: KnownMolecules) -> "Rulebook":
        """The usual checks of molecules, with the wishes of a request.

        Args:
            request: what is wanted.
            known: molecules that are not new.
        """
        targets = intervals(request.targets)
        checked = {f"{EVALUATOR}{name}": target for name, target in targets.items()}
        checks = molecule_checks(
            targets, confidence=least_confidence(request), relaxed=request.relaxer != "none"
        ) | _targets(checked)
        checks["rules"] = partial(keeps_rules, rules=request.molecule_rules)
        checks["novel"] = partial(_novel_graph, known=known)
        checks["in_domain"] = in_domain
        advisory = {*(f"target_{name}" for name in checked), STRAIN, "in_domain"}
        if request.formula or request.smiles or request.allow_known:
            advisory.add("novel")
        return cls(checks, frozenset(advisory), _targets(targets))

    def before_relaxing(self) -> dict[str, Check]:
        """The deciding checks that a relaxation hardly changes; how sure a wish is of being met, it may."""
        lasting = {name: check for name, check in self.checks.items() if name in LASTING and name not in self.advisory}
        return dict(self.targets) | lasting

    def objection(self, verdicts: Mapping[str, Verdict]) -> str:
        """The first check that decides against a candidate; empty if none does."""
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
    """Every property of a crystal, or of a molecule whose graph is named, as a model on this device predicts it."""
    state = state_of([material], templates=[smiles]).to(device)
    with torch.no_grad():
        predicted = predictor(state, torch.tensor([CLEAN], device=device))
    return as_predictions({name: predicted[name] for name in PROPERTIES_OF[kind_of(material)]}, targets)[0]


def keeps_rules(candidate: Candidate, rules: MoleculeRules) -> Verdict:
    """The graph keeps the rules of the request."""
    fault = rules.why_not(MoleculeTemplate(candidate.template))
    return Verdict("rules", passed=not fault, value=math.nan, unit="", reason=fault or "keeps the rules of the request")


def _novel_graph(candidate: Candidate, known: KnownMolecules) -> Verdict:
    return novel_molecule(MoleculeTemplate(candidate.template), known)


def worthwhile(
    candidates: Iterable[Candidate], checks: Mapping[str, Check], unique: "Uniqueness"
) -> tuple[list[Candidate], list[Candidate]]:
    """Those worth relaxing, and the rest with the verdicts that speak against them.

    Args:
        candidates: best first.
        checks: that decide.
        unique: what was proposed before.
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


class Seen(Protocol):
    """Materials met so far, in the order in which they came."""

    def add(self, candidate: Candidate) -> int | None:
        """Remember one, and tell which earlier one it equals.

        Raises:
            NoFingerprintError: it cannot be compared.
        """
        ...


class SeenCrystals:
    """Equal if `StructureMatcher` says so."""

    def __init__(self) -> None:
        self._seen = SeenStructures()

    def add(self, candidate: Candidate) -> int | None:
        """Remember one, and tell which earlier one it equals."""
        return self._seen.add(candidate.crystal)


class SeenMolecules:
    """Equal if their graphs are, hands included."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._count = 0

    def add(self, candidate: Candidate) -> int | None:
        """Remember one, and tell which earlier one it equals."""
        first = self._first.setdefault(candidate.template, self._count)
        self._count += 1
        return None if first == self._count - 1 else first


class Uniqueness:
    """The structures met so far, by name; crystals unless told how to compare others."""

    def __init__(self, known: Iterable[Candidate] = (), seen: Seen | None = None) -> None:
        self._seen = seen or SeenCrystals()
        self._names: list[str] = []
        for candidate in known:
            self.verdict(candidate)

    def verdict(self, candidate: Candidate) -> Verdict:
        """Whether no earlier structure equals this one, which is remembered."""
        self._names.append(candidate.name)
        try:
            first = self._seen.add(candidate)
        except NoFingerprintError as error:
            reason = f"cannot be compared: {error}"
            return Verdict("unique", passed=False, value=math.nan, unit="", reason=reason)
        if first is None:
            return Verdict("unique", passed=True, value=0.0, unit="", reason="equals no better candidate of this run")
        return Verdict("unique", passed=False, value=1.0, unit="", reason=f"the same structure as {self._names[first]}")
