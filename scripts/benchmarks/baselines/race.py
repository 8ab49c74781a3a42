"""The way of every proposal, whoever made it: looked at, relaxed, judged, noted on disk, until the budget is spent.

One process, one thread; what counts is the CPU time of this process for making, looking at, relaxing and judging.
Loading models, tables and modules is left out, alike for all.
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
from matgen.checks.crystals import MIN_CONTACT
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
from matgen.search.selection import predictions
from matgen.structures.candidate import Relaxation
from matgen.structures.symmetry import space_group
from matgen.templates.symmetry import NoTemplateError
from matgen.weights.models import load
from shared.crystals import known_crystals, shipped
from shared.measurement import read_lines

MAX_EHULL = 0.1
"""Stable is what lies at most so far above the hull, eV/atom, and not so far below it that the potential is doubted."""

TOGETHER = 16
"""Proposals that are relaxed side by side."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Judges:
    """Everything that looks at a proposal, loaded once.

    Attributes:
        surface: relaxes in free numbers.
        calculator: relaxes what those cannot tell.
        hull: of the known phases, by the same potential.
        known: structures.
        predictor: the property model that anybody may use before relaxing.
        evaluator: the one that guided nothing, and whose gap counts.
    """

    surface: CHGNetSurface
    calculator: Calculator
    hull: ReferenceHull
    known: KnownIndex
    predictor: Predictor
    evaluator: Ensemble

    @classmethod
    def loaded(cls, data: Path) -> "Judges":
        """Those that ship; known structures are those of the training tables in a folder."""
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
    """One method's run, gone on with where its file has lines.

    Attributes:
        setting: what it is about.
        judges: of everything.
        file: of records, one JSON object a line.
        config: when a relaxation is done, or given up.
        records: so far.
        proposals: structures seen before relaxation.
        finished: stable structures seen after it.
    """

    setting: Setting
    judges: Judges
    file: Path
    config: RelaxConfig = field(default_factory=RelaxConfig)
    records: list[Record] = field(default_factory=list)
    proposals: SeenStructures = field(default_factory=SeenStructures)
    finished: SeenStructures = field(default_factory=SeenStructures)

    def __post_init__(self) -> None:
        """Read what an earlier call left."""
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
        """Take proposals until so many CPU seconds are spent, and hand on each record with the seconds so far."""
        number, done = (self.records[-1]["round"], self.records[-1]["index"]) if self.records else (0, -1)
        spent = sum(map(cpu_seconds, self.records))
        proposals = Proposals(source, number)
        while spent < budget:
            waiting: list[tuple[Record, Structure]] = []
            while sum(not record["objection"] for record, _ in waiting) < TOGETHER:
                proposal = next(proposals)
                if proposal.round == number and proposal.index <= done:
                    continue  # made again after an interrupt; its time has been counted
                waiting.append((self._looked_at(proposal), proposal.structure))
                if spent + sum(cpu_seconds(record) for record, _ in waiting) >= budget:
                    break
            for record in self._settled(waiting):
                spent += cpu_seconds(record)
                tell(record, spent)

    def _looked_at(self, proposal: Proposal) -> Record:
        """What can be said of a proposal before it is relaxed."""
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

    def _settled(self, waiting: list[tuple[Record, Structure]]) -> list[Record]:
        """Relax together those without an objection, judge each, and put all records on disk in their order."""
        worth = [(record, structure) for record, structure in waiting if not record["objection"]]
        began = time.process_time()
        ends = relaxed([structure for _, structure in worth], self.judges, self.config)
        share = (time.process_time() - began) / max(len(worth), 1)
        for (record, _), (final, report) in zip(worth, ends, strict=True):
            record["relaxing"] = share
            with _Clock(record)("judging"):
                record.update(self._judged(final, report))
            record["relaxed"] = _as_dict(final)
        records = [record for record, _ in waiting]
        self.records += records
        with self.file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(record) + "\n" for record in records)
        return records

    def _objection(self, proposal: Proposal) -> str:
        """Why a proposal is not worth a relaxation: cheap questions first, the same for all methods."""
        structure = proposal.structure
        if not is_valid(structure.composition):
            return "charge"
        try:
            self.judges.hull.above_hull(structure.composition, 0.0, self.judges.potential)
        except UnknownChemistryError:
            return "no reference"
        if met := _met(self.proposals, structure):
            return met
        if self.setting.gap is not None:
            try:
                gap = self._guided(structure) if proposal.gap is None else proposal.gap
            except NoTemplateError:
                return "predictor"
            if abs(gap - self.setting.gap) > GAP_TOLERANCE:
                return "predictor"
        return "" if self._novel(structure) else "known"

    def _guided(self, structure: Structure) -> float:
        return float(self.judges.predictor.of_structure(structure)["band_gap"].value)

    def _novel(self, structure: Structure) -> bool:
        """Whether no known crystal has its fingerprint; what has none itself is not called novel."""
        try:
            return self.judges.known.find(structure) is None
        except NoFingerprintError:
            return False

    def _judged(self, final: Structure, report: Relaxation) -> Record:
        """Verdicts on a relaxed structure; those that only a stable one needs are missing for the others."""
        record: Record = {"converged": report.converged, "reason": report.reason, "steps": report.steps}
        record["valid"] = closest_contact(final).ratio >= MIN_CONTACT
        if not (report.converged and record["valid"]):
            return record | {"stable": False, "sun": False}
        above = self.judges.hull.above_hull(final.composition, report.energy, self.judges.potential).above_hull
        record |= {"energy": report.energy, "above_hull": above, "stable": is_stable(above, MAX_EHULL)}
        if not record["stable"]:
            return record | {"sun": False}
        record["unique"] = not _met(self.finished, final)
        record["novel"] = self._novel(final)
        record["new_formula"] = not self.judges.known.formula_known(final.composition)
        record["sun"] = record["unique"] and record["novel"]
        record["gap"] = predictions(self.judges.evaluator, final)["band_gap"].value
        return record


def relaxed(structures: list[Structure], judges: Judges, config: RelaxConfig) -> list[tuple[Structure, Relaxation]]:
    """Each structure relaxed, all side by side; by ASE those without a description in free numbers."""
    rows = [(index, structure, math.inf) for index, structure in enumerate(structures)]
    ends = {index: (final, report) for index, final, report in relax_batch(rows, judges.surface, config)}
    return [
        ends[index] if index in ends else relax(structure, judges.calculator, config)
        for index, structure in enumerate(structures)
    ]


def _met(seen: SeenStructures, structure: Structure) -> str:
    """Why a structure is none that is new to those seen, and remember it; empty if it is new."""
    try:
        return "" if seen.add(structure) is None else "duplicate"
    except NoFingerprintError:
        return "no fingerprint"


class _Clock:
    """Notes in a record how much CPU time a block took."""

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
    """All that a proposal took, from making it to judging it."""
    return sum(record.get(name, 0.0) for name in ("generating", "screening", "relaxing", "judging"))


def within(records: list[Record], budget: float) -> Iterator[Record]:
    """The records up to the one with which the budget was spent."""
    spent = 0.0
    for record in records:
        if spent >= budget:
            return
        spent += cpu_seconds(record)
        yield record


def _as_dict(structure: Structure) -> dict[str, Any]:
    return structure.as_dict(verbosity=0)
