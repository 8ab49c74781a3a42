"""Workers that do tasks one by one: this process, or processes of this machine.

`matgen.runtime.parsl_workers` has those of a cluster. Unlike `matgen.runtime.processes`, which works through one list,
they take tasks at any time; the death of a worker concerns its own task only.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock, Timer
from typing import Any, Protocol

import cloudpickle

from matgen.errors import UserError

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables of the environment that limit the threads of a process."""

LONGEST = 30 * 86400.0
"""Seconds after which a worker is stopped if no limit is given."""

PACKAGES = Path(__file__).resolve().parents[2]
"""The folder from which workers import matgen."""


class WorkerDiedError(Exception):
    """The worker of a task died, perhaps for want of memory; another may do the task."""


class WorkerHungError(WorkerDiedError):
    """The worker of a task found no end in the time allowed and was stopped."""


class WorkerError(UserError, RuntimeError):
    """Workers that cannot be started or used."""


class Workers(Protocol):
    """Workers that do tasks.

    A future raises `WorkerDiedError` if its worker died, and otherwise what the task raised.
    """

    @property
    def jobs(self) -> int:
        """Most tasks that are worth submitting at a time."""
        ...

    def submit(self, task: Any) -> Future:
        """Have a task done by any worker."""
        ...

    def close(self) -> None:
        """Stop all workers; tasks in progress are lost."""
        ...


class Here:
    """This process, which does each task when it is submitted.

    Args:
        work: function of a task.
    """

    jobs = 1

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def submit(self, task: Any) -> Future:
        """Do a task."""
        future: Future = Future()
        try:
            future.set_result(self._work(task))
        except Exception as error:  # noqa: BLE001 (as of any worker, `result` raises it)
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Do nothing."""


class LocalProcesses:
    """Processes of this machine: fresh interpreters that do not import the main script, started when needed.

    They ignore Ctrl-C and end with this process, however it ends.

    Args:
        work: function of a task; it is sent to every process once.
        jobs: number of processes.
        threads: of each.

    Raises:
        WorkerError: the function cannot be sent to a process.
    """

    def __init__(self, work: Callable[[Any], Any], jobs: int, threads: int = 1) -> None:
        self.jobs = jobs
        self._work, self._environment = sendable(work), environment(threads)
        self._callers = ThreadPoolExecutor(jobs)  # one waits for each process
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._lock, self._closed = Lock(), False

    def submit(self, task: Any, seconds: float | None = None) -> Future:
        """Have a task done by a process that is free, or a new one, and stop it after so many seconds of work."""
        return self._callers.submit(self._answer, task, seconds)

    def close(self) -> None:
        """Kill the processes."""
        with self._lock:
            self._closed = True
            running = set(self._all)
        for process in running:
            process.end()
        self._callers.shutdown(cancel_futures=True)

    def _answer(self, task: Any, seconds: float | None) -> Any:
        process = self._free()
        timer = Timer(LONGEST if seconds is None else seconds, process.stop)
        timer.daemon = True
        try:
            timer.start()
            error, answer = process.answer(task)
        except (EOFError, OSError, pickle.UnpicklingError) as reason:
            self._drop(process)
            raise WorkerHungError if process.stopped else WorkerDiedError from reason
        finally:
            timer.cancel()
        if process.stopped:  # the answer came in the moment in which it was stopped
            self._drop(process)
            return _raised(error, answer)
        with self._lock:
            self._idle.append(process)
        return _raised(error, answer)

    def _drop(self, process: "_Process") -> None:
        process.end()
        with self._lock:
            self._all.discard(process)

    def _free(self) -> "_Process":
        with self._lock:
            if self._closed:
                raise CancelledError
            if self._idle:
                return self._idle.pop()
            process = _Process(self._work, self._environment)
            self._all.add(process)
            return process


def _raised(error: bool, answer: Any) -> Any:  # noqa: FBT001 (as a worker answers)
    if error:
        raise answer
    return answer


class _Process:
    """A process that runs `matgen.runtime.worker_process`, and the pipes to and from it."""

    def __init__(self, work: bytes, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "matgen.runtime.worker_process"]
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._first: list[Any] = [sys.path, work]
        self.stopped = False

    def answer(self, task: Any) -> tuple[bool, Any]:
        """Return whether a task failed, and its result or the error."""
        tasks, answers = self._process.stdin, self._process.stdout
        assert tasks is not None  # noqa: S101 (for mypy: both are pipes)
        assert answers is not None  # noqa: S101
        for message in (*self._first, cloudpickle.dumps(task)):
            pickle.dump(message, tasks)
        self._first = []
        tasks.flush()
        return pickle.load(answers)  # noqa: S301 (our own process)

    def stop(self) -> None:
        """Kill the process since it finds no end; whoever waits for its answer ends it."""
        self.stopped = True
        self._process.kill()

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:  # what is still to be written has no reader
                    continue


def sendable(work: Callable[[Any], Any]) -> bytes:
    """Return a function as bytes, also one of the main script or a lambda.

    Raises:
        WorkerError: it cannot be sent.
    """
    try:
        return cloudpickle.dumps(work)
    except Exception as error:  # whatever an object of the user raises
        message = f"expected what can be sent to other processes, got {type(error).__name__}: {error}"
        raise WorkerError(f"{message}; give one process, or make every energy of plain functions and data") from error


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker with so many threads that finds this matgen."""
    path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH", "")]))
    return os.environ | dict.fromkeys(THREADS, str(threads)) | {"PYTHONPATH": path}
