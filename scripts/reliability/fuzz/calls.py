"""Calls of the command line within this process, with what they print, and an end to those that hang."""

import contextlib
import io
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from matgen.cli import main

CPU, WALL = 60.0, 600.0
"""Seconds after which a call hangs: of the processor, and of the clock on a machine that others use too."""

CODES = frozenset({0, 1, 2, 3})


class HangError(BaseException):
    """A call that takes too long."""


class AcceptedError(BaseException):
    """A call that was stopped where its long work begins."""


@dataclass(frozen=True)
class Answer:
    """What a call returned.

    Attributes:
        code: exit code; None if it was stopped at its long work.
        out: standard output.
        err: standard error.
        fault: what is wrong with the answer: a traceback, a hang, an unknown exit code, silence; empty if nothing is.
        seconds: of the processor.
    """

    code: int | None
    out: str
    err: str
    fault: str
    seconds: float


@contextlib.contextmanager
def ending(cpu: float = CPU, wall: float = WALL) -> Iterator[None]:
    """Raise `HangError` in what takes longer."""

    def stop(number: int, _: Any) -> None:
        raise HangError(signal.Signals(number).name)

    for number, timer, limit in ((signal.SIGPROF, signal.ITIMER_PROF, cpu), (signal.SIGALRM, signal.ITIMER_REAL, wall)):
        signal.signal(number, stop)
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)


def called(words: Sequence[str], *, stopped_at: Sequence[str] = (), cpu: float = CPU) -> Answer:
    """Call `matgen` with these words.

    Args:
        words: of the command line.
        stopped_at: functions, as "module.name", at which a call counts as accepted and ends.
        cpu: seconds of the processor after which it hangs.
    """
    out, err, fault = io.StringIO(), io.StringIO(), ""
    code: int | None = None
    started = time.process_time()

    def stop(*_: Any, **__: Any) -> None:
        raise AcceptedError

    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", ["matgen", *words]))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        for name in stopped_at:
            stack.enter_context(patch(name, stop))
        try:
            with ending(cpu):
                main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except AcceptedError:
            code = None
        except HangError:
            fault = f"hang of more than {cpu:g} s: {_place()}"
        except BaseException as error:  # noqa: BLE001 (any exception that leaves main is a traceback to its user)
            fault = f"traceback: {type(error).__name__}: {error}; {_place()}"
    fault = fault or _fault(code, out.getvalue(), err.getvalue())
    return Answer(code, out.getvalue(), err.getvalue(), fault, time.process_time() - started)


def _fault(code: int | None, out: str, err: str) -> str:
    if "Traceback (most recent call last)" in out + err:
        return f"traceback printed: {(out + err).strip().splitlines()[-1]}"
    if code is not None and code not in CODES:
        return f"exit code {code}"
    if code not in {0, None} and not (out + err).strip():
        return f"exit code {code} without a word"
    if code == 2 and len(err.strip().splitlines()) > 3:
        return f"{len(err.strip().splitlines())} lines for one fault of the user"
    return ""


def _place() -> str:
    """Return the innermost frames of the exception at hand."""
    _, _, trace = sys.exc_info()
    frames = traceback.extract_tb(trace)[-4:]
    return " < ".join(f"{one.filename.rpartition('/')[2]}:{one.lineno} {one.name}" for one in reversed(frames))
