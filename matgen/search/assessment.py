"""Relaxation and assessment of proposals: relaxed, read by predictor and evaluator, compared with known structures."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import torch
from pymatgen.core.structure import Molecule, Structure

from matgen.checks.crystals import min_distance
from matgen.checks.molecules import graph_kept
from matgen.energies.property_target import StatePredictor
from matgen.generation.computed_predictions import computed_predictions
from matgen.generation.host_plan import DefectPlan
from matgen.generation.predictors import EVALUATOR, Predictor, as_predictions, by_graph_and_template, by_structure
from matgen.generation.request import Request
from matgen.hull.hull import ReferenceHull
from matgen.novelty.crystals import shipped_index
from matgen.novelty.molecules import shipped_molecules
from matgen.phonons.checks import with_lattice_checks
from matgen.relaxation.calculators import calculator_maker, calculator_of
from matgen.relaxation.pool import Relaxed, RelaxingPotential, processes_worth_starting, relax_many
from matgen.relaxation.stability import is_minimum
from matgen.relaxation.xtb import relax_molecules
from matgen.relaxation.xtb_properties import electronic, estimated_gap
from matgen.screening.hulls import hull_of
from matgen.screening.second_opinion import SecondOpinion
from matgen.search.host_assessment import host_assessment
from matgen.search.selection import CandidateChecks
from matgen.structures.candidate import Candidate, Material, Prediction, Relaxation, Verdict, kind_of
from matgen.structures.candidate_table import XTB_GAP
from matgen.structures.conversion import state_of
from matgen.structures.symmetry import space_group
from matgen.targets.properties import BY_NETWORK
from matgen.targets.target import Target
from matgen.templates.noise import CLEAN
from matgen.weights.files import weights_file
from matgen.weights.models import load
from matgen.weights.property_sets import with_heads
from matgen.weights.shipped import folder_of

M = TypeVar("M", Structure, Molecule)


class Assessment(Protocol):
    """The means to relax and assess candidates of one kind."""

    @property
    def candidate_checks(self) -> CandidateChecks:
        """The checks of the request."""
        ...

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Yield candidates with their final structure, in the order given."""
        ...

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Return the verdict that makes predictions meaningless, if there is one; models are not evaluated then."""
        ...

    def predicted(self, candidate: Candidate) -> dict[str, Prediction]:
        """Predict the properties of the final structure by predictor and evaluator.

        Raises:
            NoTemplateError: the symmetry of a crystal could not be found.
        """
        ...

    def afterwards(self, candidate: Candidate) -> Candidate:
        """Add advisory verdicts that are too expensive to compute for every proposal."""
        ...


@dataclass
class CrystalAssessment:
    """Crystals: relaxed by the potential of the request, compared with its hull, if it has one.

    Attributes:
        request: what is asked.
        predictor: of properties.
        evaluator: of properties.
        candidate_checks: of a relaxed candidate.
        hull: of the potential; None if there is none.
        potential: that relaxes; None if nothing does.
        second: second opinion on stability; None if none is asked for.
    """

    request: Request
    predictor: Predictor
    evaluator: StatePredictor
    candidate_checks: CandidateChecks
    hull: ReferenceHull | None = None
    potential: RelaxingPotential | None = None
    second: SecondOpinion | None = None

    @classmethod
    def of(cls, request: Request) -> "CrystalAssessment":
        """Make it with the shipped models and references.

        Raises:
            CalculatorError: a potential cannot be made.
            SecondOpinionError: none can be had of a potential.
        """
        relaxed = request.relaxer != "none"
        # Enthalpies at a pressure cannot be compared with the energies of the hull.
        calculator, second = request.relaxation.calculator, request.relaxation.second_opinion
        if relaxed:
            calculator_of(calculator)
        hull = hull_of(calculator) if relaxed and not request.relaxation.pressure else None
        opinion = SecondOpinion(second, request.selection.max_ehull) if second else None
        if opinion is not None:
            opinion.check()
        return cls(
            request,
            predictor=Predictor(
                _model("graph_energy", request), by_structure(_with_files("structure_properties", request))
            ),
            evaluator=_model("evaluator", request),
            candidate_checks=CandidateChecks.of(request, hull, shipped_index()),
            hull=hull,
            potential=RelaxingPotential(calculator, request.resources.device) if relaxed else None,
            second=opinion,
        )

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Yield candidates with their final structure, in the order given, whatever the number of processes."""
        if self.request.relaxer == "none":
            yield from candidates
            return
        initial_geometries = [candidate.crystal for candidate in candidates]
        limit = self.request.selection.max_ehull
        ceilings = None if self.hull is None else [self.hull.ceiling(s.composition, limit) for s in initial_geometries]
        results = relax_many(
            initial_geometries,
            calculator_maker(self.request.relaxation.calculator),
            config=self.request.relaxation.settings,
            n_jobs=processes_worth_starting(initial_geometries, self.request.resources.processes),
            ceilings=ceilings,
            device=self.request.resources.device,
        )
        for candidate, structure, report in _in_order(candidates, results):
            yield replace(candidate, structure=structure, space_group=space_group(structure), relaxation=report)

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Return the verdict on overlapping atoms."""
        contact = min_distance(candidate)
        return None if contact.passed else contact

    def predicted(self, candidate: Candidate) -> dict[str, Prediction]:
        """Predict by predictor and evaluator."""
        return _predicted(self.predictor, self.evaluator, candidate, self.request)

    def afterwards(self, candidate: Candidate) -> Candidate:
        """Add the second opinion, whether it relaxes back after random displacements, and phonons and elasticity."""
        if self.potential is None:
            return candidate
        if self.second is not None:
            verdict = self.second.verdict(candidate)
            candidate = replace(candidate, verdicts=candidate.verdicts | {verdict.name: verdict})
            if not verdict.passed:
                return candidate
        verdict = is_minimum(candidate, self.potential, self.request.relaxation.settings)
        candidate = replace(candidate, verdicts=candidate.verdicts | {verdict.name: verdict})
        asked, relaxation = self.request.selection.lattice_checks, self.request.relaxation
        if not asked:
            return candidate
        return with_lattice_checks(candidate, calculator_of(relaxation.calculator), asked, relaxation.pressure)


@dataclass
class MoleculeAssessment:
    """Molecules: relaxed by GFN2-xTB, which also estimates the gap."""

    request: Request
    predictor: Predictor
    evaluator: StatePredictor
    candidate_checks: CandidateChecks = field(init=False)

    def __post_init__(self) -> None:
        """Make the checks of the request."""
        self.candidate_checks = CandidateChecks.of_molecules(self.request, shipped_molecules())

    @classmethod
    def of(cls, request: Request) -> "MoleculeAssessment":
        """Make it with the shipped models and references."""
        graph, properties = _model("molecule_energy", request), _with_files("molecule_properties", request)
        return cls(
            request,
            predictor=Predictor(graph, by_graph_and_template(graph, properties)),
            evaluator=_model("molecule_evaluator", request),
        )

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Yield candidates at the minimum of GFN2-xTB, in the order given."""
        if self.request.relaxer == "none":
            yield from candidates
            return
        initial_geometries = [candidate.molecule for candidate in candidates]
        results = relax_molecules(initial_geometries, n_jobs=self.request.resources.processes)
        for candidate, molecule, report in _in_order(candidates, results):
            yield replace(candidate, structure=molecule, relaxation=report)

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Return the verdict on broken or new bonds."""
        kept = graph_kept(candidate)
        return None if kept.passed else kept

    def predicted(self, candidate: Candidate) -> dict[str, Prediction]:
        """Predict by predictor and evaluator, and the gap by GFN2-xTB."""
        gap, error = estimated_gap(electronic(candidate.molecule), candidate.molecule)
        predicted = _predicted(self.predictor, self.evaluator, candidate, self.request)
        return predicted | {XTB_GAP: Prediction(gap, error, "eV")}

    def afterwards(self, candidate: Candidate) -> Candidate:
        """Return the candidate unchanged."""
        return candidate


def assessment_of(request: Request) -> Assessment:
    """Make the assessment for the kind of a request.

    Raises:
        WeightsError: weights that are missing or damaged.
        HostError: a host that does not relax.
    """
    if request.kind == "molecule":
        return MoleculeAssessment.of(request)
    defects = isinstance(request.host_plan, DefectPlan)
    crystals = None if defects else CrystalAssessment.of(request)
    assessment = host_assessment(request, crystals) or crystals
    assert assessment is not None  # noqa: S101 (for mypy: point defects have an assessment of their own)
    return assessment


def _model(kind: str, request: Request) -> Any:
    """Load a network with the weights and on the device of a request."""
    return load(kind, weights_file(kind, folder_of(request.resources.weights))).to(request.resources.device)


def _with_files(kind: str, request: Request) -> Any:
    """Load an ensemble likewise, which also predicts the properties of the request's files."""
    return with_heads(_model(kind, request), kind, request.property_files, request.resources.device)


def _predicted(
    predictor: Predictor, evaluator: StatePredictor, candidate: Candidate, request: Request
) -> dict[str, Prediction]:
    predicted = predictor.of_structure(
        candidate.structure, candidate.template, request.property_targets, request.known_properties
    )
    evaluated = predictions(
        evaluator, candidate.structure, request.resources.device, candidate.template, request.property_targets
    )
    exact = computed_predictions(candidate.structure, request.property_targets)
    return predicted | {f"{EVALUATOR}{name}": prediction for name, prediction in evaluated.items()} | exact


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
    return as_predictions({name: predicted[name] for name in BY_NETWORK[kind_of(material)]}, targets)[0]


def _in_order(
    candidates: Sequence[Candidate], results: Iterable[Relaxed[M]]
) -> Iterator[tuple[Candidate, M, Relaxation]]:
    """Yield candidates with their results, in the order of the candidates."""
    waiting: dict[int, Relaxed[M]] = {}
    due = 0
    for result in results:
        waiting[result.index] = result
        while due in waiting:
            found = waiting.pop(due)
            yield candidates[due], found.structure, found.report
            due += 1
