"""First principles in a process of its own: what it computes, how it may end, and that nothing is lost by it.

Interpreters that misbehave are real programs here: small scripts that answer the probe and then fail, hang or babble.
"""

import csv
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from matgen import cli
from matgen.first_principles import gpaw
from matgen.first_principles.calculations import CalculationFile, Plan, calculated
from matgen.first_principles.gpaw import FirstPrinciples, FirstPrinciplesConfig, from_record, key, to_record
from matgen.first_principles.gpaw_interpreter import VARIABLE, WORKER, Interpreter, MissingGpawError, find_interpreter
from matgen.first_principles.gpaw_processes import calculate_many
from matgen.first_principles.gpaw_worker import (
    SETTLED,
    converging,
    cutoff_of,
    gaps,
    hubbard_u,
    settled,
    starting_moments,
)
from matgen.first_principles.subjects import SelectionError, Subject, chosen, passed_over, subjects
from matgen.runtime.config import ConfigError
from matgen.runtime.file_names import file_name
from matgen.structures.candidate import Candidate, Prediction
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import ResumeError, RunInfo
from matgen.structures.symmetry import space_group
from matgen.workflows.verify import default_folder, run


def rock_salt(cation: str, anion: str, a: float = 5.0) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


SALT = rock_salt("Na", "Cl", 5.64)
SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])

ANSWER = {
    "gap": 1.25,
    "direct_gap": 1.5,
    "energy": -3.0,
    "magnetic_moment": 0.0,
    "settings": {"spin_polarised": False, "kpoints": [3, 3, 3]},
    "converged": True,
    "reason": "",
}


def script(folder: Path, then: str, datasets: str = '["Si"]') -> Interpreter:
    """A program that says it has GPAW, and does `then` when it is given a job."""
    path = folder / f"python-{len(list(folder.iterdir()))}"
    probe = f'{{"gpaw": "22.8.0", "ase": "3.22.1", "datasets": {datasets}}}'
    path.write_text(f"#!/bin/sh\ncase $2 in --probe) echo '{probe}'; exit 0;; esac\n{then}\n", encoding="utf-8")
    path.chmod(0o755)
    return Interpreter(str(path), "22.8.0", "3.22.1")


def answering(folder: Path, before: str = "") -> Interpreter:
    """One that answers every job alike."""
    return script(folder, f"{before}\necho {shlex.quote(json.dumps(ANSWER))}")


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Any, seconds: float = 20.0) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


# ---------------------------------------------------------------- gaps and moments


def bands(rng: np.random.Generator, low: float, high: float, n: int = 3) -> np.ndarray:
    """Bands (1, 7, n) between two energies, which both are reached."""
    found = rng.uniform(low, high, (1, 7, n))
    found[0, 2, 0], found[0, 5, -1] = low, high
    return np.sort(found, axis=2)


def test_the_gap_lies_between_the_highest_filled_and_the_lowest_empty_state() -> None:
    rng = np.random.default_rng(0)
    filled, empty = bands(rng, -4.0, 0.0), bands(rng, 0.7, 3.0)
    eigenvalues = np.concatenate([filled, empty], axis=2)
    gap, direct = gaps(eigenvalues, 0.3, 6.0)
    assert gap == pytest.approx(0.7)
    assert direct == pytest.approx((empty[0, :, 0] - filled[0, :, -1]).min())
    assert direct >= gap
    # The zero of energy and the place of the Fermi level within the gap mean nothing.
    assert gaps(eigenvalues + 5.0, 5.6, 6.0) == pytest.approx((gap, direct))
    # Two equal spins are the same crystal, also with the spins exchanged.
    assert gaps(np.concatenate([eigenvalues, eigenvalues]), 0.3, 6.0) == pytest.approx((gap, direct))


