"""From targets to candidates on disk: generate, relax best first, check, keep what passes, say why the rest fails."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matgen import __version__
from matgen.energies.base import Energy, TemplateEnergy
from matgen.generation.presets import preset_of
from matgen.generation.request import Request
from matgen.generation.request_checks import asked
from matgen.metrics.shares import shares_of_structures, training_shares
from matgen.runtime.at_work import NOTE
from matgen.runtime.config import to_mapping
from matgen.runtime.folder_lock import FolderLock
from matgen.runtime.parsl_workers import ParslWorkers
from matgen.runtime.progress import Report, Silence
from matgen.runtime.workers import Here, LocalProcesses, Workers
from matgen.search.ordered_units import OrderedUnits
from matgen.search.outcome import Outcome
from matgen.search.rejected import RejectedFile
from matgen.search.search import LONGEST_WAIT, Search
from matgen.search.units import UnitMaker
from matgen.search.verification import Verification
from matgen.structures.candidate import Candidate, KindName
from matgen.structures.export import CandidateWriter
from matgen.structures.run_folder import all_rounds, all_units
from matgen.structures.run_report import ADVICE, ResumeError, RunInfo
from matgen.weights.property_sets import hashes_of
from matgen.weights.shipped import folder_of, shipped_hashes
from matgen.workflows.folder_name import readable, short_hash

EFFORT = {
    "search": ("budget", "rounds", "record"),
    "resources": ("processes", "executor"),
    "verification": ("n", "minutes"),
}
"""Settings that may differ when the folder of a run is resumed: they do not make it another run.

`budget` and `rounds` say when the search ends; what fills up the number then stays in the folder. `processes` and
`executor` say who makes the units of work, which are decided on in the same order; `record` only watches. These change
neither samples nor decisions, except with `verification`: which candidates are refuted by when depends on the clock and
on its `minutes`.
Above `search.n`, `verification.n` also raises `Request.wanted`, and with it the limit on each Wyckoff layout.
"""

PARSL = "parsl"
"""Folder of Parsl's logs, in that of a run."""


def run(
    request: Request,
    folder: Path,
    *,
    report: Report | None = None,
    found: Callable[[Candidate], None] = lambda _: None,
    overwrite: bool = False,
) -> Outcome:
    """Find candidates and write them into a folder; an interrupted run in that folder is resumed.

    Args:
        request: what is asked.
        folder: will hold what `CandidateWriter` writes, `rejected.jsonl`, and the units of work.
        report: receives the progress of every stage.
        found: receives each candidate as soon as it is on disk, those of an interrupted run first.
        overwrite: replace another run in the folder.

    Raises:
        WeightsError: weights that are missing or damaged.
        OutputError: the folder cannot be written.
        ResumeError: the folder holds another run.
        ParslError, WorkerError: workers that cannot be started, or that die over every unit.
    """
    started = time.perf_counter()
    verification = Verification.of(request, folder)
    if not overwrite:
        _check_no_rounds(folder)
    workers = workers_of(request, folder, report or Silence())
    with (
        FolderLock(folder),
        CandidateWriter(folder, identity(request), kind=request.kind, overwrite=overwrite) as writer,
    ):
        if overwrite:
            for file in (folder / NOTE, RejectedFile(folder).path, *all_units(folder), *all_rounds(folder)):
                file.unlink(missing_ok=True)
        with verification or nullcontext():
            return searched(request, writer, workers, verification, report or Silence(), found, started)


def workers_of(request: Request, folder: Path, report: Report) -> Workers:
    """Return the workers that make the units of a run.

    Args:
        request: what is asked, and on what it runs.
        folder: of the run.
        report: hears the progress within a unit, if this process makes it.

    Raises:
        ParslError: Parsl is not installed, or its file defines no configuration.
        WorkerError: the energies of the user cannot be sent to another process.
    """
    resources = request.resources
    if resources.executor:
        return ParslWorkers(UnitMaker(request), resources.executor, resources.processes, folder / PARSL)
    if resources.processes == 1:
        return Here(UnitMaker(request, report))
    return LocalProcesses(UnitMaker(request), resources.processes, resources.threads)


