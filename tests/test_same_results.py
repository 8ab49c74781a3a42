"""What a seed gives: designs of both kinds and a screening, held against what was kept when they were last right.

`python tests/test_same_results.py` writes the files anew, which is right only where results are meant to change.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
TEXTBOOK = HERE.parent / "data" / "textbook"
EXPECTED = HERE / "expected"

COMMANDS: dict[str, list[str]] = {
    "crystals": ["design", "--bandgap", "1.5", "-n", "2", "--seed", "9", "--max-atoms", "6", "--confidence", "0"],
    "molecules": ["design", "--kind", "molecule", "--gap", "5", "-n", "2", "--seed", "3"],
    "screening": ["screen", *sorted(map(str, TEXTBOOK.glob("*Si*.cif"))), "--bandgap", "1.5"],
}

WORDS = frozenset({"reason", "path", "digest", "structure", "unrelaxed", "seconds"})
"""Fields whose text may change with the prose, or that hang on the machine."""


def results(command: list[str], folder: Path) -> list[list[Any]]:
    """Every value that a command prints, line by line, without the names of the fields."""
    program = [sys.executable, "-m", "matgen.cli", *command, "--out", str(folder), "--json", "--no-report"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, cwd=HERE)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return [list(values(json.loads(line))) for line in answer.stdout.splitlines() if line.startswith("{")]


def values(record: Any) -> Iterator[Any]:
    """The values of a nested record in their order; of verdicts without their prose."""
    if isinstance(record, dict):
        for name, inner in record.items():
            if name not in WORDS and not (name == "name" and "passed" in record):
                yield from values(inner)
    elif isinstance(record, list):
        for inner in record:
            yield from values(inner)
    else:
        yield record


def same(one: Any, other: Any) -> bool:
    """Equal, and of numbers equal up to what another processor rounds."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-4)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("name", COMMANDS)
def test_a_seed_gives_what_it_gave(name: str, tmp_path: Path) -> None:
    expected = json.loads((EXPECTED / f"{name}.json").read_text(encoding="utf-8"))
    found = results(COMMANDS[name], tmp_path / "run")
    assert len(found) == len(expected)
    for line, kept in zip(found, expected, strict=True):
        assert len(line) == len(kept)
        assert [pair for pair in zip(line, kept, strict=True) if not same(*pair)] == []


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    for title, asked in COMMANDS.items():
        with TemporaryDirectory() as fresh:
            (EXPECTED / f"{title}.json").write_text(json.dumps(results(asked, Path(fresh) / "run")), encoding="utf-8")
