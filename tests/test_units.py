"""Units of work: the same candidates whoever makes them, in whatever order; deaths, interrupts and other versions."""

import contextlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from ase.calculators.emt import EMT
from finished_units import passing, unit_of
from pymatgen.core import Lattice, Structure
from test_variety import caesium_chloride, fluorite, offered, rock_salt, zinc_blende

import matgen
from matgen.checks.crystals import min_distance
from matgen.checks.verdicts import validate
from matgen.energies.blackbox import BlackBox
from matgen.energies.graph_function import GraphFunction, holds
from matgen.energies.potential import Potential
from matgen.energies.ranking import ForRanking
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig
from matgen.runtime.at_work import NOTE
from matgen.runtime.progress import Silence
from matgen.runtime.workers import Here, LocalProcesses, WorkerDiedError, WorkerError, Workers, sendable
from matgen.search.ordered_units import FATAL, TRIES, OrderedUnits
from matgen.search.outcome import Outcome
from matgen.search.rejected import RejectedFile
from matgen.search.unit_format import Unit, passed_of, read_unit
from matgen.search.units import UnitMaker
from matgen.structures.candidate import Candidate, Prediction, Verdict
from matgen.structures.conversion import state_of
from matgen.structures.export import CandidateWriter
from matgen.structures.run_folder import all_units, unit_file
from matgen.structures.run_report import ResumeError, RunInfo
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeTemplate
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import KINDS
from matgen.workflows.design import run
from matgen.workflows.design_steps import steps, to_the_end

SHIPPED = all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS)
needs_weights = pytest.mark.skipif(not SHIPPED, reason="not all weights ship yet")

REQUEST = Request.of(band_gap=1.5, n=10, relax="none", rounds=8)


def with_gap(candidate: Candidate, probability: float) -> Candidate:
    """A candidate with the probability that its gap is met."""
    return replace(candidate, properties={"band_gap": Prediction(1.5, 0.1, "eV", 0.0, probability)})


def halides() -> list[str]:
    """Texts of sixteen units of six halides of four layouts, with repetitions among them."""
    random = Random(5)
    makers: list[Callable] = [rock_salt, rock_salt, zinc_blende, caesium_chloride, fluorite]
    kept: dict[tuple[int, str, str], Candidate] = {}
    units = []
    for number in range(16):
        proposals = []
        for rank in range(6):
            pair = random.choice(("Na", "K", "Rb", "Cs", "Li")), random.choice(("F", "Cl", "Br", "I"))
            maker = random.randrange(len(makers))
            one = kept.setdefault((maker, *pair), offered("x", makers[maker](*pair)))
            named = replace(one, name=f"{number}{rank:03d}-x", energies={"prior": random.random()})
            proposals.append(with_gap(named, random.uniform(0.2, 0.7)))
        units.append(unit_of(proposals, number).text)
    return units


HALIDES = halides()


class Threads:
    """Workers that take their time, so that units arrive in any order; some die, and some are slow."""

    def __init__(self, texts: Sequence[str], jobs: int, seed: int = 0, deadly: dict[int, int] | None = None) -> None:
        self.jobs = jobs
        self.made: list[int] = []
        self._texts, self._random, self._deadly = texts, Random(seed), dict(deadly or {})
        self._pool = ThreadPoolExecutor(jobs)

    def submit(self, number: int) -> Future:
        return self._pool.submit(self._make, number, self._random.uniform(0, 0.02))

    def _make(self, number: int, seconds: float) -> str:
        time.sleep(seconds)
        self.made.append(number)
        if self._deadly.get(number, 0):
            self._deadly[number] -= 1
            raise WorkerDiedError
        return self._texts[number]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def design_with(
    workers: Workers, folder: Path, request: Request = REQUEST, found: Callable[[Candidate], None] = lambda _: None
) -> Outcome:
    with CandidateWriter(folder, RunInfo("0", 0, {})) as writer:
        return to_the_end(steps(request, writer, workers, None, Silence(), found, time.perf_counter()))


