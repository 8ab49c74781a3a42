"""Proposals of any method, screened, relaxed, evaluated and recorded, until the budget is spent.

One process, one thread. The CPU time of this process for generating, screening, relaxing and evaluating counts; loading
of models, tables and modules does not, for any method.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator
from pymatgen.core import Structure

from baselines.proposals import GAP_TOLERANCE, Proposal, Proposals, Setting, Source
from matgen.checks.contacts import closest_contact
from matgen.checks.pair_distances import OF_RADII
from matgen.chemistry.charges import is_valid
from matgen.generation.predictors import Predictor, by_structure
from matgen.hull.hull import ReferenceHull, UnknownChemistryError, is_stable
from matgen.nn.ensemble import Ensemble
from matgen.novelty.crystals import KnownIndex
from matgen.novelty.duplicates import SeenStructures
from matgen.novelty.fingerprint import NoFingerprintError
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.symmetric import relax
from matgen.search.assessment import predictions
from matgen.structures.candidate import Relaxation
from matgen.structures.symmetry import space_group
from matgen.templates.symmetry import NoTemplateError
from matgen.weights.models import load
from shared.crystals import known_crystals, shipped
from shared.measurement import read_lines

MAX_EHULL = 0.1
"""Energy above the hull of a stable crystal at most, eV/atom; implausibly far below it is not stable either."""

TOGETHER = 16
"""Proposals that are relaxed together."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Tools:
    """Potential, hull, known structures and models that evaluate proposals, loaded once.

    Attributes:
        surface: potential for relaxations in free parameters.
        calculator: potential for structures without a template.
        hull: hull of the known phases by the same potential.
        known: known structures.
        predictor: property model that every method may use before relaxation.
        evaluator: independent property model, whose gap counts.
    """

    surface: CHGNetSurface
    calculator: Calculator
    hull: ReferenceHull
    known: KnownIndex
    predictor: Predictor
    evaluator: Ensemble

    @classmethod
    def loaded(cls, data: Path) -> "Tools":
        """Return the shipped tools, with the known structures of the training tables in a folder."""
        models = shipped()
        return cls(
            CHGNetSurface(),
            chgnet_calculator(),
            ReferenceHull.load(),
            known_crystals(data),
            Predictor(models.graph, by_structure(models.structures)),
            load("evaluator"),
        )

    @property
    def potential(self) -> str:
        """Name and version."""
        return self.surface.name


