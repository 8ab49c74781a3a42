"""What a file can do: rules on the code that reads, and files of bad intent."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

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
    return next((one.value.value for one in call.keywords if one.arg == name and isinstance(one.value, ast.Constant)), None)


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
    assert isinstance(first, ast.Call) and isinstance(second, ast.Call)
    assert keyword(first, "weights_only") is None
    assert keyword(second, "shell") is True


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)
