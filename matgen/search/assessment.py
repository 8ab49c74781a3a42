"""What is done to a proposal of either kind before it is believed: relaxed, read by all predictors, compared."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from pymatgen.core.structure import Molecule, Structure

from matgen.checks.crystals import min_distance
from matgen.checks.molecules import graph_kept
from matgen.energies.property_target import StatePredictor
from matgen.generation.predictors import EVALUATOR, Predictor, by_graph_and_template, by_structure
from matgen.generation.request import Request
from matgen.hull.hull import ReferenceHull
from matgen.novelty.crystals import shipped_index
from matgen.novelty.molecules import shipped_molecules
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.pool import Relaxed, relax_many
from matgen.relaxation.stability import falls_back
from matgen.relaxation.xtb import GAP_ERROR, electronic, gap_from_levels, relax_molecules
from matgen.screening.row import XTB_GAP
from matgen.search.selection import Rulebook, SeenMolecules, Uniqueness, predictions
from matgen.structures.candidate import Candidate, Prediction, Relaxation, Verdict
from matgen.structures.symmetry import space_group
from matgen.weights.models import folder_of, load, weights_file

M = TypeVar("M", Structure, Molecule)


class Assessment(Protocol):
    """The means to relax and judge candidates of one kind."""

    @property
    def rulebook(self) -> Rulebook:
        """The checks of the request."""
        ...

    @property
    def another_try(self) -> bool:
        """Whether what failed may come again: equal proposals of another round have another geometry."""
        ...

    def uniqueness(self, known: Iterable[Candidate] = ()) -> Uniqueness:
        """Tells repetitions among candidates."""
        ...

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Candidates with their final structure, in the order given."""
        ...

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Why models need not be asked about a candidate, if so: what they said would mean nothing."""
        ...

    def opinions(self, candidate: Candidate) -> dict[str, Prediction]:
        """What the guiding models, and those that guided nothing, predict of the final structure.

        Raises:
            NoTemplateError: the symmetry of a crystal could not be found.
        """
        ...

    def afterwards(self, candidate: Candidate) -> Candidate:
        """With verdicts that decide nothing and cost too much to be asked of everyone."""
        ...


@dataclass
class CrystalAssessment:
    """Crystals: relaxed by CHGNet, judged against its hull."""

    request: Request
    predictor: Predictor
    evaluator: StatePredictor
    rulebook: Rulebook
    hull: ReferenceHull | None = None
    shaker: CHGNetSurface | None = None
    another_try: bool = False

    @classmethod
    def of(cls, request: Request) -> "CrystalAssessment":
        """With the models and references that ship."""
        relaxed = request.relaxer != "none"
        hull = ReferenceHull.load() if relaxed else None
        return cls(
            request,
            predictor=Predictor(_model("graph_energy", request), by_structure(_model("structure_properties", request))),
            evaluator=_model("evaluator", request),
            rulebook=Rulebook.of(request, hull, shipped_index()),
            hull=hull,
            shaker=CHGNetSurface() if relaxed else None,
        )

    def uniqueness(self, known: Iterable[Candidate] = ()) -> Uniqueness:
        """By `StructureMatcher`."""
        return Uniqueness(known)

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Candidates with their final structure, in the order given, however many are at work at once."""
        if self.request.relaxer == "none":
            yield from candidates
            return
        initial_geometries = [candidate.crystal for candidate in candidates]
        limit = self.request.max_ehull
        ceilings = None if self.hull is None else [self.hull.ceiling(s.composition, limit) for s in initial_geometries]
        results = relax_many(
            initial_geometries, config=self.request.relaxation, n_jobs=self.request.processes, ceilings=ceilings
        )
        for candidate, structure, report in _in_order(candidates, results):
            yield replace(candidate, structure=structure, space_group=space_group(structure), relaxation=report)

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Atoms on top of each other."""
        contact = min_distance(candidate)
        return None if contact.passed else contact

    def opinions(self, candidate: Candidate) -> dict[str, Prediction]:
        """The guide and the judge."""
        return _both(self.predictor, self.evaluator, candidate, self.request)

    def afterwards(self, candidate: Candidate) -> Candidate:
        """Whether it falls back when it is shaken."""
        if self.shaker is None:
            return candidate
        shaken = falls_back(candidate, self.shaker, self.request.relaxation)
        return replace(candidate, verdicts=candidate.verdicts | {shaken.name: shaken})


@dataclass
class MoleculeAssessment:
    """Molecules: relaxed by GFN2-xTB, which also has a word on the gap."""

    request: Request
    predictor: Predictor
    evaluator: StatePredictor
    rulebook: Rulebook = field(init=False)
    another_try: bool = True

    def __post_init__(self) -> None:
        """Make the rulebook."""
        self.rulebook = Rulebook.of_molecules(self.request, shipped_molecules())

    @classmethod
    def of(cls, request: Request) -> "MoleculeAssessment":
        """With the models and references that ship."""
        graph, properties = _model("molecule_energy", request), _model("molecule_properties", request)
        return cls(
            request,
            predictor=Predictor(graph, by_graph_and_template(graph, properties)),
            evaluator=_model("molecule_evaluator", request),
        )

    def uniqueness(self, known: Iterable[Candidate] = ()) -> Uniqueness:
        """By SMILES, hands included."""
        return Uniqueness(known, SeenMolecules())

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Candidates at the minimum of GFN2-xTB."""
        if self.request.relaxer == "none":
            yield from candidates
            return
        initial_geometries = [candidate.molecule for candidate in candidates]
        results = relax_molecules(initial_geometries, n_jobs=self.request.processes)
        for candidate, molecule, report in _in_order(candidates, results):
            yield replace(candidate, structure=molecule, relaxation=report)

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Bonds broken or made."""
        kept = graph_kept(candidate)
        return None if kept.passed else kept

    def opinions(self, candidate: Candidate) -> dict[str, Prediction]:
        """The guide, the judge, and the gap by xTB."""
        gap = gap_from_levels(electronic(candidate.molecule))
        return _both(self.predictor, self.evaluator, candidate, self.request) | {
            XTB_GAP: Prediction(gap, GAP_ERROR, "eV")
        }

    def afterwards(self, candidate: Candidate) -> Candidate:
        """Nothing more."""
        return candidate


def assessment_of(request: Request) -> Assessment:
    """The assay of the kind that a request asks for.

    Raises:
        WeightsError: weights that are missing or damaged.
    """
    return CrystalAssessment.of(request) if request.kind == "crystal" else MoleculeAssessment.of(request)


def _model(kind: str, request: Request) -> Any:
    """The network of a kind, of the weights and on the device of a request."""
    return load(kind, weights_file(kind, folder_of(request.weights))).to(request.device)


def _both(
    predictor: Predictor, evaluator: StatePredictor, candidate: Candidate, request: Request
) -> dict[str, Prediction]:
    guided = predictor.of_structure(candidate.structure, candidate.template, request.targets)
    judged = predictions(evaluator, candidate.structure, request.device, candidate.template, request.targets)
    return guided | {f"{EVALUATOR}{name}": prediction for name, prediction in judged.items()}


def _in_order(
    candidates: Sequence[Candidate], results: Iterable[Relaxed[M]]
) -> Iterator[tuple[Candidate, M, Relaxation]]:
    """Results beside their candidates, in the order of these."""
    waiting: dict[int, Relaxed[M]] = {}
    due = 0
    for result in results:
        waiting[result.index] = result
        while due in waiting:
            found = waiting.pop(due)
            yield candidates[due], found.structure, found.report
            due += 1
