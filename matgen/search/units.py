"""Units of work: proposals of one seed, relaxed, predicted and checked.

A unit depends on the request, the seed and its number only, so that units can be made anywhere and in any order. All
that depends on other units is decided by `matgen.search.search`.
"""

import math
import time
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Lock

import torch
from pymatgen.core.structure import Structure

from matgen.checks.verdicts import validate
from matgen.generation.generate import generate
from matgen.generation.host_plan import HeldPlan
from matgen.generation.kinds import kind_of_request
from matgen.generation.kinds.base import Kind
from matgen.generation.propose import units_of_list
from matgen.generation.rank import Proposed
from matgen.generation.request import Request
from matgen.generation.trajectory import Frame, Recorded
from matgen.runtime.failures import guarded
from matgen.runtime.progress import Report, Silence
from matgen.runtime.threads import threads
from matgen.screening.uniqueness import Uniqueness
from matgen.search.assessment import Assessment, assessment_of
from matgen.search.distinct import Distinct, uniqueness_of
from matgen.search.host_assessment import DefectAssessment
from matgen.search.recording import relaxation_frames, trajectory_text
from matgen.search.selection import checked_before_relaxation
from matgen.search.unit_format import Passed, Unit, rejected_record
from matgen.search.variety import likeness_and_family
from matgen.structures.candidate import Candidate, NearestExample, Verdict
from matgen.structures.kind_formats import KIND_FORMATS
from matgen.structures.record import Record
from matgen.structures.symmetry import space_group
from matgen.structures.trajectory_files import TRAJECTORY
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.symmetry import NoTemplateError

MOST_AT_ONCE = 5
"""Candidates that a unit proposes for, where so many are wanted."""

STRIDE = 1_000_003
"""Between the seeds of units, so that neighbouring seeds share no unit."""

ASSESSED = "assessed"
"""Verdict on a proposal whose assessment raised an exception."""

_ALONE = Lock()
"""Held while a unit is made: the threads of a worker process make one at a time."""


def size_of_unit(request: Request) -> int:
    """Return the number of candidates that each unit proposes for; how many are to be verified does not change it."""
    return min(MOST_AT_ONCE, request.updated(verify=0).wanted)