def content(folder: Path) -> list[str]:
    """Everything that a run keeps."""
    return [
        (folder / name).read_text(encoding="utf-8") if (folder / name).exists() else ""  # nothing was rejected
        for name in ("candidates.jsonl", "rejected.jsonl", "candidates.csv")
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one worker."""
    folder = tmp_path_factory.mktemp("alone")
    outcome = design_with(Threads(HALIDES, 1), folder)
    assert outcome.reason.startswith("found all 10")
    assert {"unique", "variety", "not_needed"} <= set(outcome.rejected)  # every rule took part
    return folder


# ---------------------------------------------------------------- the same for any number of workers


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("jobs", [2, 3, 16])
def test_the_candidates_do_not_depend_on_the_number_of_workers(
    jobs: int, seed: int, alone: Path, tmp_path: Path
) -> None:
    workers = Threads(HALIDES, jobs, seed)
    design_with(workers, tmp_path)
    assert content(tmp_path) == content(alone)
    assert len(workers.made) == len(set(workers.made))


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("stop_after", [1, 4, 9])
def test_an_interrupted_search_goes_on_to_the_same_end_with_any_number(
    stop_after: int, jobs: int, alone: Path, tmp_path: Path
) -> None:
    seen: list[str] = []

    def found(candidate: Candidate) -> None:
        seen.append(candidate.name)
        if len(seen) == stop_after:
            raise KeyboardInterrupt

    first, second = Threads(HALIDES, 4 - jobs), Threads(HALIDES, jobs)
    with pytest.raises(KeyboardInterrupt):
        design_with(first, tmp_path, found=found)
    on_disk = {int(path.stem) for path in (tmp_path / "units").glob("*.jsonl")}
    design_with(second, tmp_path)
    assert content(tmp_path) == content(alone)
    assert not on_disk & set(second.made)  # what is finished is not made again


def test_work_ahead_is_bounded_by_what_lacks(tmp_path: Path) -> None:
    """One of one is likely to be found in a unit or two, however many workers there are."""
    workers = Threads([unit_of([with_gap(offered(f"{i}", rock_salt("Na", "Cl")), 0.9)], i).text for i in range(9)], 9)
    outcome = design_with(workers, tmp_path, REQUEST.updated(n=1, rounds=9))
    assert outcome.reason == "found all 1"
    assert len(workers.made) <= 2


def test_a_unit_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = passing(with_gap(offered("a", rock_salt("Na", "Cl")), 0.5))
    nameless = replace(one, layout=None, file=("", replace(one.file[1], value=math.nan)))
    for whole in (one, nameless):
        back = passed_of(json.loads(json.dumps(whole.record())))
        assert back is not None
        assert (back.candidate, back.layout, back.likeness, back.family) == (
            whole.candidate,
            whole.layout,
            whole.likeness,
            whole.family,
        )
        assert back.file[0] == whole.file[0]
        assert math.isnan(back.file[1].value) or back.file == whole.file
    unit = Unit(3, {"rank": 0.5}, [one.record()])
    (tmp_path / "3.jsonl").write_text(unit.text)
    assert read_unit(tmp_path / "3.jsonl") == unit
    (tmp_path / "4.jsonl").write_text('{"name": "no unit"}\n')
    with pytest.raises(ResumeError, match=r"4\.jsonl is damaged"):
        read_unit(tmp_path / "4.jsonl")


# ---------------------------------------------------------------- deaths


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_unit_of_a_dead_worker_is_made_by_another(jobs: int, alone: Path, tmp_path: Path) -> None:
    workers = Threads(HALIDES, jobs, deadly={0: TRIES - 1, 2: TRIES - 1})
    assert design_with(workers, tmp_path).given_up == ()
    assert content(tmp_path) == content(alone)
    assert workers.made.count(0) == workers.made.count(2) == TRIES


def test_a_unit_that_kills_its_workers_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    outcome = design_with(Threads(HALIDES, 3, deadly={1: TRIES}), tmp_path)
    assert outcome.given_up == (1,)
    assert outcome.reason.startswith("found all 10")
    assert json.loads((tmp_path / "run.json").read_text())["given_up"] == [1]
    assert not unit_file(tmp_path, 1).exists()
    assert not any(one.name.startswith("1") and len(one.name) == 6 for one in outcome.candidates)


def test_workers_that_all_die_are_told_in_one_line(tmp_path: Path) -> None:
    workers = Threads(HALIDES, 3, deadly=dict.fromkeys(range(16), TRIES))
    with pytest.raises(WorkerError, match=r"died over each of the units \d, \d, \d, .*; take fewer processes"):
        design_with(workers, tmp_path)
    assert len(workers.made) <= TRIES * (FATAL + 3)


class Raising(Threads):
    """Workers for which some units raise what no list of expected exceptions contains."""

    def _make(self, number: int, seconds: float) -> str:
        if number in (0, 3):
            raise OfAForeignPackageError(f"no unit {number}")
        return super()._make(number, seconds)


class OfAForeignPackageError(Exception):
    """An exception of nobody's."""


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_unit_that_raises_is_named_with_its_reason_and_the_others_go_on(jobs: int, tmp_path: Path) -> None:
    outcome = design_with(Raising(HALIDES, jobs), tmp_path)
    assert outcome.reason.startswith("found all 10")
    assert outcome.reasons == {n: f"OfAForeignPackageError: no unit {n}" for n in (0, 3)}
    assert json.loads((tmp_path / "run.json").read_text())["reasons"]["3"] == outcome.reasons[3]
    assert not (tmp_path / NOTE).exists()


def deadly_or(number: int, texts: Sequence[str]) -> str:
    """The text of a unit, unless it ends the process."""
    if number == 1:
        os._exit(9)
    return texts[number]


def test_a_unit_over_which_this_process_died_is_made_by_another_and_given_up(tmp_path: Path) -> None:
    """As with one process, which makes the units itself: without that no resumption would come past it."""
    (tmp_path / NOTE).write_text('["1"]\n', encoding="utf-8")  # as the process left it
    work = partial(deadly_or, texts=HALIDES)
    apart: list[LocalProcesses] = []

    def other() -> LocalProcesses:
        apart.append(LocalProcesses(work, 1))
        return apart[-1]

    units = OrderedUnits(tmp_path, Here(work), 4, other)
    with contextlib.closing(units), units.note:
        found = [units.next(1, 60.0)]
        assert json.loads((tmp_path / NOTE).read_text()) == ["0", "1"]
        while len(found) < 4 or None in found:
            found = [one for one in found if one is not None]
            if len(found) == 4:
                break
            found.append(units.next(1, 60.0))
    assert [one.number for one in found if one] == [0, 1, 2, 3]
    assert [len(one.proposals) for one in found if one] == [6, 0, 6, 6]
    assert list(units.given_up) == [1]
    assert len(apart) == TRIES
    assert not (tmp_path / NOTE).exists()


def test_a_check_that_raises_fails_and_the_others_are_made() -> None:
    def broken(_: Candidate) -> Verdict:
        raise OfAForeignPackageError("no such crystal")

    one = offered("x", rock_salt("Na", "Cl"))
    verdicts = validate(one, {"broken": broken, "min_distance": min_distance})
    assert verdicts["broken"].reason == "not assessed: OfAForeignPackageError: no such crystal"
    assert not verdicts["broken"].passed
    assert verdicts["min_distance"].passed


def test_an_error_in_a_unit_ends_the_run(tmp_path: Path) -> None:
    """If it is one of all units."""
    with pytest.raises(IndexError):
        design_with(Threads([], 1), tmp_path)


# ---------------------------------------------------------------- other versions


@needs_weights
def test_a_folder_of_rounds_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "proposals-0.jsonl").write_text("{}\n")
    with pytest.raises(ResumeError, match=r"another version, whose rounds .*; name another folder with --out"):
        run(REQUEST, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["proposals-0.jsonl"]


# ---------------------------------------------------------------- energies of the user


def received(work: Any) -> Any:
    """What another process makes of a function or an energy."""
    return pickle.loads(sendable(work))  # noqa: S301


def test_energies_of_the_user_reach_other_processes() -> None:
    salt, light = state_of([rock_salt("Na", "Cl")]), TemplateBatch.of([MoleculeTemplate.of("CCO")])
    emt = Potential(EMT, kT=0.1, per_atom=True, name="emt")
    copper = state_of([Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])])
    assert float(emt(copper, torch.zeros(1))) != 0.0  # a calculator at work is not sent
    box = BlackBox(lambda structure: structure.volume, name="box")
    mass, oxygen = GraphFunction(lambda molecule: molecule.GetNumAtoms(), name="size"), holds("[OX2H]")
    for request in (
        Request.of(formula="NaCl", energies=[ForRanking(emt), 2.0 * box], potential="chgnet"),
        Request.of(kind="molecule", energies=[mass, oxygen]),
    ):
        sent = received(UnitMaker(request)).request
        assert sent.terms.weights == request.terms.weights
        assert [type(one) for one in sent.energies] == [type(one) for one in request.energies]
    again = received(emt), received(box), received(mass)
    assert float(again[0](copper, torch.zeros(1))) == float(emt(copper, torch.zeros(1)))
    assert float(again[1](salt, torch.zeros(1))) == float(box(salt, torch.zeros(1)))
    assert float(again[2](light)) == float(mass(light)) == 3.0


