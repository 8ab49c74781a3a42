"""A training by several processes on this machine: each runs the command as typed; an error in one ends all."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from signal import SIGINT, Signals

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # as documented

from matgen.errors import UserError
from matgen.runtime.processes import usable_cores
from matgen.training.parallel import ParallelError, claimed, stated

LOOK_EVERY = 0.1
"""Seconds."""

GRACE = 10.0
"""Seconds in which the other processes can end by themselves, and again before they are killed."""


class DiedError(UserError, RuntimeError):
    """A process of the training was killed."""


def is_one_of_several(asked: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a launcher such as torchrun, or `in_processes`, started this process beside others.

    Args:
        asked: number of processes that the command asks for; 1 leaves it to the launcher.
        environment: variables of this process.

    Raises:
        ParallelError: the launcher started another number than the command asks for.
    """
    size = stated("WORLD_SIZE", environment, 1)
    if size > 1 and asked not in (1, size):
        raise ParallelError(f"expected --processes {size}, which the launcher started, got {asked}; leave it out")
    return size > 1


def this_command() -> list[str]:
    """Return the command of this process, such that another Python can run it."""
    return [sys.executable, "-m", "matgen", *sys.argv[1:]]


def in_processes(command: Sequence[str], n: int) -> int:
    """Run a command in n processes that find each other, and return the exit code.

    Args:
        command: program and arguments.
        n: number of processes.

    Raises:
        DiedError: a process was killed by a signal, and none has told why.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # this process holds it
        "WORLD_SIZE": str(n),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // n))),
    }
    started = [
        subprocess.Popen(command, env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)})  # noqa: S603
        for rank in range(n)
    ]
    try:
        rank, code = _first_failure(started)
        to_tell = code < 0 and claimed(PrefixStore("matgen 0", store))  # before the others, who only lost it
        if code:
            _wait(started, GRACE)
    except KeyboardInterrupt:
        _wait(started, 1.0)  # a terminal interrupts all processes; without one, only this process
        _signal(started, SIGINT)
        _wait(started, GRACE)
        raise
    finally:
        _end(started)
    if to_tell:
        raise DiedError(
            f"process {rank} of {n} was ended by {Signals(-code).name}, perhaps for want of memory; run the same "
            "command to resume"
        )
    return code if code >= 0 else 1


def _first_failure(started: Sequence[subprocess.Popen]) -> tuple[int, int]:
    """Wait until a process fails, and return its rank and code; code 0 if all end well."""
    while True:
        codes = [process.poll() for process in started]
        for rank, code in enumerate(codes):
            if code:
                return rank, code
        if all(code == 0 for code in codes):
            return 0, 0
        time.sleep(LOOK_EVERY)


def _wait(started: Sequence[subprocess.Popen], seconds: float) -> None:
    """Wait until all processes have ended, but no longer than some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(process.poll() is None for process in started):
        time.sleep(LOOK_EVERY)


def _signal(started: Sequence[subprocess.Popen], signal: Signals) -> None:
    for process in started:
        if process.poll() is None:
            process.send_signal(signal)


def _end(started: Sequence[subprocess.Popen]) -> None:
    """End what still runs."""
    for process in started:
        if process.poll() is None:
            process.terminate()
    _wait(started, GRACE)
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