def test_unequal_spins_have_one_gap_and_its_edges_may_belong_to_either() -> None:
    up = np.array([[[-1.0, 0.0, 2.0], [-1.2, -0.5, 2.5]]])
    down = np.array([[[-1.0, 1.0, 3.0], [-1.1, 1.5, 3.5]]])
    both = np.concatenate([up, down])
    assert gaps(both, 0.5, 3.0)[0] == pytest.approx(1.0)
    assert gaps(both[::-1], 0.5, 3.0)[0] == pytest.approx(1.0)


def test_a_band_that_crosses_the_fermi_level_makes_a_metal() -> None:
    rng = np.random.default_rng(1)
    eigenvalues = np.concatenate([bands(rng, -4.0, 0.4), bands(rng, 0.7, 3.0)], axis=2)
    assert gaps(eigenvalues, 0.1, 5.5) == (0.0, 0.0)
    half_metal = np.concatenate([np.concatenate([bands(rng, -4, 0, 5), bands(rng, 2, 3, 1)], axis=2), eigenvalues])
    assert gaps(half_metal, 0.1, 7.5) == (0.0, 0.0)


def test_a_mesh_too_coarse_to_see_the_crossing_makes_no_gap_of_a_metal() -> None:
    one_point = np.array([[[-2.0, -1.0, 1.0, 2.0]]])
    assert gaps(one_point, 0.0, 4.0)[0] == pytest.approx(2.0)
    assert gaps(one_point, 0.0, 3.0) == (0.0, 0.0)  # half-filled: the states below do not hold what is there


def test_without_empty_bands_there_is_no_gap_to_tell() -> None:
    with pytest.raises(ValueError, match="empty bands"):
        gaps(np.array([[[-2.0, -1.0]]]), 0.0, 4.0)


def test_a_gap_has_settled_when_the_last_ones_agree_whatever_came_before() -> None:
    last = [1.00, 1.012, 0.995]
    assert len(last) == SETTLED
    assert settled(last, 0.02)
    assert settled([3.0, *last], 0.02)
    assert not settled(last, 0.016)
    assert not settled([*last, 1.03], 0.02)  # a step away at the end
    assert not settled(last[1:], 0.02)  # too few
    assert not settled([0.0] * (SETTLED - 1), 0.02)
    assert settled([0.0] * SETTLED, 0.02)  # a metal
    assert not settled([math.inf] * SETTLED, 0.02)  # no empty band yet


def test_one_element_that_is_not_soft_makes_the_plane_waves_go_on() -> None:
    assert cutoff_of(["Cs", "Cs", "Ag", "Bi", *["Br"] * 6], 400, 340) == 340
    assert cutoff_of(["Cs", "Cs", "Ag", "Bi", *["F"] * 6], 400, 340) == 400
    assert cutoff_of(["Cs", "Br"], 400, 0) == 400
    assert cutoff_of(["Cs", "Br"], 300, 340) == 300  # never above what was asked for


def test_without_a_tolerance_gpaw_is_left_to_itself() -> None:
    criteria, solver = converging(0.0)
    assert criteria == {"bands": "CBM+0.1"}
    assert solver == {}


def test_spin_is_decided_by_elements_and_parity() -> None:
    assert starting_moments(["Ga", "As"], 64) is None
    assert starting_moments(["Zn", "O"], 38) is None
    iron = starting_moments(["Fe", "O"], 34)
    assert iron is not None
    assert iron[0] > 0 == iron[1]
    odd = starting_moments(["Na", "O", "O"], 27)
    assert odd is not None
    assert sum(odd) == pytest.approx(1.0)  # the electron that cannot be paired


# ---------------------------------------------------------------- settings and records


