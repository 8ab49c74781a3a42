"""From a wish to candidates on disk: generate, relax best first, check, keep what is new, say why the rest is not."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from pymatgen.core.structure import Structure

from matgen import __version__
from matgen.energies.base import Energy, TemplateEnergy
from matgen.generation.generate import Found, Proposed, generate
from matgen.generation.kinds import kind_of_request
from matgen.generation.presets import preset_of
from matgen.generation.request import Request
from matgen.metrics.shares import shares_of_structures, training_shares
from matgen.runtime.config import from_mapping, to_mapping
from matgen.runtime.progress import Report, Silence
from matgen.search.outcome import Outcome
from matgen.search.search import Search, rejected_file
from matgen.search.verification import Verification
from matgen.structures.candidate import Candidate, KindName
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import RunInfo
from matgen.structures.symmetry import space_group
from matgen.templates.molecule import MoleculeTemplate
from matgen.weights.shipped import folder_of, shipped_hashes

EFFORT = ("budget", "rounds", "processes", "verify", "verify_minutes")
"""Settings under which the folder of a run may be gone on with: no part of what makes it the run that it is.

`budget` and `rounds` say when the search ends; what fills up the number then stays in the folder. `processes` says how
many relaxations are at work at once; they are judged in the same order. Because of these three nothing is drawn or
decided otherwise, except with `verify`: which candidates are refuted by when hangs on the clock and `verify_minutes`,
and later rounds propose for those that lack. Above `n`, `verify` also raises `Request.wanted`, and with it the limit on
each layout.
"""

ROUND_STRIDE = 1_000_003  # between the seeds of rounds, so that neighbouring seeds share no round


def run(
    request: Request,
    folder: Path,
    *,
    report: Report | None = None,
    found: Callable[[Candidate], None] = lambda _: None,
    overwrite: bool = False,
) -> Outcome:
    """Find candidates and write them into a folder; the folder of an interrupted run is gone on with.

    Args:
        request: what is wanted.
        folder: holds afterwards what `CandidateWriter` writes, `rejected.jsonl`, and the proposals of each round.
        report: hears how every stage gets on.
        found: is handed each candidate as soon as it is on disk, those of an interrupted run first.
        overwrite: start anew where the folder holds another run.

    Raises:
        WeightsError: weights that are missing or damaged.
        OutputError: the folder cannot be written.
        ResumeError: the folder holds another run.
    """
    started = time.perf_counter()
    verification = Verification.of(request, folder)
    with CandidateWriter(folder, identity(request), kind=request.kind, overwrite=overwrite) as writer:
        if overwrite:
            for file in (rejected_file(folder), *map(CandidateFile, folder.glob("proposals-*.jsonl"))):
                file.remove()
        with verification or nullcontext():
            return _searched(request, writer, verification, report or Silence(), found, started)


def _searched(
    request: Request,
    writer: CandidateWriter,
    verification: Verification | None,
    report: Report,
    found: Callable[[Candidate], None],
    started: float,
) -> Outcome:
    """Round after round, until enough are found and confirmed."""
    folder = writer.folder
    clock = StageClock(writer, report)
    try:
        search = Search.resumed(request, writer, found, started + 60 * request.search.budget, verification)
        for number in range(request.search.rounds):
            search.await_verdicts(clock)
            if search.over:
                break
            search.begin_round(number)
            search.await_verdicts(clock)
            if search.over:
                break
            asked = replace(request, n=search.asked)
            search.settle(_proposals(asked, number, folder, clock, search.variety.counts), clock)
        search.await_verdicts(clock, to_the_end=True)
        while search.fill_up() and not search.late:
            search.await_verdicts(clock, to_the_end=True)
        search.dismiss()
        _conclude(search)
    finally:
        clock.stop()
    return search.outcome(folder, time.perf_counter() - started)


def identity(request: Request) -> RunInfo:
    """What makes a run of this request the run that it is; of energies of its own, names and weights.

    Effort is no part of it: a run may go on with another budget.

    Raises:
        WeightsError: weights that are missing or damaged.
    """
    added = {"energies": request.terms.weights} if request.terms.weights else {}
    left_out = (*EFFORT, "weights")  # whose hashes say more than where they lie
    configuration = {name: value for name, value in (to_mapping(request) | added).items() if name not in left_out}
    return RunInfo(
        __version__,
        request.search.seed,
        configuration,
        shipped_hashes(request.kind, folder_of(request.resources.weights)),
    )


def default_folder(request: Request) -> Path:
    """`designs/` and a name that tells the wishes, and that no other request, version or weights share."""
    told = identity(request)
    content = json.dumps([told.version, told.configuration, dict(told.weights)], sort_keys=True)
    targets = [
        f"{target.name}_{request.targets[name]}"
        for name, target in zip(request.targets, request.property_targets, strict=True)
    ]
    asked = filter(
        None,
        [
            request.composition.formula,
            request.graph.smiles,
            *request.graph.smarts,
            "-".join(request.composition.elements),
        ],
    )
    words = [*targets, *asked] or ["anything" if request.kind == "crystal" else "any_molecule"]
    readable = re.sub(r"[^A-Za-z0-9.+-]+", "_", "_".join(words)).strip("_")[:60]
    return Path("designs") / f"{readable}_seed{request.search.seed}_{hashlib.sha256(content.encode()).hexdigest()[:6]}"


def design(
    *,
    kind: KindName = "crystal",
    n: int = 10,
    seed: int = 0,
    elements: Iterable[str] = (),
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    formula: str = "",
    smiles: str = "",
    smarts: Iterable[str] = (),
    avoid: Iterable[str] = (),
    charge: int = 0,
    space_groups: Iterable[int] = (),
    max_atoms: int = 0,
    device: str = "cpu",
    weights: str | Path = "",
    relax: Literal["usual", "none", "chgnet", "xtb"] = "usual",
    potential: Literal["none", "chgnet"] = "none",
    potential_weight: float = 1.0,
    max_ehull: float = 0.1,
    confidence: float = 0.55,
    allow_known: bool = False,
    variety: float = 1.0,
    budget: float = 10.0,
    verify: int = 0,
    verify_minutes: float = 10.0,
    fast: bool = False,
    energies: Energy | TemplateEnergy | Iterable[Energy | TemplateEnergy] = (),
    out: str | Path | None = None,
    report: Report | None = None,
    **properties: float | str | tuple[float, float],
) -> list[Candidate]:
    """Candidates that fulfil wishes: `design(band_gap=1.5, n=10)`, `design(band_gap=(1.2, 1.8), include=["O"])`.

    Molecules likewise: `design(kind="molecule", gap=(5, 6), dipole="<2", smarts=["[OX2H]"])`.

    Energies of your own are added to the total energy as they are, one number per system, whatever its size: those of
    states to guidance, refinement, the choice among geometries and ranking, those of templates to the proposal, to
    substitutions and ranking. Every term comes back under its name in `.energies`. A folder is resumed only with the
    same names and weights; that a name goes on to mean the same is up to you.

    Args:
        kind: crystals or molecules.
        n: how many; fewer come back where fewer survive.
        seed: of all random numbers.
        elements: symbols of the only elements that may occur.
        include: symbols that must occur.
        exclude: symbols that must not.
        formula: composition to keep.
        smiles: molecular graph to keep, with the hands that it asks for.
        smarts: patterns that a molecule must hold.
        avoid: patterns that it must not hold.
        charge: of the molecule.
        space_groups: allowed numbers.
        max_atoms: most atoms in the primitive cell, or heavy atoms of a molecule; 0 for as many as the models know.
        device: where the models run.
        weights: folder whose weights stand in for those that ship, such as `matgen learn` writes.
        relax: potential that relaxes candidates; usual for that of the kind: CHGNet, or for molecules GFN2-xTB.
        potential: whose energy per atom, over 0.1 eV, ranks proposals of one formula.
        potential_weight: of that term.
        max_ehull: highest energy above the hull of known phases, eV/atom, after relaxation.
        confidence: least probability that each wish is met, as the guiding models see it; less in each round.
        allow_known: keep candidates that are known crystals or molecules.
        variety: times the cost of repeating a layout, or the rings of a molecule; above 0, no layout is that of more
            than three in ten crystals as long as others are found, unless a formula, or few elements or space groups
            are named.
        budget: minutes after which no more is looked for.
        verify: how many first principles (GPAW) are to confirm; refuted ones are replaced, and listed last.
        verify_minutes: after which a calculation is given up.
        fast: leave the geometry to the relaxation: more candidates for the time.
        energies: `[2.0 * RoomyCell(15.0), BlackBox(function, name="mine")]`, or a sum; `matgen.energies.base` tells more.
        out: folder to write to, and to resume from; no files are kept if left out.
        report: hears how every stage gets on.
        properties: a value, a (low, high) pair, or text such as ">3", by property name.

    Returns:
        Candidates with `.structure`, `.energies`, `.properties`, `.verdicts`.

    Raises:
        ValueError: the request cannot be understood or fulfilled; one sentence says why.
        OutputError: the folder cannot be written.
    """
    preset = from_mapping(Request, preset_of(kind, fast=fast))
    request = Request.of(
        kind=kind,
        targets={name: f"{w[0]}:{w[1]}" if isinstance(w, tuple) else w for name, w in properties.items()},
        elements=tuple(elements),
        include=tuple(include),
        exclude=tuple(exclude),
        formula=formula,
        smiles=smiles,
        smarts=tuple(smarts),
        avoid=tuple(avoid),
        charge=charge,
        space_groups=tuple(space_groups),
        max_atoms=max_atoms,
        n=n,
        seed=seed,
        device=device,
        weights=str(weights),
        relax=relax,
        potential=potential,
        potential_weight=potential_weight,
        max_ehull=max_ehull,
        confidence=confidence,
        allow_known=allow_known,
        variety=variety,
        budget=budget,
        verify=verify,
        verify_minutes=verify_minutes,
        energies=tuple(energies) if isinstance(energies, Iterable) else (energies,),
        stages=preset.stages,
        sampler=preset.sampler,
    )
    if out is not None:
        return list(run(request, Path(out), report=report).candidates)
    with TemporaryDirectory() as folder:
        return list(run(request, Path(folder), report=report).candidates)


class StageClock:
    """Hands reports on, and notes in run.json how long each stage took and what it counted last."""

    def __init__(self, writer: CandidateWriter, report: Report) -> None:
        self._writer, self._report = writer, report
        self._stage, self._since = "", 0.0
        self._counts: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Note and hand on."""
        if stage != self._stage:
            self.stop()
            self._stage, self._since = stage, time.perf_counter()
        self._counts = {"done": done, "total": total, **counts}
        self._report(stage, done, total, **counts)

    def stop(self) -> None:
        """End the stage that runs."""
        if self._stage:
            self._writer.stage(self._stage, time.perf_counter() - self._since, **self._counts)
        self._stage = ""


