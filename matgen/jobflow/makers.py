"""Makers of jobs: dataclasses whose `make` returns a job of jobflow."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobflow.core.flow import Flow
from jobflow.core.job import Response, job
from jobflow.core.maker import Maker
from pymatgen.core.structure import Molecule, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

from matgen.errors import UserError
from matgen.first_principles.calculations import MoleculePlan, Plan
from matgen.first_principles.gpaw import FirstPrinciplesConfig
from matgen.first_principles.gpaw_interpreter import find_interpreter
from matgen.first_principles.subjects import kind_of_all, subjects_in_memory
from matgen.interchange.entries import entry_of, scheme_of
from matgen.interchange.item import Item, item_of, item_of_row, provenance_of
from matgen.jobflow.documents import DesignDocument, Material, RelaxDocument, ScreenDocument, VerifyDocument
from matgen.relaxation.calculators import calculator_maker, kept_calculator
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.symmetric import relax
from matgen.relaxation.xtb import relax_molecule
from matgen.runtime.config import from_mapping, to_mapping
from matgen.structures.candidate import Candidate, KindName, Relaxation
from matgen.structures.candidate_table import candidate_row
from matgen.structures.record import to_record
from matgen.structures.symmetry import space_group
from matgen.workflows.design import request_of
from matgen.workflows.design import run as run_design
from matgen.workflows.screen import screen
from matgen.workflows.verify import columns
from matgen.workflows.verify import run as run_verification


class NoEnergyError(UserError, RuntimeError):
    """A relaxation without a result."""


@dataclass
class DesignMaker(Maker):
    """Design crystals or molecules.

    Attributes:
        name: of the job.
        n: candidates wanted.
        seed: of all random numbers.
        kind: crystals or molecules.
        fast: leave the geometry to the relaxation.
        options: further ones of `matgen.design`, as JSON types: `{"band_gap": 1.5, "include": ["O"]}`.
        folder: that keeps the files of the run, relative to that of the job; empty to keep none.
    """

    name: str = "matgen design"
    n: int = 10
    seed: int = 0
    kind: KindName = "crystal"
    fast: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    folder: str = ""

    @job(output_schema=DesignDocument)
    def make(self) -> DesignDocument:
        """Return the job, whose output is a `DesignDocument`."""
        request = request_of(self.kind, fast=self.fast, n=self.n, seed=self.seed, **self.options)
        with _kept(self.folder) as folder:
            outcome = run_design(request, Path(folder))
            provenance = provenance_of(Path(folder))
        return DesignDocument(
            structures=[one.structure for one in outcome.candidates],
            entries=_entries(map(item_of, outcome.candidates), to_mapping(request.relaxation)),
            rows=[candidate_row(one) for one in outcome.candidates],
            candidates=[to_record(one) for one in outcome.candidates],
            reason=outcome.reason,
            provenance=provenance,
        )


@dataclass
class RelaxMaker(Maker):
    """Relax a crystal by an ASE calculator, with its symmetry kept, or a molecule by GFN2-xTB.

    In a flow of atomate2 it can stand where a maker is expected whose output has a `structure`.

    Attributes:
        name: of the job.
        calculator: of crystals: a name that `matgen potentials` lists, or `module:function`, a function that returns
            an ASE calculator.
        settings: of crystals, as in `matgen.relaxation.config.RelaxConfig`: `{"fmax": 0.01, "keep_symmetry": False}`.
    """

    name: str = "matgen relax"
    calculator: str = "chgnet"
    settings: dict[str, Any] = field(default_factory=dict)

    @job(output_schema=RelaxDocument)
    def make(self, structure: Material, prev_dir: str | Path | None = None) -> RelaxDocument:  # noqa: ARG002
        """Return the job, whose output is a `RelaxDocument`.

        Args:
            structure: crystal or molecule.
            prev_dir: of an earlier calculation, as flows of atomate2 pass it; a potential needs nothing of it.

        Raises:
            NoEnergyError: the structure cannot be relaxed; raised when the job runs.
        """
        final, report = self._relaxed(structure)
        if not math.isfinite(report.energy):
            raise NoEnergyError(f"expected a structure that relaxes, got {structure.formula}: {report.reason}")
        return RelaxDocument(
            structure=final,
            entry=_entry(final, report, self.calculator),
            energy=report.energy * len(final),
            energy_per_atom=report.energy,
            converged=report.converged,
            relaxation=asdict(report),
        )

    def _relaxed(self, structure: Material) -> tuple[Material, Relaxation]:
        if isinstance(structure, Molecule):
            return relax_molecule(structure)
        config = from_mapping(RelaxConfig, self.settings)
        return relax(structure, kept_calculator(calculator_maker(self.calculator)), config)


@dataclass
class ScreenMaker(Maker):
    """Check structures: valid, stable, novel, unique, on target?

    Attributes:
        name: of the job.
        options: of `matgen.screen`: `{"properties": {"band_gap": "1.2:1.8"}, "relax": "chgnet"}`.
        folder: that keeps the files of the run, relative to that of the job; empty to keep none.
    """

    name: str = "matgen screen"
    options: dict[str, Any] = field(default_factory=dict)
    folder: str = ""

    @job(output_schema=ScreenDocument)
    def make(self, structures: Sequence[Material]) -> ScreenDocument:
        """Return the job, whose output is a `ScreenDocument`.

        Args:
            structures: crystals, or molecules.
        """
        with _kept(self.folder) as folder:
            rows = screen(list(structures), out=folder, **self.options)
        ranked = sorted((row for row in rows if row.passed), key=lambda row: row.rank)
        items = [item for item in map(item_of_row, ranked) if item is not None]
        return ScreenDocument(
            structures=[item.candidate.structure for item in items],
            entries=_entries(items, self.options),
            passed=[item.name for item in items],
            rows=rows.table(),
        )


@dataclass
class VerifyMaker(Maker):
    """Calculate crystals by GPAW, or molecules by GFN2-xTB.

    Attributes:
        name: of the job.
        python: interpreter with GPAW; empty for the first that can import it, where the job runs.
        minutes: time limit of each crystal.
        jobs: parallel processes.
        settings: of GPAW, as in `matgen.first_principles.gpaw.FirstPrinciplesConfig`.
        folder: that keeps the files, relative to that of the job; empty to keep none.
    """

    name: str = "matgen verify"
    python: str = ""
    minutes: float = 10.0
    jobs: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    folder: str = ""

    @job(output_schema=VerifyDocument)
    def make(self, structures: Sequence[Material]) -> VerifyDocument:
        """Return the job, whose output is a `VerifyDocument`.

        Args:
            structures: crystals, or molecules.

        Raises:
            MissingGpawError: no interpreter has GPAW; raised when the job runs.
        """
        subjects = subjects_in_memory(structures)
        plan: Any = MoleculePlan(jobs=self.jobs)
        if kind_of_all(subjects) == "crystal":
            config = from_mapping(FirstPrinciplesConfig, self.settings)
            plan = Plan(find_interpreter(self.python or None), config, self.minutes, self.jobs)
        with _kept(self.folder) as folder:
            outcome = run_verification(subjects, subjects, Path(folder), plan)
        return VerifyDocument(
            structures=list(structures),
            results=[one.subject.row | columns(one.result) for one in outcome.verified],
            converged=outcome.converged,
            method=plan.method,
        )


@dataclass
class EachMaker(Maker):
    """Apply a maker to each of the structures that an earlier job gives, however many there are.

    Attributes:
        maker: whose `make` takes a structure: of matgen, of atomate2, or your own.
        name: of the job.
    """

    maker: Maker
    name: str = "each"

    @job
    def make(self, structures: Sequence[Material]) -> Response:
        """Return a job that is replaced by one job, or flow, for each structure; its output is the list of theirs.

        Args:
            structures: such as `design.output.structures`.
        """
        each = [self.maker.make(structure) for structure in structures]
        return Response(replace=Flow(each, output=[one.output for one in each], name=f"{self.name} of {len(each)}"))


def _kept(folder: str) -> AbstractContextManager[str]:
    """Return the folder to write to: one that stays, or a temporary one."""
    return nullcontext(folder) if folder else TemporaryDirectory()


def _entries(items: Iterable[Item], settings: Mapping[str, Any]) -> list[ComputedStructureEntry]:
    """Return the entries of crystals with an energy, with the corrections of the hull that the settings name."""
    some = [item for item in items if item.candidate.kind == "crystal" and math.isfinite(item.energy)]
    return [entry_of(item, scheme_of(settings)) for item in some]


def _entry(final: Material, report: Relaxation, calculator: str) -> ComputedStructureEntry | None:
    if not isinstance(final, Structure):
        return None
    candidate = Candidate(final.composition.reduced_formula, final, final, space_group(final), relaxation=report)
    return entry_of(item_of(candidate), scheme_of({"calculator": calculator}))