def searched(
    request: Request,
    writer: CandidateWriter,
    workers: Workers,
    verification: Verification | None,
    report: Report,
    found: Callable[[Candidate], None],
    started: float,
) -> Outcome:
    """Decide on one unit after the other, until enough candidates are found and confirmed.

    Args:
        request: what is asked.
        writer: stores the candidates.
        workers: make units; they are closed.
        verification: calculates candidates; None without.
        report: hears the progress.
        found: receives each candidate.
        started: when the budget began, on the clock of `time.perf_counter`.
    """
    clock = StageClock(writer, report)
    deadline = started + 60 * request.search.budget
    with closing(clock):
        with closing(workers):
            search = Search.resumed(request, writer, found, deadline, verification)
            alone = partial(LocalProcesses, UnitMaker(request), 1, request.resources.threads)
            units = OrderedUnits(writer.folder, workers, search.limit, alone if isinstance(workers, Here) else None)
            with closing(units), units.note:
                _search(search, units, clock)
        search.await_verdicts(clock, to_the_end=True)
        while search.fill_up() and not search.late:
            search.await_verdicts(clock, to_the_end=True)
        search.dismiss()
        _conclude(search)
    given_up = tuple(sorted(units.given_up))
    if given_up:
        writer.note("given_up", given_up)
        writer.note("reasons", {str(number): units.given_up[number] for number in given_up})
    outcome = search.outcome(writer.folder, time.perf_counter() - started, given_up)
    return replace(outcome, reasons=units.given_up)


def _search(search: Search, units: OrderedUnits, clock: "StageClock") -> None:
    """Take units in order until the search is over."""
    while True:
        search.await_verdicts(clock)
        if search.over or units.spent:
            return
        search.report(clock, units.at_work)
        unit = units.next(search.ahead, min(search.deadline - time.perf_counter(), LONGEST_WAIT))
        if unit is not None:
            search.take(unit, clock)
            clock.add(unit.seconds)
            search.report(clock, units.at_work)


def _check_no_rounds(folder: Path) -> None:
    """Refuse a folder of version 0.2.

    Raises:
        ResumeError: it holds rounds of proposals in place of units.
    """
    if all_rounds(folder):
        raise ResumeError(
            f"{folder} was written by another version, whose rounds of proposals this one does not resume; {ADVICE}"
        )


def identity(request: Request) -> RunInfo:
    """Return what identifies a run of this request; of terms of the user, names and weights.

    Effort (`EFFORT`) is not part of it: a run may be resumed with another budget.

    Raises:
        WeightsError: weights that are missing or damaged.
    """
    configuration = to_mapping(request)
    for table, names in EFFORT.items():
        configuration[table] = {name: value for name, value in configuration[table].items() if name not in names}
    for name in ("weights", "with_files"):  # their hashes tell more than their paths
        del configuration["resources"][name]
    del configuration["verification"]  # which is empty
    for name, digests in digests_of_files(request).items():
        configuration[name] = configuration[name] | digests if digests else {}
    if request.host.host is not None:
        configuration["host"]["content"] = request.host.host.digest
    if request.terms.weights:
        configuration["energies"] = request.terms.weights
    weights = shipped_hashes(request.kind, folder_of(request.resources.weights))
    weights |= hashes_of(request.property_files)
    return RunInfo(__version__, request.search.seed, configuration, weights)


def digests_of_files(request: Request) -> dict[str, dict[str, Any]]:
    """Return what the files named in the tables `like` and `between` hold; nothing where none are named."""
    found: dict[str, dict[str, Any]] = {"like": {}, "between": {}}
    if request.like.examples:
        found["like"] = {"digests": [example.digest for example in request.examples]}
    if request.between.requests:
        ends = [
            {"targets": dict(end.targets), "like": [example.digest for example in end.examples]}
            | {"weight": end.like.weight, "prefer": list(end.composition.prefer)}
            for _, end in request.ends
        ]
        found["between"] = {"ends": ends}
    return found


def default_folder(request: Request) -> Path:
    """Return `designs/` and a name that tells the targets, and that no other request, version or weights share."""
    run_info = identity(request)
    content = json.dumps([run_info.version, run_info.configuration, dict(run_info.weights)], sort_keys=True)
    targets = [
        f"{target.name}_{text}" for text, target in zip(request.targets.values(), request.property_targets, strict=True)
    ]
    asked = [
        request.composition.formula,
        request.graph.smiles,
        *request.graph.smarts,
        "-".join(request.composition.elements),
        *(f"like_{Path(path).stem}" for path in request.like.examples[:1]),
        *(Path(path).stem for path in request.between.requests),
        f"alpha_{request.between.alpha:g}" if request.between.requests else "",
        Path(request.host.file or request.host.start).stem,
        *request.host.replace,
        request.host.fragment,
    ]
    words = [*targets, *filter(None, asked)] or ["anything" if request.kind == "crystal" else "any_molecule"]
    return Path("designs") / f"{readable(words)}_seed{request.search.seed}_{short_hash(content)}"