# ---------------------------------------------------------------- with models

EFFORT = SamplerConfig(pool=2, move_steps=4, geometries=1, levels=4, refine_rounds=1, refine_steps=6)
TINY = Request.of(band_gap="1:3", max_atoms=6, n=12, relax="none", seed=3, sampler=EFFORT, budget=100.0)


@needs_weights
def test_a_unit_depends_on_its_number_only() -> None:
    """Made after another by the same worker, or first by a fresh one."""
    maker = UnitMaker(TINY.updated(n=1))
    first, second, third = (maker.made(number) for number in (0, 1, 0))
    assert first.proposals == third.proposals
    assert [one["structure"] for one in first.proposals] != [one["structure"] for one in second.proposals]
    assert {"propose", "rank", "relax and check"} <= set(first.seconds)
    (proposal, *_) = UnitMaker(TINY.updated(n=1)).made(1).proposals
    assert proposal == second.proposals[0]


def run_in_processes(request: Request, folder: Path, jobs: int) -> list[str]:
    run(request.updated(processes=jobs), folder)
    return content(folder)


@needs_weights
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"kind": "molecule", "max_atoms": 6, "n": 24}])
def test_one_two_and_three_processes_find_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    request = Request.of(seed=3, relax="none", budget=100.0, **options) if options else TINY
    one = run_in_processes(request, tmp_path / "1", 1)
    assert len(all_units(tmp_path / "1")) > 1
    assert len(one[0].splitlines()) == request.search.n
    for jobs in (2, 3):
        assert run_in_processes(request, tmp_path / str(jobs), jobs) == one