@pytest.mark.parametrize(
    "wrong", [{"cutoff": 0}, {"smearing": -1}, {"max_iterations": 0}, {"gap_kpoint_density": 2}, {"gap_tolerance": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"expected {next(iter(wrong))}"):
        FirstPrinciplesConfig(**wrong)


def test_a_result_survives_json_whether_it_is_one_or_not() -> None:
    found = from_record(ANSWER)
    assert from_record(json.loads(json.dumps(to_record(found)))) == found
    nothing = from_record(json.loads(json.dumps(to_record(gpaw.failed("why not", 3.0)), allow_nan=False)))
    assert math.isnan(nothing.gap)
    assert (nothing.reason, nothing.seconds, nothing.converged) == ("why not", 3.0, False)


def test_the_key_tells_crystals_settings_and_versions_apart() -> None:
    one, other = Interpreter("a", "22.8.0", "3.22.1"), Interpreter("b", "24.1.0", "3.23.0")
    config = FirstPrinciplesConfig()
    strained = SALT.copy().apply_strain(0.001, inplace=False)
    keys = [
        key(SALT, config, one),
        key(SILICON, config, one),
        key(strained, config, one),
        key(SALT, FirstPrinciplesConfig(cutoff=500), one),
        key(SALT, config, other),
    ]
    assert len(set(keys)) == len(keys)
    assert key(SALT.copy(), config, Interpreter("elsewhere", "22.8.0", "3.22.1")) == keys[0]


def test_the_key_tells_a_hubbard_u_apart_only_where_there_is_one() -> None:
    interpreter, without = Interpreter("a", "22.8.0", "3.22.1"), FirstPrinciplesConfig(hubbard=False)
    oxide, sulphide = (rock_salt("Mn", anion) for anion in "OS")
    for structure, differs in ((oxide, True), (sulphide, False), (SALT, False)):
        keys = {key(structure, config, interpreter) for config in (FirstPrinciplesConfig(), without)}
        assert len(keys) == 1 + differs


def test_a_u_is_that_of_the_materials_project_in_oxides_and_fluorides() -> None:
    assert hubbard_u(["Mn", "O", "Ni", "O"]) == {"Mn": 3.9, "Ni": 6.2}
    assert hubbard_u(["V", "F", "F"]) == {"V": 3.25}
    assert hubbard_u(["Mn", "S"]) == hubbard_u(["Ti", "O", "O"]) == {}


def test_the_key_of_the_thorough_settings_is_that_of_results_before_there_were_quick_ones() -> None:
    interpreter, thorough = Interpreter("a", "22.8.0", "3.22.1"), gpaw.thorough(FirstPrinciplesConfig())
    assert key(SALT, thorough, interpreter) == "d8841f19eedc4f45"
    assert key(SALT, FirstPrinciplesConfig(), interpreter) != key(SALT, thorough, interpreter)


def test_logs_of_different_names_lie_in_different_files() -> None:
    names = ["a/b", "a_b", "a b", "a#1", "0001-GaAs"]
    assert len({file_name(name) for name in names}) == len(names)
    assert all("/" not in file_name(name) for name in names)
    assert file_name("0001-GaAs") == "0001-GaAs"


# ---------------------------------------------------------------- finding an interpreter


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'gpaw'\" >&2; exit 1", "No module named 'gpaw'"),
        ("#!/bin/sh\necho hello", "exit code 0"),
        ("no program at all", "cannot|format|says"),
    ],
)
def test_an_interpreter_without_gpaw_is_refused_and_says_what_to_install(
    tmp_path: Path, program: str, words: str
) -> None:
    path = tmp_path / "python"
    path.write_text(program, encoding="utf-8")
    path.chmod(0o755)
    with pytest.raises(MissingGpawError, match=words) as refused:
        find_interpreter(str(path))
    assert "apt install gpaw gpaw-data" in str(refused.value)
    assert "gpaw install-data" in str(refused.value)


def test_a_missing_interpreter_is_reported() -> None:
    with pytest.raises(MissingGpawError, match="No such file"):
        find_interpreter("/nowhere/python3")


def test_missing_datasets_of_gpaw_are_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingGpawError, match=r"no PBE datasets.*apt install gpaw-data"):
        find_interpreter(script(tmp_path, "", datasets="[]").command)