def design(
    *,
    kind: KindName = "crystal",
    n: int = 10,
    seed: int = 0,
    fast: bool = False,
    energies: Energy | TemplateEnergy | Iterable[Energy | TemplateEnergy] = (),
    out: str | Path | None = None,
    report: Report | None = None,
    **options: Any,
) -> list[Candidate]:
    """Return candidates that meet targets: `design(band_gap=1.5, n=10)`, `design(band_gap=(1.2, 1.8), include=["O"])`.

    Molecules likewise: `design(kind="molecule", gap=(5, 6), dipole="<2", smarts=["[OX2H]"])`. Options are properties,
    and settings of `matgen.generation.request.Request`, whose tables may be given whole (`sampler={"levels": 20}`):

    * targets: a value, a (low, high) pair, or text such as ">3", by property name, also of files, `with_files`;
    * composition: `elements`, the only ones that may occur; `include`; `exclude`; `avoid_hazard`, toxic and
      radioactive ones; `formula`; `formula_units`; `max_atoms`, in the primitive cell, or heavy atoms of a molecule;
    * symmetry of crystals: `space_groups`; `like`, files to resemble, and `like_weight` (1);
    * a `host`, changed by `replace`, `insert`, `vacancy`; a `start`; what to `keep` of them; of molecules a `fragment`;
    * graph of molecules: `smiles`, to keep; `smarts`, patterns to hold; `avoid`, patterns not to hold; `charge`, e;
    * search: `budget` (10 minutes); `rounds` (50); `over_generation` (5); `record` trajectories;
    * selection: `confidence` (0.55), least probability that each target is met; `max_ehull` (0.1 eV/atom);
      `allow_known`; `variety` (1), factor on the cost of repeating a Wyckoff layout, or the rings of a molecule;
    * verification by GPAW: `verify`, how many candidates to confirm; refuted ones are replaced, and listed last;
      `verify_minutes` (10), limit of each calculation;
    * relaxation: `relax`, one of usual, none, chgnet (crystals), xtb (molecules); `pressure`, GPa, with a formula;
    * ranking: `potential` (chgnet), whose energy per atom, over 0.1 eV, ranks proposals of one formula;
      `potential_weight` (1); `ewald_weight` (0), of the electrostatic energy of formal charges;
    * resources: `device`; `processes` (2), with 1 all happens in this one; `executor`, a file with a Parsl
      configuration; `threads` (1); `weights`, a folder such as `matgen learn` writes.

    Energies are added to the total energy as they are, one number per system, whatever its size: those of states to
    guidance, refinement, the choice among geometries and ranking; those of templates to proposal, substitutions and
    ranking. Every term is reported by name in `.energies`. A folder is resumed only with the same names and weights.

    Args:
        kind: crystals or molecules.
        n: candidates wanted; fewer are returned where fewer survive.
        seed: of all random numbers.
        fast: leave the geometry to the relaxation: more candidates in the same time.
        energies: `[2.0 * RoomyCell(15.0), BlackBox(function, name="mine")]`, or a sum; see `matgen.energies.base`.
        out: folder to write to, and to resume from; without it, no files are kept.
        report: receives the progress of every stage.
        **options: properties, and settings of `Request`.

    Returns:
        Candidates with `.structure`, `.energies`, `.properties`, `.verdicts`.

    Raises:
        ValueError: the request cannot be understood or fulfilled; one sentence says why.
        OutputError: the folder cannot be written.
    """
    usual = Request.of(kind=kind, **preset_of(kind, fast=fast))
    request = usual.updated(n=n, seed=seed, energies=energies, **asked(options))
    if out is not None:
        return list(run(request, Path(out), report=report).candidates)
    with TemporaryDirectory() as folder:
        return list(run(request, Path(folder), report=report).candidates)


class StageClock:
    """Forwards progress reports, and records time and last counts of each stage in run.json."""

    def __init__(self, writer: CandidateWriter, report: Report) -> None:
        self._writer, self._report = writer, report
        self._stage, self._since = "", 0.0
        self._counts: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Record and forward a report."""
        if stage != self._stage:
            self.close()
            self._stage, self._since = stage, time.perf_counter()
        self._counts = {"done": done, "total": total, **counts}
        self._report(stage, done, total, **counts)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Record the times of the stages of a unit, wherever it was made."""
        self._writer.stages((stage, time, {}) for stage, time in seconds.items())

    def close(self) -> None:
        """End the current stage."""
        if self._stage:
            self._writer.stage(self._stage, time.perf_counter() - self._since, **self._counts)
        self._stage = ""


def _conclude(search: Search) -> None:
    """Record the best candidate of each family, and in run.json the shares of the candidates."""
    writer = search.writer
    writer.revise([replace(one, family=search.families.best(one.name)) for one in writer.candidates])
    if writer.kind == "crystal":
        found = shares_of_structures((one.crystal for one in writer.candidates), "the candidates of this run")
        writer.note("shares", {"found": asdict(found), "training": asdict(training_shares())})