@dataclass
class Race:
    """The run of one method, continued from its file.

    Attributes:
        setting: setting of the comparison.
        tools: what evaluates the proposals.
        file: records, one JSON object per line.
        config: criteria of the relaxations.
        records: records so far.
        proposals: structures seen before relaxation.
        finished: stable structures seen after relaxation.
    """

    setting: Setting
    tools: Tools
    file: Path
    config: RelaxConfig = field(default_factory=RelaxConfig)
    records: list[Record] = field(default_factory=list)
    proposals: SeenStructures = field(default_factory=SeenStructures)
    finished: SeenStructures = field(default_factory=SeenStructures)

    def __post_init__(self) -> None:
        """Read the records of an earlier call."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.records = read_lines(self.file)
        for record in self.records:
            _met(self.proposals, Structure.from_dict(record["proposed"]))
            if record.get("stable"):
                _met(self.finished, Structure.from_dict(record["relaxed"]))

    @property
    def spent(self) -> float:
        """CPU seconds so far."""
        return sum(map(cpu_seconds, self.records))

    def run(self, source: Source, budget: float, tell: Callable[[Record, float], None] = lambda *_: None) -> None:
        """Process proposals until the budget (CPU seconds) is spent; `tell` receives each record and the time."""
        number, done = (self.records[-1]["round"], self.records[-1]["index"]) if self.records else (0, -1)
        spent = sum(map(cpu_seconds, self.records))
        proposals = Proposals(source, number)
        while spent < budget:
            waiting: list[tuple[Record, Structure]] = []
            while sum(not record["objection"] for record, _ in waiting) < TOGETHER:
                proposal = next(proposals)
                if proposal.round == number and proposal.index <= done:
                    continue  # repeated after an interrupt; its time is counted already
                waiting.append((self._screened(proposal), proposal.structure))
                if spent + sum(cpu_seconds(record) for record, _ in waiting) >= budget:
                    break
            for record in self._completed(waiting):
                spent += cpu_seconds(record)
                tell(record, spent)

    def _screened(self, proposal: Proposal) -> Record:
        """Return the record of a proposal before relaxation."""
        structure = proposal.structure
        record: Record = {
            "round": proposal.round,
            "index": proposal.index,
            "formula": structure.composition.reduced_formula,
            "n_atoms": len(structure),
            "space_group": space_group(structure).number,
            "contact": round(closest_contact(structure).ratio, 4),
            "generating": proposal.cpu_seconds,
        }
        clock = _Clock(record)
        with clock("screening"):
            record["objection"] = self._objection(proposal)
        record["proposed"] = _as_dict(structure)
        return record

    def _completed(self, waiting: list[tuple[Record, Structure]]) -> list[Record]:
        """Relax proposals without an objection together, evaluate them, and write all records in their order."""
        worth = [(record, structure) for record, structure in waiting if not record["objection"]]
        began = time.process_time()
        ends = relaxed([structure for _, structure in worth], self.tools, self.config)
        share = (time.process_time() - began) / max(len(worth), 1)
        for (record, _), (final, report) in zip(worth, ends, strict=True):
            record["relaxing"] = share
            with _Clock(record)("evaluating"):
                record.update(self._evaluated(final, report))
            record["relaxed"] = _as_dict(final)
        records = [record for record, _ in waiting]
        self.records += records
        with self.file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(record) + "\n" for record in records)
        return records

    def _objection(self, proposal: Proposal) -> str:
        """Return why a proposal is not relaxed, cheap checks first; the checks are the same for all methods."""
        structure = proposal.structure
        if not is_valid(structure.composition):
            return "charge"
        try:
            self.tools.hull.above_hull(structure.composition, 0.0, self.tools.potential)
        except UnknownChemistryError:
            return "no reference"
        if met := _met(self.proposals, structure):
            return met
        if self.setting.gap is not None:
            try:
                gap = self._predicted_gap(structure) if proposal.gap is None else proposal.gap
            except NoTemplateError:
                return "predictor"
            if abs(gap - self.setting.gap) > GAP_TOLERANCE:
                return "predictor"
        return "" if self._novel(structure) else "known"

    def _predicted_gap(self, structure: Structure) -> float:
        return float(self.tools.predictor.of_structure(structure)["band_gap"].value)

    def _novel(self, structure: Structure) -> bool:
        """Return whether no known crystal has the same fingerprint; a structure without one is not novel."""
        try:
            return self.tools.known.find(structure) is None
        except NoFingerprintError:
            return False

    def _evaluated(self, final: Structure, report: Relaxation) -> Record:
        """Return the verdicts on a relaxed structure; some are missing unless it is stable."""
        record: Record = {"converged": report.converged, "reason": report.reason, "steps": report.steps}
        record["valid"] = closest_contact(final).ratio >= OF_RADII
        if not (report.converged and record["valid"]):
            return record | {"stable": False, "sun": False}
        above = self.tools.hull.above_hull(final.composition, report.energy, self.tools.potential).above_hull
        record |= {"energy": report.energy, "above_hull": above, "stable": is_stable(above, MAX_EHULL)}
        if not record["stable"]:
            return record | {"sun": False}
        record["unique"] = not _met(self.finished, final)
        record["novel"] = self._novel(final)
        record["new_formula"] = not self.tools.known.formula_known(final.composition)
        record["sun"] = record["unique"] and record["novel"]
        record["gap"] = predictions(self.tools.evaluator, final)["band_gap"].value
        return record


def relaxed(structures: list[Structure], tools: Tools, config: RelaxConfig) -> list[tuple[Structure, Relaxation]]:
    """Relax structures together in free parameters, and with ASE those without a template."""
    rows = [(index, structure, math.inf) for index, structure in enumerate(structures)]
    ends = {index: (final, report) for index, final, report in relax_batch(rows, tools.surface, config)}
    return [
        ends[index] if index in ends else relax(structure, tools.calculator, config)
        for index, structure in enumerate(structures)
    ]


def _met(seen: SeenStructures, structure: Structure) -> str:
    """Remember a structure, and return why it is not new; empty if it is."""
    try:
        return "" if seen.add(structure) is None else "duplicate"
    except NoFingerprintError:
        return "no fingerprint"


class _Clock:
    """Records the CPU time of a block."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def __call__(self, name: str) -> "_Clock":
        self._name = name
        return self

    def __enter__(self) -> None:
        self._since = time.process_time()

    def __exit__(self, *_: object) -> None:
        self._record[self._name] = time.process_time() - self._since


def cpu_seconds(record: Record) -> float:
    """Return the CPU time of a proposal, from generation to evaluation."""
    return sum(record.get(name, 0.0) for name in ("generating", "screening", "relaxing", "evaluating"))


def within(records: list[Record], budget: float) -> Iterator[Record]:
    """Yield the records up to the one that exhausts the budget."""
    spent = 0.0
    for record in records:
        if spent >= budget:
            return
        spent += cpu_seconds(record)
        yield record


def _as_dict(structure: Structure) -> dict[str, Any]:
    return structure.as_dict(verbosity=0)