def test_the_variable_names_the_interpreter_and_the_argument_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (script(tmp_path, "exit 1").command for _ in range(2))
    monkeypatch.setenv(VARIABLE, one)
    assert find_interpreter().command == one
    assert find_interpreter(other).command == other


def test_the_search_takes_the_first_on_the_path_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, program in (("without", "#!/bin/sh\nexit 1\n"), ("with", Path(script(tmp_path, "").command).read_text())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "python3").write_text(program)
        (tmp_path / name / "python3").chmod(0o755)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "without" / "python3"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'without'}{os.pathsep}{tmp_path / 'with'}{os.pathsep}{os.environ['PATH']}")
    assert find_interpreter().command == str(tmp_path / "with" / "python3")


# ---------------------------------------------------------------- how a process may end


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("echo Traceback >&2; echo 'RuntimeError: too few bands' >&2; exit 1", "RuntimeError: too few bands"),
        ("exit 7", "exit code 7"),
        ("kill -9 $$", "SIGKILL"),
        ("echo what a pity", "expected a result as JSON.*what a pity"),
        ("echo '{\"gap\": 1.0}'", "expected a result as JSON"),
        ("echo '[1, 2]'", "expected a result as JSON"),
        (f"echo '{json.dumps(ANSWER | {'gap': None})}'", "expected a result as JSON"),
        ("", "expected a result as JSON"),
    ],
)
def test_every_failure_of_a_process_becomes_a_reason(tmp_path: Path, then: str, reason: str) -> None:
    [(name, found)] = calculate_many([("salt", SALT)], script(tmp_path, then))
    assert (name, found.converged) == ("salt", False)
    assert math.isnan(found.gap)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)


def test_a_process_that_hangs_is_killed_in_time_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    fake = script(tmp_path, f"sleep 60 & echo $$ $! > {note}; wait")
    started = time.monotonic()
    [(_, found)] = calculate_many([("salt", SALT)], fake, minutes=0.01)
    assert time.monotonic() - started < 20
    assert found.out_of_time
    assert "0.01 minutes" in found.reason
    pids = [int(pid) for pid in note.read_text().split()]
    assert len(pids) == 2
    assert wait_until(lambda: not any(map(alive, pids)))


