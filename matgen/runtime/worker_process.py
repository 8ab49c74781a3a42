"""The program of a worker process: it does the tasks that it reads from standard input.

Messages are pickles: the search path of modules, the function (as bytes), then tasks (as bytes). For each task it
writes a pair: whether it failed, and the result or the error. What the function prints goes to standard error.
"""

import os
import pickle
import signal
import sys
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO


def main() -> None:
    """Do tasks until standard input is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    messages: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_read, args=(sys.stdin.buffer, messages), daemon=True).start()
    sys.path[:] = messages.get()
    packed, work = messages.get(), None
    while True:
        task = messages.get()
        try:
            work = work or pickle.loads(packed)  # noqa: S301 (from the process that started this one)
            answer = pickle.dumps((False, work(pickle.loads(task))))  # noqa: S301
        except Exception as error:  # noqa: BLE001 (it is raised where the task was submitted)
            answer = _failure(error)
        answers.write(answer)
        answers.flush()


def _read(stream: BinaryIO, messages: SimpleQueue) -> None:
    """Read messages; at their end, which the death of the other process brings, too, end this process at once."""
    while True:
        try:
            messages.put(pickle.load(stream))  # noqa: S301
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)


def _failure(error: Exception) -> bytes:
    """Return an error as an answer; as text if it cannot be sent."""
    try:
        answer = pickle.dumps((True, error))
        pickle.loads(answer)  # noqa: S301 (an error may be written and not be read)
    except Exception:  # noqa: BLE001
        return pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}")))
    return answer


if __name__ == "__main__":
    main()
