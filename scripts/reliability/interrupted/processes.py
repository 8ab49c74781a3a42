"""Runs of the command line in forks of this process, which has everything loaded already."""

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matgen import cli


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: its exit code, negative for a signal; None if it was still running when its time was up.
        seconds: that it took.
        said: its output and complaints.
    """

    code: int | None
    seconds: float
    said: str

    @property
    def told(self) -> list[str]:
        """Lines on standard error that the program addresses to the user."""
        return [line for line in self.said.splitlines() if line.startswith("matgen: ")]

    @property
    def has_traceback(self) -> bool:
        """Whether it ended in a traceback."""
        return "Traceback (most recent call last)" in self.said


class Run:
    """A run of the command line, in a process group of its own.

    Args:
        arguments: of the command.
        log: file for what it prints.
        before: is called in the new process first.
    """

    def __init__(self, arguments: Sequence[str], log: Path, before: Callable[[], None] = lambda: None) -> None:
        self._log, self._began = log, time.perf_counter()
        self._code: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(["matgen", *arguments], log, before)
        with contextlib.suppress(PermissionError):  # the child did it, and ended since
            os.setpgid(self.pid, self.pid)

    def end(self, seconds: float) -> Ended:
        """Wait for the end, but no longer than some seconds; then kill all processes of the run."""
        code = self._code if self._code is not None else self.wait(seconds)
        took = time.perf_counter() - self._began
        self.signal(signal.SIGKILL)
        if code is None:
            os.waitpid(self.pid, 0)
        while self.signal(0):  # its own children may take a moment to end
            time.sleep(0.001)
        return Ended(code, took, self._log.read_text(encoding="utf-8", errors="replace"))

    def runs_after(self, seconds: float) -> bool:
        """Wait, and return whether it has not ended by then."""
        if self._code is None:
            self._code = self.wait(seconds)
        return self._code is None

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, None if it runs still after some seconds."""
        handle = os.pidfd_open(self.pid)
        try:
            ended, _, _ = select.select([handle], [], [], max(0.0, seconds))
        finally:
            os.close(handle)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) if ended else None

    def signal(self, number: int) -> bool:
        """Send a signal to all processes of the run; return whether there are any."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def _become(words: list[str], log: Path, before: Callable[[], None]) -> None:
    """Be the program, and never return."""
    code = 99
    try:
        os.setpgid(0, 0)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before()
        sys.argv = words
        cli.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 (as the interpreter would print it)
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