def test_leaving_the_loop_kills_what_runs(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    only_once = f"mkdir {tmp_path}/once 2> {os.devnull} || sleep 60"
    fake = answering(tmp_path, f"echo $$ >> {note}; {only_once}")
    results = calculate_many([(f"salt {i}", SALT) for i in range(5)], fake, n_jobs=2)
    next(results)
    assert wait_until(lambda: len(note.read_text().split()) == 3)  # the first, its neighbour and its successor
    results.close()
    assert not any(alive(int(pid)) for pid in note.read_text().split())


def test_processes_run_side_by_side(tmp_path: Path) -> None:
    # Each waits until the other has begun; one after the other they would run out of time.
    other = f"touch {tmp_path}/begun-$$; until [ $(ls {tmp_path}/begun-* | wc -l) = 2 ]; do sleep 0.05; done"
    found = dict(calculate_many([("a", SALT), ("b", SILICON)], answering(tmp_path, other), minutes=0.3, n_jobs=2))
    assert {name: one.gap for name, one in found.items()} == {"a": 1.25, "b": 1.25}


def test_the_worker_leaves_when_the_program_that_started_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gpaw.py").write_text("import time\nopen('begun', 'w').close()\ntime.sleep(60)\n")
    (tmp_path / "job.json").write_text(json.dumps({"symbols": ["Si"]}))
    process = subprocess.Popen(
        [sys.executable, str(WORKER), "job.json", "--watch"],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert wait_until((tmp_path / "begun").exists)
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()  # as the system does when the other end dies
    assert process.wait(20) == 3


def test_the_worker_does_not_shadow_modules_of_others(tmp_path: Path) -> None:
    # The folder that it lies in has a symmetry.py, which is none of GPAW's business.
    seen = "import importlib.util as u\n__version__ = str(u.find_spec('symmetry'))\nsetup_paths = []\n"
    (tmp_path / "gpaw.py").write_text(seen)
    answer = subprocess.run(
        [sys.executable, str(WORKER), "--probe"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert json.loads(answer.stdout)["gpaw"] == "None"


def test_crystals_that_cannot_be_calculated_start_no_process(tmp_path: Path) -> None:
    mixed = Structure(Lattice.cubic(3.0), [{"Si": 0.5, "Ge": 0.5}], [[0, 0, 0]])
    broken = Structure(Lattice.cubic(3.0), ["Si"], [[math.nan, 0, 0]])
    fake = answering(tmp_path, f"touch {tmp_path}/started")
    found = dict(calculate_many([("mixed", mixed), ("broken", broken)], fake))
    assert "partly occupied" in found["mixed"].reason
    assert "not finite" in found["broken"].reason
    assert not (tmp_path / "started").exists()


def test_the_job_is_the_primitive_cell_with_the_settings(tmp_path: Path) -> None:
    fake = answering(tmp_path, f"cp $2 {tmp_path}/job.json")
    list(calculate_many([("salt", SALT)], fake, FirstPrinciplesConfig(cutoff=350)))
    job = json.loads((tmp_path / "job.json").read_text())
    assert (sorted(job["symbols"]), job["cutoff"]) == (["Cl", "Na"], 350)
    assert abs(np.linalg.det(job["cell"])) == pytest.approx(SALT.volume / 4)


# ---------------------------------------------------------------- results that survive


def counting(folder: Path) -> Interpreter:
    """One that answers, and notes each job."""
    return answering(folder, f"echo job >> {folder}/jobs")


def jobs(folder: Path) -> int:
    """How many jobs `counting` has got."""
    path = folder / "jobs"
    return len(path.read_text().split()) if path.exists() else 0


FIVE = [(f"salt {i}", SALT.copy().apply_strain(0.01 * i, inplace=False)) for i in range(5)]


def test_an_interrupt_loses_no_result_and_repeats_none(tmp_path: Path) -> None:
    plan, file = Plan(counting(tmp_path), FirstPrinciplesConfig()), CalculationFile(tmp_path / "verified.jsonl")
    first = calculated(FIVE, file, plan)
    begun = [next(first)[0] for _ in range(2)]
    first.close()
    with file.path.open("a", encoding="utf-8") as stream:
        stream.write('{"name": "salt 3", "key": "ab')  # cut short
    before = jobs(tmp_path)
    again = list(calculated(FIVE, file, plan))
    assert [name for name, _ in again[:2]] == begun
    assert sorted(name for name, _ in again) == [name for name, _ in FIVE]
    assert jobs(tmp_path) - before == 3
    assert sorted(json.loads(line)["name"] for line in file.path.read_text().splitlines()) == [n for n, _ in FIVE]


def test_other_settings_are_calculated_anew_beside_the_old_ones(tmp_path: Path) -> None:
    fake, file = counting(tmp_path), CalculationFile(tmp_path / "verified.jsonl")
    for cutoff, total in ((400, 1), (300, 2), (400, 2)):
        list(calculated(FIVE[:1], file, Plan(fake, FirstPrinciplesConfig(cutoff=cutoff))))
        assert jobs(tmp_path) == total


def test_failures_are_repeated_only_where_that_may_help(tmp_path: Path) -> None:
    fake, file = script(tmp_path, f"echo job >> {tmp_path}/jobs; exit 1"), CalculationFile(tmp_path / "verified.jsonl")
    config = FirstPrinciplesConfig()
    for plan, total in (
        (Plan(fake, config), 1),
        (Plan(fake, config, minutes=60), 1),
        (Plan(fake, config, retry=True), 2),
    ):
        list(calculated(FIVE[:1], file, plan))
        assert jobs(tmp_path) == total


def test_more_time_repeats_what_ran_out_of_it() -> None:
    late = gpaw.failed("not finished within 10 minutes", 600.0)
    fake, config = Interpreter("python3", "22.8.0", "3.22.1"), FirstPrinciplesConfig()
    assert [Plan(fake, config, minutes=minutes).stands(late) for minutes in (5, 10, 30)] == [True, True, False]


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    file = CalculationFile(tmp_path / "verified.jsonl")
    file.path.write_text('{"name": "a"}\n')
    with pytest.raises(ResumeError, match="damaged"):
        file.read()


# ---------------------------------------------------------------- the table


@pytest.fixture
def designs(tmp_path: Path) -> Path:
    """The folder of a design run that found two candidates."""
    folder = tmp_path / "run"
    with CandidateWriter(folder, RunInfo("1", 0, {})) as writer:
        for name, structure in (("a-NaCl", SALT), ("b-Si", SILICON)):
            properties = {"band_gap": Prediction(2.0, 0.1, "eV")}
            writer.write(Candidate(name, structure, structure, space_group(structure), properties=properties))
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_results_join_the_table_of_the_candidates(tmp_path: Path, designs: Path) -> None:
    every = subjects([designs])
    plan = Plan(answering(tmp_path), FirstPrinciplesConfig())
    names: list[str] = []
    outcome = run(every, chosen(every, ["b-Si"]), designs, plan, found=lambda one: names.append(one.subject.name))
    before, after = rows(designs / "candidates.csv"), rows(outcome.table)
    assert names == ["b-Si"]
    assert outcome.converged == 1
    for old, new in zip(before, after, strict=True):
        assert old.keys() <= new.keys()
        assert (old["name"], float(old["band_gap"])) == (new["name"], float(new["band_gap"]))
    assert [row["gpaw_gap"] for row in after] == ["", "1.25"]
    assert [row["gpaw_kpoints"] for row in after] == ["", "3x3x3"]
    columns = pq.read_table(outcome.table.with_suffix(".parquet")).to_pydict()
    assert columns["gpaw_gap"] == [None, 1.25]
    assert default_folder([designs]) == designs
    # The other one, later: the earlier result stays in the table.
    run(every, chosen(every, ["a-NaCl"]), designs, plan)
    assert [row["gpaw_gap"] for row in rows(outcome.table)] == ["1.25", "1.25"]


def test_a_candidate_half_written_by_a_run_that_goes_on_is_left_alone(designs: Path) -> None:
    path = designs / "candidates.jsonl"
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"name": "c-')
    text = path.read_text()
    assert [one.name for one in subjects([designs])] == ["a-NaCl", "b-Si"]
    assert path.read_text() == text


def test_a_broken_file_is_a_row_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    SALT.to(filename=str(folder / "salt.cif"))
    (folder / "torn.cif").write_text("data_torn\n_cell_length_a 3\n")
    every = subjects([folder])
    plan = Plan(answering(tmp_path), FirstPrinciplesConfig())
    outcome = run(every, every, folder, plan)
    found = {row["name"].rpartition("/")[2]: row for row in rows(outcome.table)}
    assert (found["salt.cif"]["gpaw_gap"], found["torn.cif"]["gpaw_gap"]) == ("1.25", "")
    assert found["torn.cif"]["gpaw_reason"]
    assert [one.name for one in subjects([folder])] == [one.name for one in every]  # not what was written there


def test_two_runs_are_distinguished_by_their_folder(tmp_path: Path, designs: Path) -> None:
    (tmp_path / "other").mkdir()
    designs.rename(tmp_path / "other" / "one")
    with CandidateWriter(tmp_path / "other" / "two", RunInfo("1", 0, {})) as writer:
        writer.write(Candidate("a-NaCl", SALT, SALT, space_group(SALT)))
    assert [one.name for one in subjects([tmp_path / "other"])] == ["one/a-NaCl", "one/b-Si", "two/a-NaCl"]


def test_files_beside_designs_are_counted(tmp_path: Path, designs: Path) -> None:
    (tmp_path / "mine").mkdir()
    SALT.to(filename=str(tmp_path / "mine" / "salt.cif"))
    assert len(subjects([tmp_path])) == 2
    assert passed_over([tmp_path]) == 1
    assert passed_over([designs]) == passed_over([tmp_path / "mine"]) == 0  # a design's own; taken, not passed over


def test_the_first_ones_and_those_of_a_name_are_chosen() -> None:
    every = [Subject(name, None, "") for name in ("a-NaCl", "b-Si", "c-GaAs")]
    assert [one.name for one in chosen(every, top=2)] == ["a-NaCl", "b-Si"]
    assert [one.name for one in chosen(every, ["c-GaAs", "a-NaCl"])] == ["c-GaAs", "a-NaCl"]
    with pytest.raises(SelectionError, match="did you mean b-Si"):
        chosen(every, ["b-Sj"])
    with pytest.raises(SelectionError, match="found none"):
        chosen([])


# ---------------------------------------------------------------- the command


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `matgen verify ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["matgen", "verify", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_says_what_to_install(
    designs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, str(designs), "--python", "/nowhere/python3") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "/nowhere/python3" in line
    assert "apt install gpaw gpaw-data" in line


def test_the_command_prints_a_table_or_json(
    tmp_path: Path, designs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = answering(tmp_path).command
    assert called(monkeypatch, str(designs), "--python", fake, "--top", "1", "--json") == 0
    [line] = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert (record["name"], record["band_gap"], record["gpaw_gap"], record["gpaw_cutoff"]) == (
        "a-NaCl",
        2.0,
        1.25,
        400.0,
    )
    assert called(monkeypatch, str(designs), "--python", fake) == 0
    shown = capsys.readouterr().out
    assert "b-Si" in shown
    assert "1.25" in shown


def test_nothing_calculated_is_exit_code_one(tmp_path: Path, designs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, str(designs), "--python", script(tmp_path, "exit 1").command) == 1


def test_an_interrupt_of_the_command_kills_its_children_and_keeps_the_results(tmp_path: Path, designs: Path) -> None:
    note = tmp_path / "pids"
    second = f"echo $$ >> {note}; mkdir {tmp_path}/once 2> {os.devnull} || sleep 60"
    fake = answering(tmp_path, second).command
    # What runs in the background inherits that it ignores interrupts.
    heeding = "import signal; signal.signal(2, signal.default_int_handler); from matgen.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", heeding, "verify", str(designs), "--python", fake, "--jobs", "1"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path,
    )
    assert wait_until(lambda: note.exists() and len(note.read_text().split()) == 2, 240)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130  # a busy machine takes its time
    assert process.stderr is not None
    with process.stderr as stream:
        assert "1 of 2 results" in stream.read()
    assert not any(alive(int(pid)) for pid in note.read_text().split())
    assert [row["gpaw_gap"] for row in rows(designs / "verified.csv")] == ["1.25", ""]


# ---------------------------------------------------------------- GPAW itself


@pytest.fixture(scope="module")
def results() -> dict[str, FirstPrinciples]:
    """Real results at settings that are quick rather than good."""
    try:
        interpreter = find_interpreter()
    except MissingGpawError as error:
        pytest.skip(f"needs GPAW: {error}")
    # Half a turn gives cell vectors that GPAW cannot plot.
    half_a_turn = SILICON.lattice.matrix @ np.diag([-1.0, 1.0, -1.0])
    turned = Structure(half_a_turn, SILICON.species, SILICON.frac_coords + np.array([0.1, 0.2, 0.3]))
    turned.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    aluminium = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.05), ["Al"], [[0, 0, 0]])
    cerium = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.16), ["Ce"], [[0, 0, 0]])
    crystals = {"silicon": SILICON, "turned": turned, "aluminium": aluminium, "cerium": cerium}
    crystals["oxide"] = rock_salt("Mn", "O", 4.44)
    config = FirstPrinciplesConfig(cutoff=200, kpoint_density=1.5, smearing=0.1)
    finer, plain = replace(config, gap_kpoint_density=3.6), replace(config, hubbard=False)
    [(_, denser)] = calculate_many([("silicon", SILICON)], interpreter, finer, minutes=3)
    [(_, without_u)] = calculate_many([("oxide", crystals["oxide"])], interpreter, plain, minutes=3)
    [(_, thorough)] = calculate_many([("silicon", SILICON)], interpreter, gpaw.thorough(config), minutes=3)
    return {"denser": denser, "without U": without_u, "thorough": thorough} | dict(
        calculate_many(crystals.items(), interpreter, config, minutes=3, n_jobs=2)
    )


def test_gpaw_finds_silicon_a_semiconductor_in_any_cell(results: dict[str, FirstPrinciples]) -> None:
    silicon, turned = results["silicon"], results["turned"]
    assert silicon.converged, silicon.reason
    assert 0.4 < silicon.gap < 0.8  # 0.58 eV on the mesh of the defaults
    assert silicon.direct_gap == pytest.approx(2.55, abs=0.2)  # at Γ, 2.56 eV with the defaults
    assert silicon.magnetic_moment == 0.0
    assert not silicon.settings["spin_polarised"]
    # The egg-box of the real-space grid is what is left: some meV.
    assert turned.energy == pytest.approx(silicon.energy, abs=5e-3)
    assert turned.gap == pytest.approx(silicon.gap, abs=5e-3)


def test_a_denser_mesh_lowers_the_gap_and_leaves_the_energy(results: dict[str, FirstPrinciples]) -> None:
    silicon, denser = results["silicon"], results["denser"]
    assert (denser.settings["kpoints"], denser.settings["gap_kpoints"]) == ([4, 4, 4], [8, 8, 8])
    assert denser.energy == pytest.approx(silicon.energy, abs=1e-5)  # same calculation
    # Every point of the coarse mesh is one of the fine one; states are converged to about a meV.
    assert denser.gap < silicon.gap + 2e-3
    assert denser.direct_gap < silicon.direct_gap + 2e-3
    assert denser.gap == pytest.approx(silicon.gap, abs=0.2)


def test_the_quick_criteria_find_the_same_gap_as_those_of_gpaw(results: dict[str, FirstPrinciples]) -> None:
    silicon, thorough = results["silicon"], results["thorough"]
    assert (silicon.settings["gap_tolerance"], thorough.settings["gap_tolerance"]) == (0.02, 0.0)
    # The tolerance of the last steps, and a like amount for what they have not seen.
    assert silicon.gap == pytest.approx(thorough.gap, abs=0.04)
    assert silicon.energy == pytest.approx(thorough.energy, abs=0.02)  # to 5 meV per electron, of which there are four


def test_gpaw_finds_aluminium_a_metal(results: dict[str, FirstPrinciples]) -> None:
    assert results["aluminium"].converged, results["aluminium"].reason
    assert results["aluminium"].gap == 0.0
    assert results["aluminium"].settings["spin_polarised"]  # three valence electrons cannot be paired


def test_a_hubbard_u_lines_up_the_electrons_of_manganese(results: dict[str, FirstPrinciples]) -> None:
    oxide, without = results["oxide"], results["without U"]
    assert oxide.converged, oxide.reason
    assert without.converged, without.reason
    assert (oxide.settings["hubbard_u"], without.settings["hubbard_u"]) == ({"Mn": 3.9}, {})
    assert 4.8 < oxide.magnetic_moment < 5.2  # five electrons in the d shell
    assert oxide.magnetic_moment > without.magnetic_moment + 0.3
    assert oxide.energy > without.energy  # partly filled orbitals cost, ½ U Σ n (1 - n)


def test_gpaw_lacks_a_dataset_of_cerium_and_says_so(results: dict[str, FirstPrinciples]) -> None:
    assert not results["cerium"].converged
    assert results["cerium"].reason == "no PAW dataset for Ce"
