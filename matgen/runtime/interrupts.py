"""Interrupts by signals: Ctrl-C, the end of a terminal, and of the time that a queue or a shutdown leaves."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals by which others ask a program to end."""


@contextmanager
def signals_as_interrupts() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt on any of `SIGNALS`, so that all of them end a command as Ctrl-C does.

    A signal that this process was told to ignore, such as SIGHUP by `nohup`, stays ignored. After the first signal,
    others but Ctrl-C do not disturb the end. Only the main thread can do this; in another one nothing changes.

    Yields:
        The signals that came, which the block may read when it ends.
    """
    came: list[int] = []

    def interrupt(number: int, _: Any) -> None:
        came.append(number)
        if len(came) == 1 or number == signal.SIGINT:
            raise KeyboardInterrupt

    with _handled(interrupt, (signal.SIG_DFL, signal.default_int_handler)):
        yield came


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let signals that would interrupt the block take effect at its end, so that it is done whole or not at all."""
    came: list[tuple[int, Any, Any]] = []
    own: dict[int, Any] = {}

    def hold(number: int, frame: Any) -> None:
        came.append((number, frame, own[number]))

    own |= {number: signal.getsignal(number) for number in SIGNALS}
    with _handled(hold, None):
        yield
    for number, frame, handler in came:
        handler(number, frame)


@contextmanager
def _handled(handler: Any, instead_of: tuple[Any, ...] | None) -> Iterator[None]:
    """Handle signals in place of some handlers; of all that are functions if none are named."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            found = signal.getsignal(number)
            if callable(found) if instead_of is None else found in instead_of:
                before[number] = found
                signal.signal(number, handler)
    try:
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)