def units_per_round(request: Request) -> int:
    """Return the number of units that propose for all wanted candidates once."""
    return -(-request.updated(verify=0).wanted // size_of_unit(request))


def most_units(request: Request) -> int:
    """Return the number of units after which there are no more: all rounds, or all that is listed."""
    units = request.search.rounds * units_per_round(request)
    if not request.possible:
        return units
    size = size_of_unit(request)
    if isinstance(request.host_plan, HeldPlan):
        return min(units, units_of_list(request.updated(n=size, verify=0), request.possible))
    return min(units, -(-request.possible // size))


@dataclass
class UnitMaker:
    """Makes units of a request; it loads the models with the first one.

    Attributes:
        request: what is asked.
        report: receives the progress of every stage of a unit.
    """

    request: Request
    report: Report = field(default_factory=Silence)
    _frames: dict[str, list[Frame]] = field(default_factory=dict, init=False)

    @cached_property
    def kind(self) -> Kind:
        """What proposes."""
        return kind_of_request(self.request.updated(n=size_of_unit(self.request)))

    @cached_property
    def assessment(self) -> Assessment:
        """What relaxes and checks, in this process."""
        return assessment_of(self.request.updated(processes=1))

    def __call__(self, number: int) -> str:
        """Return the text of a unit."""
        with _ALONE, threads(self.request.resources.threads):
            return self.made(number).text

    def made(self, number: int) -> Unit:
        """Make a unit."""
        assessment = self.assessment
        _ = None if isinstance(assessment, DefectAssessment) else self.kind
        clock, started = UnitClock(self.report), time.process_time()
        proposals = self._proposals(number, clock)
        records = self.assessed(proposals, clock)
        clock.stop()
        return Unit(number, clock.seconds, records, round(time.process_time() - started, 3))

    def _proposals(self, number: int, report: Report) -> list[Candidate]:
        """Return the proposals of a unit, best first."""
        if isinstance(self.assessment, DefectAssessment):
            return self.assessment.proposals(number, size_of_unit(self.request))
        kind = self.kind
        generator = torch.Generator().manual_seed((self.request.search.seed + number * STRIDE) % 2**63)
        recorder = Recorded() if self.request.search.record else None
        proposed = generate(kind.request, kind, generator, report, number, recorder)
        found = [as_candidate(one, number, rank) for rank, one in enumerate(proposed)]
        if recorder is not None:
            self._frames = {one.name: recorder.frames(of.row) for one, of in zip(found, proposed, strict=True)}
        return found

    def assessed(self, proposals: list[Candidate], report: Report) -> list[Record]:
        """Relax and check proposals, best first; return the record of each."""
        checks = self.assessment.candidate_checks
        report("relax and check", 0, len(proposals))
        kept, dropped = checked_before_relaxation(proposals, checks.before_relaxing(), uniqueness_of(self.request))
        records = {one.name: rejected_record(one, checks.deciding_failure(one.verdicts)) for one in dropped}
        unique = uniqueness_of(self.request)
        for relaxed in self.assessment.relaxed(kept):
            records[relaxed.name] = guarded(partial(self._checked, unique=unique), relaxed, _unassessed)
            report("relax and check", len(records), len(proposals))
        return [records[one.name] for one in proposals]

    def _checked(self, candidate: Candidate, unique: Uniqueness | Distinct) -> Record:
        """Predict and check a relaxed proposal; `unique` holds those of the unit that pass."""
        checks = self.assessment.candidate_checks
        unfit = self.assessment.unfit(candidate)
        if unfit is not None:
            return rejected_record(replace(candidate, verdicts={unfit.name: unfit}), unfit.name)
        try:
            candidate = replace(candidate, properties=self.assessment.predicted(candidate))
        except NoTemplateError as error:
            unseen = Verdict("symmetry", passed=False, value=math.nan, unit="", reason=str(error))
            return rejected_record(replace(candidate, verdicts={unseen.name: unseen}), unseen.name)
        verdicts = validate(candidate, checks.checks)
        failed = checks.deciding_failure(verdicts)
        if not failed:
            verdicts["unique"] = unique.verdict(candidate)
            failed = checks.deciding_failure(verdicts)
        candidate = replace(candidate, verdicts=verdicts)
        if failed:
            return rejected_record(candidate, failed)
        candidate = self.assessment.afterwards(candidate)
        failed = checks.deciding_failure(candidate.verdicts)
        return rejected_record(candidate, failed) if failed else passed(self._with_trajectory(candidate)).record()

    def _with_trajectory(self, candidate: Candidate) -> Candidate:
        """Return a candidate with the geometries on the way to it, where they are recorded."""
        sampled = self._frames.get(candidate.name)
        if not sampled:
            return candidate
        relaxed = relaxation_frames(candidate, self.request.relaxation, self.request.resources.device)
        return replace(candidate, files={**candidate.files, TRAJECTORY: trajectory_text(sampled, relaxed)})


def _unassessed(candidate: Candidate, reason: str) -> Record:
    """Return the record of a proposal whose assessment raised an exception."""
    verdict = Verdict(ASSESSED, passed=False, value=math.nan, unit="", reason=reason)
    return rejected_record(replace(candidate, verdicts={**candidate.verdicts, ASSESSED: verdict}), ASSESSED)


def passed(candidate: Candidate) -> Passed:
    """Analyse the structure of a proposal that passes every check of its own."""
    text, verdict = KIND_FORMATS[candidate.kind].text(candidate)
    return Passed(candidate, *likeness_and_family(candidate), (text, verdict))


class UnitClock:
    """Forwards progress reports, and measures each stage.

    Args:
        report: receives them.

    Attributes:
        seconds: wall time of each stage that ended.
    """

    def __init__(self, report: Report) -> None:
        self.seconds: dict[str, float] = {}
        self._report, self._stage, self._since = report, "", 0.0

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Forward a report."""
        if stage != self._stage:
            self.stop()
            self._stage, self._since = stage, time.perf_counter()
        self._report(stage, done, total, **counts)

    def stop(self) -> None:
        """End the current stage."""
        if self._stage:
            passed_by = time.perf_counter() - self._since
            self.seconds[self._stage] = round(self.seconds.get(self._stage, 0.0) + passed_by, 3)
        self._stage = ""


def as_candidate(proposed: Proposed, number: int, rank: int) -> Candidate:
    """Return a proposal of a unit as a candidate that is not relaxed."""
    return Candidate(
        name=f"{number}-{rank:03d}-{_formula(proposed)}",
        structure=proposed.structure,
        unrelaxed=proposed.structure,
        space_group=space_group(proposed.structure) if isinstance(proposed.structure, Structure) else None,
        template=str(proposed.template),
        seed=rank,
        energies=dict(proposed.energies),
        properties=dict(proposed.properties),
        nearest_example=None if proposed.nearest is None else NearestExample(*proposed.nearest),
    )


def _formula(proposed: Proposed) -> str:
    """Return the reduced formula of a crystal, or the Hill formula of a molecule."""
    if isinstance(proposed.template, MoleculeTemplate):
        return proposed.template.hill_formula
    return proposed.structure.composition.reduced_formula
