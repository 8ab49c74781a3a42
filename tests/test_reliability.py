"""Runs that are killed, interrupted or short of disk go on to the result of an undisturbed run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts" / "reliability"

COMMANDS = ("design", "screen", "evaluate", "verify", "learn", "train")


def passes(script: str, *options: str) -> None:
    """Run a script of `scripts/reliability`, which ends with 1 if anything differs."""
    command = [sys.executable, "-W", "ignore", str(SCRIPTS / script), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_some_killed_runs_resume_to_the_same_result(tmp_path: Path) -> None:
    passes("kill_runs.py", "--kills", "4", "--only", "verify", "train", "--out", str(tmp_path / "kills.jsonl"))


def test_some_signals_end_a_run_by_a_line_and_it_resumes(tmp_path: Path) -> None:
    signals = ("--modes", "term", "hup", "int", "--only", "verify", "--out", str(tmp_path / "signals.jsonl"))
    passes("limit_runs.py", "--runs", "1", *signals)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_runs_resume_to_the_same_result(tmp_path: Path, command: str) -> None:
    passes("kill_runs.py", "--kills", "10", "--only", command, "--out", str(tmp_path / "kills.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_interrupted_runs_end_by_a_line_and_resume(tmp_path: Path, command: str) -> None:
    signals = ("--modes", "term", "hup", "int", "--only", command, "--out", str(tmp_path / "signals.jsonl"))
    passes("limit_runs.py", "--runs", "2", *signals)