def designing(folder: Path, config: Path, *options: str) -> subprocess.Popen:
    """A design in a process of its own, in a session of its own, with all that it starts."""
    command = [sys.executable, "-m", "matgen.cli", "design", "--config", str(config), "--out", str(folder)]
    command += ["--budget", "100", *options]  # enough on a busy machine
    places = os.pathsep.join([str(Path(matgen.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen, seconds: float = 1800.0) -> None:
    """Wait until a design has found what it is asked for."""
    try:
        _, errors = process.communicate(timeout=seconds)
        assert process.returncode == 0, errors
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def when_units(folder: Path, least: int, process: subprocess.Popen, seconds: float = 600.0) -> None:
    """Wait for so many finished units."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if len(list((folder / "units").glob("*.jsonl"))) >= least:
            return
        time.sleep(0.05)
    raise AssertionError(f"not {least} units in {seconds} s: {process.stderr and process.stderr.read()}")


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    config = tmp_path / "tiny.toml"
    config.write_text(
        '[targets]\nband_gap = "1:3"\n[search]\nn = 16\nseed = 3\n[composition]\nmax_atoms = 6\n'
        '[relaxation]\nmethod = "none"\n[sampler]\n'
        "pool = 2\nmove_steps = 4\ngeometries = 1\nlevels = 4\nrefine_rounds = 1\nrefine_steps = 6\n"
    )
    return config


@needs_weights
@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "threads"])
def test_workers_of_parsl_find_the_same(executor: str, tiny_config: Path, tmp_path: Path) -> None:
    pytest.importorskip("parsl")
    file = tmp_path / "threads.py"
    file.write_text(
        "from parsl.config import Config\nfrom parsl.executors import ThreadPoolExecutor\n"
        f"config = Config(executors=[ThreadPoolExecutor(max_threads=2)], run_dir={str(tmp_path / 'logs')!r})\n"
    )
    options = {"one": ("--processes", "1"), "parsl": ("--executor", str(file) if executor == "threads" else executor)}
    for name, given in options.items():
        finished(designing(tmp_path / name, tiny_config, "-n", "6", *given))
    assert content(tmp_path / "parsl") == content(tmp_path / "one")


@needs_weights
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for workers in /proc")
def test_killed_workers_and_a_killed_run_lose_nothing(tiny_config: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first = designing(whole, tiny_config, "--processes", "1")
    finished(first)
    process = designing(killed, tiny_config, "--processes", "2")
    try:
        when_units(killed, 1, process)
        os.kill(max(workers_of(process)), signal.SIGKILL)  # the last one started
        when_units(killed, 2, process)
        os.killpg(process.pid, signal.SIGKILL)  # everything, in the middle of units
        process.communicate()
        process = designing(killed, tiny_config, "--processes", "2")
        finished(process)
        assert content(killed) == content(whole)
        assert len(all_units(killed)) > 2
        assert RejectedFile(killed).read()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers_of(process: subprocess.Popen) -> list[int]:
    """Its worker processes."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            same = os.getsid(int(entry.name)) == process.pid
            if same and "worker_process" in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found
