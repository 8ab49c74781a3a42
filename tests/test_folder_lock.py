"""Two runs never write to one folder: the second names the first, and a lock outlives no process."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import matgen
from matgen.runtime import folder_lock
from matgen.runtime.folder_lock import FolderInUseError, FolderLock
from matgen.screening.config import NONE, ScreenConfig
from matgen.workflows.screen import run

HOLDER = """
import sys, time
from pathlib import Path
from matgen.runtime.folder_lock import FolderLock

with FolderLock(Path(sys.argv[1])):
    print("has it", flush=True)
    time.sleep(600)
"""


def holding(folder: Path) -> subprocess.Popen:
    """A process that has the lock of a folder."""
    environment = os.environ | {"PYTHONPATH": str(Path(matgen.__file__).parents[1])}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    return process


def test_the_second_process_is_told_of_the_first_and_takes_over_when_it_is_dead(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = holding(folder)
    try:
        with pytest.raises(FolderInUseError, match=f"process {process.pid} on {socket.gethostname()} has been working"):
            FolderLock(folder).__enter__()
        config = ScreenConfig(reference=NONE, known=NONE)
        with pytest.raises(FolderInUseError, match="name another folder with --out"):
            run([], config, folder)
        with FolderLock(folder, of="verified"):  # another kind of run
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (folder / ".run.lock").exists()
    with FolderLock(folder), pytest.raises(FolderInUseError, match=f"process {os.getpid()} on"):
        FolderLock(folder).__enter__()
    assert list(folder.iterdir()) == []


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), FolderLock(tmp_path):
        raise ZeroDivisionError
    with FolderLock(tmp_path):
        pass


def test_of_many_processes_one_at_a_time_has_the_lock(tmp_path: Path) -> None:
    """None ever sees the mark of another, although each removes the file of the lock at its end."""
    program = """
import sys, time
from pathlib import Path
from matgen.runtime.folder_lock import FolderInUseError, FolderLock

folder, turns = Path(sys.argv[1]), 0
while turns < 40:
    try:
        with FolderLock(folder):
            (folder / "mark").touch(exist_ok=False)
            (folder / "mark").unlink()
            turns += 1
    except FolderInUseError:
        time.sleep(0.001)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(matgen.__file__).parents[1])}
    command = [sys.executable, "-c", program, str(tmp_path)]
    several = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in several:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


@pytest.mark.parametrize(
    ("process", "host", "refused"),
    [(os.getpid(), socket.gethostname(), True), (2**22 + 1, socket.gethostname(), False), (1, "elsewhere", True)],
    ids=["alive", "dead", "elsewhere"],  # workers of pytest have different numbers
)
def test_without_locks_of_the_file_system_the_named_process_must_be_dead(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    process: int,
    host: str,
    *,
    refused: bool,
) -> None:
    def without(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", without)
    assert folder_lock.fcntl is fcntl
    holder = {"host": host, "process": process, "since": time.strftime("%Y")}
    (tmp_path / ".run.lock").write_text(json.dumps(holder), encoding="utf-8")
    if refused:
        with pytest.raises(FolderInUseError, match=f"process {process} on {host}"):
            FolderLock(tmp_path).__enter__()
    else:
        with FolderLock(tmp_path):
            pass


def test_a_screening_leaves_no_lock(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    run([tmp_path / "a.json"], ScreenConfig(reference=NONE, known=NONE), tmp_path / "out")
    assert not [path.name for path in (tmp_path / "out").iterdir() if "lock" in path.name or "at_work" in path.name]
