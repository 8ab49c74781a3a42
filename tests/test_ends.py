"""However a command ends, for want of a disk, memory, or readers of its output, it ends in a line and an exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TextbookEntry

import matgen
from matgen import cli
from matgen.structures.cif import cif_text

FULL = Path("/dev/full")

WITHOUT_MEMORY = """
import matgen.structures.reading as reading

def hungry(text):
    raise MemoryError

reading.READERS["cif"] = hungry
"""


@pytest.fixture
def folder(textbook: tuple[TextbookEntry, ...], tmp_path: Path) -> Path:
    """Three small crystals."""
    place = tmp_path / "in"
    place.mkdir()
    for index, entry in enumerate([entry for entry in textbook if len(entry.structure) <= 8][:3]):
        (place / f"{index}.cif").write_text(cif_text(entry.structure), encoding="utf-8")
    return place


def command(words: str, redirected: str = "", more_path: Path | None = None) -> subprocess.CompletedProcess:
    """Run matgen by a shell, so that its output goes where the shell sends it."""
    paths = [str(more_path)] if more_path else []
    path = os.pathsep.join([*paths, str(Path(matgen.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    line = f"set -o pipefail; {sys.executable} -m matgen {words} {redirected}"
    return subprocess.run(
        ["/bin/bash", "-c", line], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def screen(folder: Path) -> str:
    return f"screen {folder} --out {folder.parent / 'out'} --reference none --known none --jobs 1"


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["--help", "properties", "SCREEN", "SCREEN --json"])
def test_a_full_disk_behind_standard_output(folder: Path, words: str) -> None:
    done = command(words.replace("SCREEN", screen(folder)), f"> {FULL}")
    assert done.returncode == cli.OUT_OF_MACHINE
    assert done.stderr.splitlines()[-1] == "matgen: cannot go on: No space left on device"
    assert "Traceback" not in done.stderr
    if "SCREEN" in words:  # what was done is not lost, and what was not is done by the next call
        again = command(screen(folder))
        assert again.returncode == 0, again.stderr
        report = json.loads((folder.parent / "out" / "run.json").read_text(encoding="utf-8"))
        assert report["taken_up"] == 3


@pytest.mark.parametrize("words", ["properties", "SCREEN --json"])
@pytest.mark.parametrize("reader", ["| true", "| head -c 1", ">&-", "2>&-", "2> /dev/null | true"])
def test_nobody_reads_the_output(folder: Path, words: str, reader: str) -> None:
    done = command(words.replace("SCREEN", screen(folder)), reader)
    assert done.returncode in {0, 1}
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null", "/dev/null/run"])
@pytest.mark.parametrize("words", ["screen FOLDER --jobs 1 --reference none --known none", "evaluate FOLDER"])
def test_a_place_that_cannot_be_written(folder: Path, words: str, place: str) -> None:
    done = command(f"{words.replace('FOLDER', str(folder))} --out {place}")
    assert done.returncode == cli.BAD_INPUT
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"matgen: cannot write to {place}")
    assert last.endswith("with --out")
    assert "Traceback" not in done.stderr


def test_no_memory_is_a_line_and_then_a_row(folder: Path, tmp_path: Path) -> None:
    """The next call works on the structure in a process of its own, which also finds no memory."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_MEMORY, encoding="utf-8")
    first = command(screen(folder), more_path=tmp_path)
    assert first.returncode == cli.OUT_OF_MACHINE
    assert first.stderr.splitlines()[-1].startswith("matgen: out of memory; take fewer --jobs")
    again = command(screen(folder), more_path=tmp_path)
    assert again.returncode == cli.NOTHING_FOUND
    assert "0 of 3 structures pass" in again.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["design", "--formula", ""], "expected --formula with a value"),
        (["design", "--formula="], "expected --formula with a value"),
        (["design", "--smiles", " "], "expected --smiles with a value"),
        (["design", "--out", ""], "expected --out with a value"),
        (["screen", ""], "expected each argument with a value"),
        (["design", "--max-atoms", "0"], "expected max_atoms of at least 1, got 0"),
        (["design", "--max-atoms", "-3"], "expected max_atoms from 1 to 20, got -3"),
        (["design", "--formula-units", "0"], "expected formula_units of at least 1, got 0"),
        (["design", "--max-ehull", "-inf"], "expected max_ehull in eV/atom, got -inf"),
        (["design", "--max-ehull", "nan"], "expected max_ehull in eV/atom, got nan"),
        (["design", "--include", "Li,,O"], "expected include with a value, got an empty text"),
        (["design", "--rule", " "], "expected --rule with a value"),
        (["evaluate", "DATA", "--seed", "-1"], "expected seed of at least 0, got -1"),
        (["evaluate", "DATA", "--requested", "0"], "greater than or equal to 1"),
        (["verify", "DATA", "--gap-kpoints", "inf"], "expected gap_kpoint_density of 0, or at least"),
    ],
)
def test_empty_zero_and_infinite_requests_are_refused(
    words: list[str], reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["matgen", *(str(folder) if word == "DATA" else word for word in words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