def _conclude(search: Search) -> None:
    """Name the best of each family, now that all are found, and note in run.json what the candidates are made of."""
    writer = search.writer
    writer.revise([replace(one, family=search.families.best(one.name)) for one in writer.candidates])
    if writer.kind == "crystal":
        found = shares_of_structures((one.crystal for one in writer.candidates), "the candidates of this run")
        writer.note("shares", {"found": asdict(found), "training": asdict(training_shares())})


def _proposals(request: Request, number: int, folder: Path, clock: StageClock, found: Found) -> list[Candidate]:
    """The proposals of a round, best first: from disk if an interrupted run left them."""
    file = _proposal_file(folder, number)
    if not file.exists():
        generator = torch.Generator().manual_seed((request.search.seed + number * ROUND_STRIDE) % 2**63)
        proposed = generate(request, kind_of_request(request), generator, clock, found)
        file.write(_as_candidate(p, number, rank) for rank, p in enumerate(proposed))
    return file.read()


def _as_candidate(proposed: Proposed, number: int, rank: int) -> Candidate:
    return Candidate(
        name=f"{number}{rank:03d}-{_formula(proposed)}",
        structure=proposed.structure,
        unrelaxed=proposed.structure,
        space_group=space_group(proposed.structure) if isinstance(proposed.structure, Structure) else None,
        template=str(proposed.template),
        seed=rank,
        energies=dict(proposed.energies),
        properties=dict(proposed.properties),
    )


def _formula(proposed: Proposed) -> str:
    """Reduced, of a crystal; as chemists write it, of a molecule."""
    if isinstance(proposed.template, MoleculeTemplate):
        return proposed.template.hill_formula
    return proposed.structure.composition.reduced_formula


def _proposal_file(folder: Path, number: int) -> CandidateFile:
    return CandidateFile(folder / f"proposals-{number}.jsonl")
