"""The command line of this process, so that what it writes can say how it was made."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_told: ContextVar[str] = ContextVar("command_line", default="")


def command_line() -> str:
    """Return the command that runs, as a shell takes it; empty where a program calls the library."""
    return _told.get()


@contextmanager
def of_command(program: str, words: Sequence[str]) -> Iterator[None]:
    """Tell the command line while it runs.

    Args:
        program: its name.
        words: that follow.
    """
    before = _told.set(shlex.join([program, *words]))
    try:
        yield
    finally:
        _told.reset(before)
