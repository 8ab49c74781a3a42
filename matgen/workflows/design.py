"""From targets to candidates on disk: generate, relax best first, check, keep what passes, say why the rest fails."""

import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matgen import __version__
from matgen.energies.base import Energy, TemplateEnergy
from matgen.generation.kept_ends import write_ends
from matgen.generation.presets import preset_of
from matgen.generation.request import Request
from matgen.generation.request_checks import asked
from matgen.relaxation.calculators import with_own_hull
from matgen.runtime.at_work import NOTE
from matgen.runtime.config import to_mapping
from matgen.runtime.folder_lock import FolderLock
from matgen.runtime.progress import Report, Silence
from matgen.screening.config import file_digest
from matgen.search.outcome import Outcome
from matgen.search.rejected import RejectedFile
from matgen.search.search import Search
from matgen.search.verification import Verification
from matgen.structures.candidate import Candidate, KindName
from matgen.structures.candidate_list import Candidates
from matgen.structures.export import CandidateWriter
from matgen.structures.run_folder import all_rounds, all_units
from matgen.structures.run_report import ADVICE, ResumeError, RunInfo
from matgen.weights.property_sets import hashes_of
from matgen.weights.shipped import folder_of, shipped_hashes
from matgen.workflows.design_steps import steps, to_the_end, workers_of
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
    return to_the_end(running(request, folder, report=report, found=found, overwrite=overwrite))


def running(
    request: Request,
    folder: Path,
    *,
    report: Report | None = None,
    found: Callable[[Candidate], None] = lambda _: None,
    overwrite: bool = False,
) -> Generator[Search, None, Outcome]:
    """Do as `run`, and yield the search after each decision; closing the generator interrupts the run."""
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
        write_ends(request, folder)
        with verification or nullcontext():
            return (yield from steps(request, writer, workers, verification, report or Silence(), found, started))


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
    """Return what the files named in the tables `like`, `between` and `relaxation` hold; nothing if none are named."""
    found: dict[str, dict[str, Any]] = {"like": {}, "between": {}}
    relaxation = request.relaxation
    hulls = [with_own_hull(text)[1] for text in (relaxation.calculator, relaxation.second_opinion)]
    if any(hulls):
        found["relaxation"] = {"hulls": [file_digest(Path(hull)) if hull else "" for hull in hulls]}
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
    on_candidate: Callable[[Candidate], None] = lambda _: None,
    **options: Any,
) -> Candidates:
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
      `phonons` and `elasticity`, True to reject crystals with imaginary modes, or that a strain makes lower;
    * verification by GPAW: `verify`, how many to confirm, refuted ones last; `verify_minutes` (10), limit of each;
    * relaxation: `relax`, one of usual, none, potential (crystals), xtb (molecules); `pressure`, GPa, with a formula;
      `calculator` (chgnet) of crystals, as `--calculator`; `second_opinion`, a potential that must agree on stability;
    * ranking: `potential`, none or chgnet, whose energy per atom, over 0.1 eV, ranks proposals of one formula;
      `potential_weight` (1); `ewald_weight` (0), of the electrostatic energy of formal charges;
    * resources: `device`; `processes` (2), 1 is this one; `executor`, a Parsl file; `threads`; `weights`, a folder.

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
        on_candidate: receives each candidate as soon as it is found.
        **options: the above; `on_progress` (or `report`) is called as `on_progress(stage, done, total, **counts)`.

    Returns:
        A list, in notebooks a table, of candidates with `.structure`, `.energies`, `.properties`, `.verdicts`.

    Raises:
        ValueError: the request cannot be understood or fulfilled; one sentence says why.
        OutputError: the folder cannot be written.
    """
    report = _progress(options)
    request = request_of(kind, fast=fast, n=n, seed=seed, energies=energies, **options)
    if out is not None:
        return Candidates(run(request, Path(out), report=report, found=on_candidate).candidates)
    with TemporaryDirectory() as folder:
        return Candidates(run(request, Path(folder), report=report, found=on_candidate).candidates)


def design_stream(
    *,
    kind: KindName = "crystal",
    fast: bool = False,
    out: str | Path | None = None,
    **options: Any,
) -> Generator[Candidate, None, Outcome]:
    """Yield each candidate as soon as it is found.

    `for candidate in design_stream(band_gap=1.5): print(candidate.name)`

    They are the candidates of `design` with the same arguments, in the order in which they are found. Breaking off the
    loop, or `close()`, ends the workers; with `out`, the same call then goes on where it was left, and yields the
    candidates of before first. The budget does not run while the caller works on a candidate. What is known at the
    end only is in `design`, and in the folder: the order by energy of a formula, families, the verdict of GPAW.

    Args:
        kind: as in `design`.
        fast: as in `design`.
        out: as in `design`.
        **options: all others of `design`, but `on_candidate`.

    Returns:
        The outcome of the run, as the value of the generator.

    Raises:
        ValueError: the request cannot be understood or fulfilled; one sentence says why. Raised at once.
        OutputError: the folder cannot be written; raised with the first candidate.
    """
    report = _progress(options)
    return _streamed(request_of(kind, fast=fast, **options), None if out is None else Path(out), report)


def _streamed(request: Request, out: Path | None, report: Report | None) -> Generator[Candidate, None, Outcome]:
    waiting: deque[Candidate] = deque()
    with (
        TemporaryDirectory() if out is None else nullcontext(out) as folder,
        closing(running(request, Path(folder), report=report, found=waiting.append)) as searches,
    ):
        while True:
            try:
                search = next(searches)
            except StopIteration as end:
                return end.value
            while waiting:
                since = time.perf_counter()
                yield waiting.popleft()
                search.deadline += time.perf_counter() - since


def _progress(options: dict[str, Any]) -> Report | None:
    """Take what receives the progress out of the options; `report` is its name of before."""
    return options.pop("report", options.pop("on_progress", None))


def request_of(
    kind: KindName = "crystal",
    *,
    fast: bool = False,
    n: int = 10,
    seed: int = 0,
    energies: Energy | TemplateEnergy | Iterable[Energy | TemplateEnergy] = (),
    **options: Any,
) -> Request:
    """Return the request of the arguments of `design`.

    Raises:
        ValueError: it cannot be understood or fulfilled; one sentence says why.
    """
    usual = Request.of(kind=kind, **preset_of(kind, fast=fast))
    return usual.updated(n=n, seed=seed, energies=energies, **asked(options))
