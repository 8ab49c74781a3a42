"""Completion in shells: values of options, without loading anything heavy; the estimate before a design."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from matgen.cli import completions
from matgen.cli.announcement import FEWEST, Remaining, announcement, remaining_text
from matgen.generation.presets import preset_of
from matgen.generation.relaxation_settings import RELAXERS
from matgen.generation.request import Request
from matgen.relaxation.potentials import POTENTIALS
from matgen.search.expected_time import START, expected_time
from matgen.targets.learned import LEARNED
from matgen.targets.properties import PROPERTIES

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ["torch", "numpy", "pymatgen", "ase", "scipy", "rdkit", "chgnet", "pyarrow", "pandas", "sklearn", "matplotlib"]


def completed(words: str, shell: str = "bash", cwd: Path = REPOSITORY) -> list[str]:
    """What a shell is offered after these words, and nothing heavy was loaded for it."""
    code = (
        "import sys, atexit; sys.argv = ['matgen']\n"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr))\n"
        "from matgen.cli import main\nmain()"
    )
    told = {"_MATGEN_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    told |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment = os.environ | told | {"PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd, env=environment
    )
    assert answer.stderr.strip() == "[]"
    return answer.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("matgen des", ["design"]),
        ("matgen doc", ["doctor"]),
        ("matgen design --kind ", ["crystal", "molecule"]),
        ("matgen design --property band", ["band_gap="]),
        ("matgen design --calculator chg", ["chgnet", "chgnet-r2scan"]),
        ("matgen train template_pro", ["template_properties"]),
        ("matgen screen --device cuda", ["cuda", "cuda:0", "cuda:1"]),
    ],
)
def test_bash_is_offered_commands_and_values(words: str, expected: list[str]) -> None:
    assert completed(words) == expected


def test_files_are_offered_where_a_file_may_stand(tmp_path: Path) -> None:
    (tmp_path / "cluster.py").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "more").mkdir()
    assert completed("matgen design --executor ", cwd=tmp_path) == ["local", "cluster.py", "more/"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_offered_the_same(shell: str) -> None:
    offered = "\n".join(completed("matgen design --kind ", shell))
    assert "crystal" in offered
    assert "molecule" in offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_one(shell: str) -> None:
    told = {"_MATGEN_COMPLETE": f"source_{shell}", "PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(
        [sys.executable, "-m", "matgen"], capture_output=True, text=True, check=True, env=os.environ | told
    )
    assert f"complete_{shell}" in answer.stdout
    if program := shutil.which(shell):  # bash is everywhere; the others where somebody installed them
        subprocess.run([program, "-n", "/dev/stdin"], input=answer.stdout, text=True, check=True)


def test_offered_values_are_those_that_exist() -> None:
    assert set(completions.CALCULATORS) == set(POTENTIALS)
    names = {name.removesuffix("=") for name in completions.properties("")}
    assert {*PROPERTIES, *LEARNED} <= names
    assert set(completions.RELAXERS) == {name for relaxers in RELAXERS.values() for name in relaxers}
    assert set(completions.training_configs("")) >= {"template_prior", "graph_energy", "molecule_energy"}


# ---------------------------------------------------------------- before a design


def asked(kind: str = "crystal", *, fast: bool = False, **options: object) -> Request:
    return Request.of(kind=kind, **preset_of(kind, fast=fast)).updated(**options)


def test_the_estimate_follows_number_workers_and_cores() -> None:
    one, two = (expected_time(asked(band_gap=1.5, n=20, processes=n), cores=2) for n in (1, 2))
    assert one.seconds - START == pytest.approx(2 * (two.seconds - START))
    assert expected_time(asked(band_gap=1.5, n=20, processes=2), cores=1).seconds == one.seconds
    assert expected_time(asked(band_gap=1.5, n=20), 2, found=20).seconds == START
    # 100 candidates took 480 s on two cores, and 20 molecules 97 s (docs/results.md).
    assert expected_time(asked(band_gap=1.5, n=100), 2).seconds == pytest.approx(480, rel=0.1)
    assert expected_time(asked("molecule", gap=5.0, n=20), 2).seconds == pytest.approx(107, rel=0.1)
    assert expected_time(asked(band_gap=1.5, n=20, fast=True), 2).seconds < two.seconds


@pytest.mark.parametrize(
    "options",
    [
        {"formula": "SrTiO3"},
        {"band_gap": 1.5, "density": ">3"},
        {"band_gap": 1.5, "verify": 2},
        {"space_groups": [225]},
        {"band_gap": 1.5, "stages": {"moves": False}},
    ],
)
def test_there_is_no_estimate_for_what_was_not_measured(options: dict[str, object]) -> None:
    request = asked(**options)
    assert math.isnan(expected_time(request, 2).seconds)
    assert "no estimate on" in announcement(request, Path("designs/x"), 2)


def test_a_design_says_what_it_will_do(tmp_path: Path) -> None:
    told = announcement(asked(band_gap=1.5, n=20), tmp_path / "run", 2)
    what = "20 crystals with a PBE band gap of 1.5 ± 0.25 eV; about 2 minutes (an estimate) on 2 processes"
    assert told.splitlines() == [
        f"{what}, at most 10 minutes (--budget)",
        f"results stream to {tmp_path / 'run'}; Ctrl-C keeps what was found, the same command resumes",
    ]
    (tmp_path / "candidates.jsonl").write_text("{}\n" * 7)
    assert "20 crystals, of which 7 are there; about" in announcement(asked(n=20), tmp_path, 2)
    assert "of which" not in announcement(asked(n=20), tmp_path, 2, anew=True)
    long = announcement(asked(band_gap=1.5, n=500, budget=5), tmp_path / "run", 1)
    assert "about 1 hours" not in long
    assert "on 2 processes and 1 core, stops after 5 minutes (--budget)" in long


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4, "10 seconds"),
        (42, "40 seconds"),
        (60, "1 minute"),
        (100, "2 minutes"),
        (5400, "2 hours"),
        (5000, "83 minutes"),
    ],
)
def test_durations_are_rough(seconds: float, text: str) -> None:
    assert remaining_text(seconds) == text


def test_the_rest_is_told_once_there_is_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, *(30.0 * i for i in range(FEWEST, 20))])
    monkeypatch.setattr("matgen.cli.announcement.time.perf_counter", lambda: next(clock))
    remaining = Remaining(6, 1)
    told = [remaining() for _ in range(6)]
    assert told[:FEWEST] == [f"{n} of 6" for n in range(1, FEWEST + 1)]  # one of an earlier call, two new ones
    assert told[FEWEST] == "4 of 6, about 1 minute left"  # three new ones in 90 s, two are left
    assert told[-1] == "6 of 6"
