"""Install the wheel as a user does, into a fresh environment, and use it; minutes of each step.

`python scripts/build/try_wheel.py --python python3.12 --constraints constraints.txt` builds the wheel, makes a virtual
environment by that Python, installs, and runs `matgen --version`, `matgen doctor --check`, and a small design with the
network cut off (by `unshare --net`, where that is allowed). It prints a Markdown row, and ends with 1 if a step fails.
`--torch` names another PyTorch, `--find-links` a folder of wheels, `--installer uv` installs by uv; `--command` gives
another command than the small design, such as the first one of the README: `--command 'matgen design --bandgap 1.5'`.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = "matgen design --bandgap 1.5 -n 2 --budget 8"
OFFLINE = ("unshare", "--net", "--")


@dataclass
class Trial:
    """Steps that were run, and their minutes.

    Attributes:
        folder: in which commands run: empty at first, not the repository.
        minutes: of each step.
        failed: the first step that failed; empty if none did.
    """

    folder: Path
    minutes: dict[str, float] = field(default_factory=dict)
    failed: str = ""

    def run(self, step: str, command: Sequence[str | Path], where: Path | None = None) -> str:
        """Run a command unless one has failed before, and return what it wrote on standard output."""
        if self.failed:
            return ""
        print(f"{step}: {shlex.join(map(str, command))}", file=sys.stderr, flush=True)
        started = time.perf_counter()
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        answer = subprocess.run(  # noqa: S603 (what the options say)
            list(map(str, command)),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            cwd=where or self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        self.minutes[step] = (time.perf_counter() - started) / 60
        if answer.returncode:
            print(answer.stdout, file=sys.stderr)
            self.failed = f"{step} (exit code {answer.returncode})"
        return answer.stdout


def offline() -> tuple[str, ...]:
    """Return the words before a command that cut the network off; none where that is not allowed."""
    if shutil.which(OFFLINE[0]) is None:
        return ()
    allowed = subprocess.run([*OFFLINE, "true"], check=False, capture_output=True).returncode == 0  # noqa: S603
    return OFFLINE if allowed else ()


def wheel_of(trial: Trial, python: str, folder: Path) -> Path | None:
    """Build the wheel of this repository into a folder."""
    trial.run("build", [python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT], ROOT)
    return next(folder.glob("matgen-*.whl"), None)


def install(trial: Trial, options: argparse.Namespace, wheel: Path, environment: Path) -> Path:
    """Install the wheel into a fresh environment, and return its folder of programs."""
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    trial.run("environment", [options.python, "-m", "venv", environment])
    more = ["--find-links", options.find_links] if options.find_links else []
    if options.constraints:
        more += ["--constraint", options.constraints.resolve()]
    command: list[str | Path] = [programs / "python", "-m", "pip", "install"]
    if options.installer == "uv":
        command = ["uv", "pip", "install", "--python", programs / "python"]
    trial.run("install", [*command, *more, *filter(None, [options.torch]), wheel])
    return programs


def main() -> None:
    """Build, install, use, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that makes the environment")
    parser.add_argument("--wheel", type=Path, help="wheel to install; built if left out")
    parser.add_argument("--installer", choices=("pip", "uv"), default="pip")
    parser.add_argument("--torch", default="torch", help="requirement, such as torch==2.13.0")
    parser.add_argument("--constraints", type=Path, help="versions, such as constraints.txt")
    parser.add_argument("--find-links", type=Path, help="folder of wheels that the installer takes")
    parser.add_argument("--command", default=SMALL, help=f"what to run at last; default: {SMALL}")
    parser.add_argument("--keep", type=Path, help="folder for everything, kept; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "work").mkdir(exist_ok=True)
        trial = Trial(folder / "work")
        wheel = options.wheel or wheel_of(trial, sys.executable, folder)
        if wheel is None:
            raise SystemExit("expected a wheel, got none; see above")
        programs = install(trial, options, wheel.resolve(), folder / "environment")
        version = trial.run("version", [programs / "matgen", "--version"]).strip()
        python = trial.run("python", [programs / "python", "--version"]).strip()
        cut = offline()
        print(trial.run("doctor --check", [*cut, programs / "matgen", "doctor", "--check"]), file=sys.stderr)
        trial.run("design", [*cut, programs / shlex.split(options.command)[0], *shlex.split(options.command)[1:]])
    steps = "; ".join(f"{step} {minutes:.1f} min" for step, minutes in trial.minutes.items())
    print(f"| {python} | matgen {version}, {options.installer} | {'network off' if cut else 'network on'} | {steps} |")
    if trial.failed:
        raise SystemExit(f"failed: {trial.failed}")


if __name__ == "__main__":
    main()
