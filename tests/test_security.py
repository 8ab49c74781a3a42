"""What a file can do: rules on the code that reads, and files of bad intent."""

import ast
import csv
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure

from matgen.datasets.crystals import CrystalTable
from matgen.errors import UserError
from matgen.runtime.csv_lines import csv_lines
from matgen.screening.config import ScreenConfig
from matgen.structures.files import read_structures
from matgen.weights.files import WeightsError
from matgen.weights.property_files import read_property_file
from matgen.workflows.screen import run

REPOSITORY = Path(__file__).resolve().parents[1]
SALT = REPOSITORY / "data" / "textbook" / "NaCl_rock_salt.cif"

# Pickles between processes that matgen starts; no file is read there.
OWN_PROCESSES = {"runtime/workers.py", "runtime/worker_process.py", "runtime/parsl_workers.py"}

# A Python file that the user names to be run: --executor.
RUNS_BY_DESIGN = {"runtime/parsl_workers.py": {"runpy.run_path"}}

FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "runpy.run_path",
    "runpy.run_module",
    "yaml.load",
    "joblib.load",
    "dill.load",
    "shelve.open",
    "marshal.load",
    "marshal.loads",
    "shutil.unpack_archive",
}
UNPACKS = {"extract", "extractall"}
PICKLES = {"pickle.load", "pickle.loads", "cloudpickle.load", "cloudpickle.loads"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield each call in the package: its file, the name of what is called, and the call."""
    for path in sorted((REPOSITORY / "matgen").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.relative_to(REPOSITORY / "matgen").as_posix(), ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    """Return the constant that a keyword is given, None without it."""
    return next(
        (one.value.value for one in call.keywords if one.arg == name and isinstance(one.value, ast.Constant)), None
    )


def test_no_file_runs_code() -> None:
    """No loader runs what it reads, but for the file of an executor, which the user names."""
    for place, name, call in calls():
        assert name not in FORBIDDEN - RUNS_BY_DESIGN.get(place, set()), f"{place}: {name}"
        assert name not in PICKLES or place in OWN_PROCESSES, f"{place}: {name}"
        assert name.rpartition(".")[2] not in UNPACKS, f"{place}: {name} writes what an archive names"
        assert keyword(call, "shell") is not True, f"{place}: a shell"
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, f"{place}: torch.load may run code"
        if name in {"np.load", "numpy.load"}:  # the default refuses pickles, since NumPy 1.16.3
            assert keyword(call, "allow_pickle") in {None, False}, f"{place}: np.load may run code"


def test_the_rules_see_what_they_forbid() -> None:
    """The names that the rules compare are those of calls as they are written."""
    seen = {name for _, name, _ in calls()}
    assert {"torch.load", "np.load", "pickle.loads", "runpy.run_path"} <= seen
    unsafe = ast.parse("torch.load(path)\nsubprocess.run('ls', shell=True)").body
    first, second = (line.value for line in unsafe if isinstance(line, ast.Expr))
    assert isinstance(first, ast.Call)
    assert isinstance(second, ast.Call)
    assert keyword(first, "weights_only") is None
    assert keyword(second, "shell") is True


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def bomb(tmp_path: Path) -> tuple[bytes, Path]:
    """Return a pickle, and the file that it writes when it is read."""
    sign = tmp_path / "it ran"
    return pickle.dumps(Bomb(sign)), sign


def test_the_bomb_goes_off(bomb: tuple[bytes, Path]) -> None:
    """What the next tests look for happens if a pickle is read."""
    pickle.loads(bomb[0])  # noqa: S301 (our own)
    assert bomb[1].exists()


@pytest.mark.parametrize(
    "suffix", ["cif", "json", "jsonl", "xyz", "csv", "vasp", "sdf", "smi", "traj", "db", "pkl", "zip", "gz"]
)
def test_a_pickle_among_structures_is_a_row(suffix: str, bomb: tuple[bytes, Path], tmp_path: Path) -> None:
    """Whatever its name, it is not read as one."""
    content, sign = bomb
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(content)
    rows = list(read_structures([file], None))
    assert rows
    assert all(row.structure is None and row.error for row in rows)
    assert not sign.exists()


def test_a_pickle_is_no_property_file(bomb: tuple[bytes, Path], tmp_path: Path) -> None:
    """A file of safetensors is numbers and text."""
    content, sign = bomb
    file = tmp_path / "mine.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        read_property_file(file)
    assert not sign.exists()


def test_a_pickle_is_no_table(bomb: tuple[bytes, Path], tmp_path: Path) -> None:
    """Also not inside the archive that a table is."""
    content, sign = bomb
    whole, inside = tmp_path / "whole.npz", tmp_path / "inside.npz"
    whole.write_bytes(content)
    with zipfile.ZipFile(inside, "w") as archive:
        np.save(buffer := io.BytesIO(), np.array([None], dtype=object))
        archive.writestr("labels.npy", buffer.getvalue().split(b"\n")[0] + b"\n" + content)
    for file in (whole, inside):
        with pytest.raises((UserError, ValueError)):  # the command says that it is no prepared table
            CrystalTable.load(file)
    assert not sign.exists()


def test_a_spreadsheet_runs_no_name() -> None:
    """Text that begins like a formula gets an apostrophe; numbers stay numbers."""
    row = {"a": "=HYPERLINK(0)", "b": "@SUM(1)", "c": "-1.5", "d": -1.5, "e": "+cmd", "f": "NaCl", "g": None}
    head, line = csv_lines(list(row), [row]).splitlines()
    assert next(csv.reader([line])) == ["'=HYPERLINK(0)", "'@SUM(1)", "-1.5", "-1.5", "'+cmd", "NaCl", ""]
    assert head == "a,b,c,d,e,f,g"


def test_names_hold_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    """Neither escape sequences nor marks that run text backwards; letters of any script stay."""
    crystal = Structure(np.eye(3) * 4.12, ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]).as_dict()
    site = {"species": [{"element": "\x1b]0;owned\x07", "occu": 1}], "abc": [0, 0, 0]}
    bad = crystal | {"sites": [site]}
    file = tmp_path / "many.json"
    file.write_text(json.dumps({"\x1b[2Jgone": crystal, "a\u202egpj": crystal, "塩 é": crystal, "\x9b31m": bad}))
    rows = list(read_structures([file]))
    assert len(rows) == 4
    assert [row.structure is None for row in rows] == [False, False, False, True]
    for row in rows:
        assert all(text.isprintable() for text in (row.name, row.id, row.error, row.note))
    assert any("塩 é" in row.name for row in rows)


def test_a_run_folder_names_no_program(tmp_path: Path) -> None:
    """Settings in the report of a run are compared, never obeyed."""
    sign, program = tmp_path / "it ran", tmp_path / "program.py"
    program.write_text(f"open({str(sign)!r}, 'w').close()\nconfig = None\n")
    out, config = tmp_path / "run", ScreenConfig(relax="none", reference="none")
    run([SALT], config, out)
    report = json.loads((out / "run.json").read_text())
    changed = json.dumps(report).replace('""', json.dumps(str(program)))
    (out / "run.json").write_text(json.dumps(json.loads(changed) | {"executor": str(program), "python": str(program)}))
    with suppress(UserError):
        run([SALT], config, out)
    assert not sign.exists()
