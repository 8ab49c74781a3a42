"""`matgen doctor`: what works, what is missing, what to type; it survives whatever it finds."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from matgen import cli
from matgen.cli.doctor import conclusion, lines
from matgen.installation import machine, probe, programs, requirements, shipped, tables
from matgen.installation.calculations import TOLERANCE, compared
from matgen.installation.finding import Finding, install
from matgen.installation.probing import probed
from matgen.weights.files import WEIGHTS

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_whole_command_finds_this_installation_sound(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "matgen", "doctor", "--check", "--json"]
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}
    )
    found = {one["subject"]: one for one in map(json.loads, answer.stdout.splitlines())}
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert {"Python", "threads", "disk", "required packages", "files", "PyTorch", "weights", "references"} <= set(found)
    assert {"GPAW", "potentials", "extra plot", "CHGNet", "graph energy", "GFN2-xTB"} <= set(found)
    assert all(found[name]["state"] == "ok" for name in ("CHGNet", "graph energy", "GFN2-xTB", "weights", "references"))
    assert all(one["advice"] for one in found.values() if one["state"] != "ok")
    assert not list(tmp_path.iterdir())


def test_a_broken_finding_gives_exit_code_1_and_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [
        Finding("a", "ok", "fine"),
        Finding("b", "broken", "gone [x]", "get b"),
        Finding("c", "missing", "c", "d"),
    ]
    monkeypatch.setattr("matgen.workflows.doctor.examine", lambda **_: iter(findings))
    monkeypatch.setattr("sys.argv", ["matgen", "doctor"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    shown = capsys.readouterr().out
    assert "broken   b: gone [x]\n         type: get b\n" in shown
    assert "broken: 1; repair these first" in shown
    assert lines(findings[0]) == ["ok       a: fine"]
    assert conclusion(0, 1, checked=True) == "what is needed works; optional and missing: 1"


# ---------------------------------------------------------------- the probe


def test_a_step_that_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.try_step("import json json") == Finding("json", "ok", "imports as json")
    absent = probe.try_step("import nothing-here nothing_here")
    assert absent.state == "broken"
    assert "No module named 'nothing_here'" in absent.text
    assert "nothing-here" in absent.advice
    monkeypatch.setitem(probe.STEPS, "odd", "math:sqrt")  # which wants an argument
    assert probe.try_step("odd").state == "broken"


def test_steps_after_a_deadly_one_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    (tmp_path / "leaving.py").write_text("import os\nos._exit(7)\n")
    (tmp_path / "chatty.py").write_text("print('{not a finding')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    steps = [f"import {name} {name}" for name in ("json", "deadly", "chatty", "leaving", "csv")]
    found = list(probed(steps))
    assert [one.state for one in found] == ["ok", "broken", "ok", "broken", "ok"]
    assert signal.SIGSEGV.name in found[1].text
    assert "exit code 7" in found[3].text


def test_a_step_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "endless.py").write_text("while True: pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # Long enough for an interpreter to start on a busy machine, short beside an import that does not end.
    found = list(probed(["import endless endless"], longest=5.0))
    assert [one.state for one in found] == ["broken"]
    assert "no end" in found[0].text


@pytest.mark.parametrize("step", sorted(probe.STEPS))
def test_every_step_names_a_function(step: str) -> None:
    module, _, function = probe.STEPS[step].partition(":")
    source = REPOSITORY / f"{module.replace('.', '/')}.py"
    assert f"def {function}() -> Finding:" in source.read_text(encoding="utf-8")


# ---------------------------------------------------------------- packages


def test_versions_are_compared_with_what_is_required() -> None:
    assert requirements.fault(Requirement("pytest>=1")) is None
    too_old = requirements.fault(Requirement("pytest>=9999"))
    assert too_old is not None
    assert too_old.state == "broken"
    assert "expected >=9999" in too_old.text
    absent = requirements.fault(Requirement("nothing-here>=1"))
    assert absent is not None
    assert absent.text == "not installed"
    assert absent.advice == install("nothing-here>=1")


def test_versions_of_the_tests_are_known_and_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = requirements.tested()
    assert {"torch", "numpy", "pymatgen", "packaging"} <= set(pins)
    wanted = [Requirement("torch"), Requirement("numpy")]
    monkeypatch.setattr(requirements, "installed", lambda name: {"torch": f"{pins['torch']}+cpu", "numpy": "0.1"}[name])
    found = requirements.compared_with_tested(wanted)
    assert found.state == "note"
    assert f"1 of 2 differ, which is fine unless something fails: numpy 0.1 (tested: {pins['numpy']})" in found.text
    assert found.advice.endswith(f"constraints.txt numpy=={pins['numpy']}")
    monkeypatch.setattr(requirements, "tested", dict)
    assert "not known" in requirements.compared_with_tested(wanted).text


def test_extras_that_are_absent_say_what_they_are_for_and_how_to_get_them() -> None:
    extras = {"parsl": [Requirement("no-parsl>=2; extra == 'parsl'")], "dev": [Requirement("no-pytest")]}
    found = list(requirements.extra_findings(extras))
    assert [one.subject for one in found] == ["extra parsl"]
    assert found[0].state == "missing"
    assert "--executor" in found[0].text
    assert found[0].advice == install("no-parsl>=2")
    there = list(requirements.extra_findings({"more": [Requirement("pytest")]}))
    assert [one.state for one in there] == ["ok"]


def test_packages_are_imported_by_their_own_names() -> None:
    names = requirements.import_names(["scikit-learn", "torch-geometric", "rdkit", "pytest", "nothing-here"])
    assert names == {
        "scikit-learn": "sklearn",
        "torch-geometric": "torch_geometric",
        "rdkit": "rdkit",
        "pytest": "pytest",
        "nothing-here": "nothing_here",
    }


def test_advice_names_this_interpreter_and_an_installer_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install("a>=1", options="-c b") == f"{sys.executable} -m pip install -c b 'a>=1'"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # as in an environment of uv
    assert install("a") == f"uv pip install --python {sys.executable} a"


# ---------------------------------------------------------------- the machine


@pytest.mark.parametrize(("version", "state"), [((3, 10), "note"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "note")])
def test_pythons_that_are_not_tested_are_told(version: tuple[int, int], state: str) -> None:
    assert machine.python_finding(version).state == state


@pytest.mark.parametrize(
    ("told", "cores", "state", "words"),
    [
        ("", 2, "ok", "2 cores"),
        ("1", 8, "ok", "--processes 8"),
        ("8", 4, "note", "more threads than cores"),
        ("2", 2, "note", "more than there are"),
        ("odd", 1, "ok", "threads of each process: 1"),
    ],
)
def test_too_many_threads_are_told(told: str, cores: int, state: str, words: str) -> None:
    found = machine.threads_finding(told, cores)
    assert found.state == state
    assert words in found.text
    assert bool(found.advice) == (state == "note")


def test_the_share_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(machine, "CPU_QUOTA", quota)
    allowed = machine.cores()
    for text, expected in (("max 100000", allowed), ("50000 100000", 1), (f"{100000 * allowed} 100000", allowed)):
        quota.write_text(text)
        assert machine.cores() == expected


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    assert machine.writing_finding(tmp_path).state == "ok"
    assert not list(tmp_path.iterdir())
    found = machine.writing_finding(tmp_path / "absent")
    assert found.state == "note"
    assert "--out" in found.advice


@pytest.mark.parametrize(
    ("encoding", "state"), [("utf-8", "ok"), ("ascii", "note"), ("latin-1", "note"), ("odd", "note")]
)
def test_a_terminal_without_the_characters_is_told(encoding: str, state: str) -> None:
    assert machine.characters_finding(encoding).state == state


def test_little_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.disk_finding(tmp_path).state in {"ok", "note"}
    monkeypatch.setattr(machine, "LEAST_DISK", 1e30)
    assert machine.disk_finding(tmp_path).state == "note"


# ---------------------------------------------------------------- files, tables, programs


class Listed:
    """A line of the list of installed files."""

    def __init__(self, path: Path, digest: str) -> None:
        self.parts, self._path = ("matgen", path.name), path
        self.hash = type("Hash", (), {"mode": "sha256", "value": digest})()

    def locate(self) -> Path:
        return self._path

    def __str__(self) -> str:
        return f"matgen/{self._path.name}"


def test_files_that_are_not_as_they_were_installed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(b"abc")
    digest = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"  # SHA-256 of abc, as a wheel writes it
    for path, value, state in (
        (file, digest, "ok"),
        (file, digest[::-1], "broken"),
        (tmp_path / "b", digest, "broken"),
    ):
        listed = [Listed(path, value)]
        monkeypatch.setattr(shipped, "files", lambda _, listed=listed: listed)
        assert shipped.files_finding().state == state


def test_a_program_that_is_not_installed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(shipped, "files", absent)
    assert shipped.files_finding().state == "note"


def test_damaged_weights_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.weights_finding().state == "ok"
    monkeypatch.setattr("matgen.weights.files.WEIGHTS", tmp_path)
    (tmp_path / "graph_energy.safetensors").write_bytes((WEIGHTS / "graph_energy.safetensors").read_bytes()[:-1])
    found = tables.weights_finding()
    assert found.state == "broken"
    assert "graph_energy" in found.text


def test_gpaw_that_is_absent_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATGEN_GPAW_PYTHON", "/nowhere/python3")
    found = programs.gpaw_finding()
    assert found.state == "missing"
    assert "/nowhere/python3" in found.text
    assert "apt install gpaw" in found.advice


def wrong_by(difference: float) -> Callable[[], float]:
    return lambda: 1.0 + difference


@pytest.mark.parametrize(("factor", "state"), [(0.0, "ok"), (0.9, "ok"), (1.1, "broken"), (float("nan"), "broken")])
def test_an_energy_that_is_another_one_is_broken(factor: float, state: str) -> None:
    found = compared("x", "NaCl", wrong_by(factor * TOLERANCE), 1.0, "eV", "torch")
    assert found.state == state
    assert bool(found.advice) == (state == "broken")
