"""The pages that lead a new user, run from the first line to the last."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from matgen.first_principles.gpaw_interpreter import MissingGpawError, find_interpreter

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "first_path.md").read_text(encoding="utf-8")
INTERCHANGE = (REPOSITORY / "docs" / "interchange.md").read_text(encoding="utf-8")


def section(number: int) -> str:
    """The text of a numbered step."""
    return re.split(r"(?m)^## \d\. .*$", PAGE)[number]


def commands(text: str) -> list[str]:
    """The commands of a text."""
    return re.findall(r"(?m)^    (\w.*)$", re.sub(r"(?s)```.*?```", "", text))


def snippets(text: str) -> list[str]:
    """The programs of a text."""
    return re.findall(r"(?s)```python\n(.*?)```", text)


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)


def run_command(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *words = shlex.split(command)
    assert program == "matgen", command
    return run(["-m", "matgen", *words], folder)


def run_snippet(code: str, folder: Path) -> str:
    """What a program prints, whose spawned processes do not run it again."""
    answer = run(["-c", code], folder)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return answer.stdout


@pytest.fixture(scope="module")
def designed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first_path")
    (command,) = commands(section(2))
    answer = run_command(command, folder)
    assert answer.returncode == 0, answer.stderr
    assert "found all 2" in answer.stderr
    return folder


def test_the_package_that_is_installed_is_the_one_of_the_extra() -> None:
    pip, apt = commands(section(1))
    (package,) = re.findall(r'^pip install -c constraints.txt \. "(.+)"$', pip)
    with (REPOSITORY / "pyproject.toml").open("rb") as stream:
        assert [package] == tomllib.load(stream)["project"]["optional-dependencies"]["jobflow"]
    assert apt == "apt install gpaw gpaw-data"


@pytest.mark.slow
def test_the_stream_yields_candidates_of_the_design(designed: Path) -> None:
    (code,) = snippets(section(2))
    streamed = [line.split()[0] for line in run_snippet(code, designed).splitlines()]
    assert streamed
    table = (designed / "first" / "candidates.csv").read_text(encoding="utf-8")
    assert all(f"\n{name}," in table for name in streamed)


@pytest.mark.slow
def test_the_candidates_are_screened(designed: Path) -> None:
    (command,) = commands(section(3))
    answer = run_command(command, designed)
    assert answer.returncode == 0, answer.stderr
    assert "of 2 structures pass" in answer.stderr
    assert "reason" in (designed / "looked" / "results.csv").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.slow
def test_the_first_candidate_is_verified_or_the_command_says_what_to_install(designed: Path) -> None:
    (command,) = commands(section(4))
    try:
        find_interpreter()
    except MissingGpawError:
        answer = run_command(command, designed)
        assert answer.returncode == 2
        assert "apt install gpaw gpaw-data" in answer.stderr
        return
    answer = run_command(command, designed)
    assert answer.returncode == 0, answer.stderr
    assert "gpaw_gap" in (designed / "first" / "verified.csv").read_text(encoding="utf-8").splitlines()[0]


@pytest.fixture(scope="module")
def exported(designed: Path) -> Path:
    shown = commands(section(5))
    assert len(shown) == 3
    for command in shown:
        answer = run_command(command, designed)
        assert answer.returncode == 0, answer.stderr
        assert "2 structures are in" in answer.stderr
    return designed


def test_entries_enter_a_flow(exported: Path) -> None:
    pytest.importorskip("jobflow")
    code, _ = snippets(section(5))
    assert run_snippet(code, exported).count("Finished job - matgen relax") == 2


@pytest.mark.slow
def test_a_flow_of_atomate2_is_built(exported: Path) -> None:
    pytest.importorskip("atomate2")
    _, code = snippets(section(5))
    assert run_snippet(code + "\nprint(len(flow.job_uuids), flow.name)", exported) == "2 designed and relaxed\n"


@pytest.mark.slow
def test_the_hull_of_pymatgen_is_ours(exported: Path) -> None:
    code = snippets(INTERCHANGE)[0]
    told = max(0.0, float(run_snippet(code, exported).split()[-1]))
    found = "from matgen.interchange.item import read_run\nfrom pathlib import Path\n"
    found += "print(read_run(Path('first')).items[0].candidate.verdicts['hull'].value)"
    assert told == pytest.approx(max(0.0, float(run_snippet(found, exported))), abs=1e-6)


@pytest.mark.slow
def test_a_flow_with_a_store_on_disk_runs(tmp_path: Path) -> None:
    pytest.importorskip("jobflow")
    code = snippets(INTERCHANGE)[1]
    *_log, formulas = run_snippet(code, tmp_path).splitlines()
    assert len(formulas.split(",")) == 2
    assert (tmp_path / "store.json").is_file()


def test_the_commands_of_the_page_on_formats_are_understood() -> None:
    for command in commands(INTERCHANGE):
        answer = run_command(command, REPOSITORY)
        assert answer.returncode == 2
        assert "expected a folder of `matgen design`" in answer.stderr
