"""Workers on Parsl: threads, processes, or the nodes of a cluster, as a `parsl.config.Config` defines.

Parsl (Babuji et al., HPDC 2019) is an extra: `pip install "parsl>=2025.1"`. Workers need matgen installed.
"""

import math
import os
import pickle
import runpy
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from matgen.errors import UserError
from matgen.runtime.workers import WorkerDiedError, sendable

LOCAL = "local"
"""The executor of Parsl with worker processes on this machine."""

IN_FLIGHT = 256
"""Most tasks submitted to Parsl at a time: enough for as many workers, few enough for memory."""


class ParslError(UserError, ValueError):
    """Parsl is missing, has no configuration, or has no workers left."""


class ParslWorkers:
    """Workers of a Parsl configuration, which is loaded with the first task.

    Args:
        work: function of a task; it is sent along with each.
        executor: a Python file that defines `config`, or `local`.
        jobs: number of worker processes of `local`.
        run_folder: of the logs of `local`.

    Raises:
        ParslError: Parsl is not installed, or the file defines no configuration.
        WorkerError: the function cannot be sent to a worker.
    """

    def __init__(self, work: Callable[[Any], Any], executor: str, jobs: int, run_folder: Path) -> None:
        self._config, self._work = configuration(executor, jobs, run_folder), sendable(work)
        self.jobs = workers_in(self._config)
        self._loaded = ExitStack()
        self._app: Callable[..., Future] | None = None

    def submit(self, task: Any) -> Future:
        """Have a task done by any worker."""
        if self._app is None:
            self._app = self._loaded.enter_context(loaded(self._config))(done)
        answer: Future = Future()
        self._app(self._work, task).add_done_callback(partial(_pass_on, answer=answer))
        return answer

    def close(self) -> None:
        """Stop the workers of Parsl."""
        self._app = None
        self._loaded.close()


def done(work: bytes, task: Any) -> Any:
    """Do a task in a worker."""
    return _unpacked(work)(task)


@lru_cache(maxsize=1)
def _unpacked(work: bytes) -> Callable[[Any], Any]:
    return pickle.loads(work)  # noqa: S301 (sent by `ParslWorkers`)


def _pass_on(found: Future, answer: Future) -> None:
    """Set the result of a task of Parsl as the answer, or its error in terms of `Workers`."""
    error = found.exception()
    if error is None:
        answer.set_result(found.result())
    else:
        answer.set_exception(translated(error))


def translated(error: BaseException) -> BaseException:
    """Return the death of a worker as `WorkerDiedError`, the end of all workers as `ParslError`, others as they are."""
    from parsl.executors.errors import ExecutorError
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

    if isinstance(error, ManagerLost | WorkerLost):
        return WorkerDiedError(str(error))
    if isinstance(error, ExecutorError):
        message = " ".join(str(error).split())
        return ParslError(f"Parsl has no workers left: {message[:300]}; call it again to resume")
    return error


@contextmanager
def loaded(config: Any) -> Iterator[Callable[[Callable], Callable[..., Future]]]:
    """Load a configuration; inside, functions can be made apps, which return futures."""
    parsl = _parsl()
    with _interchange_on_path(), parsl.load(config) as kernel:
        yield partial(parsl.python_app, data_flow_kernel=kernel, cache=False)


def configuration(executor: str, jobs: int, run_folder: Path) -> Any:
    """Return the Parsl configuration of an executor.

    Args:
        executor: a Python file that defines `config`, or `local`.
        jobs: number of worker processes of `local`.
        run_folder: of the logs of `local`.

    Raises:
        ParslError: Parsl is not installed, or the file defines no configuration.
    """
    return _local(jobs, run_folder) if executor == LOCAL else _config_in(Path(executor))


def workers_in(config: Any) -> int:
    """Return the number of workers that a configuration may have at a time, at most `IN_FLIGHT`; that if unknown."""
    return max(1, int(min(IN_FLIGHT, sum(map(_workers_of, config.executors)))))


def _workers_of(executor: Any) -> float:
    if hasattr(executor, "max_threads"):
        return executor.max_threads
    provider, per_node = getattr(executor, "provider", None), getattr(executor, "max_workers_per_node", math.inf)
    if provider is None:
        return per_node
    return per_node * getattr(provider, "nodes_per_block", 1) * getattr(provider, "max_blocks", 1)


def _local(jobs: int, run_folder: Path) -> Any:
    """Configure worker processes on this machine, one thread and one manager each, which Parsl restarts on death."""
    parsl = _parsl()
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        label="matgen",
        max_workers_per_node=1,
        cores_per_worker=1e-3,  # as many as requested, whatever the number of cores
        address="127.0.0.1",
        heartbeat_period=5,
        heartbeat_threshold=20,
        provider=LocalProvider(
            init_blocks=jobs, min_blocks=jobs, max_blocks=jobs, worker_init="export OMP_NUM_THREADS=1"
        ),
    )
    return parsl.Config(executors=[executor], run_dir=str(run_folder), strategy="simple", usage_tracking=0)


def _config_in(path: Path) -> Any:
    parsl = _parsl()
    if not path.is_file():
        raise ParslError(f"expected --executor as {LOCAL} or a Python file that defines `config`, got {path}")
    try:
        config = runpy.run_path(str(path)).get("config")
    except Exception as error:  # whatever the user's file raises
        raise ParslError(f"expected {path} to run, got {type(error).__name__}: {error}; mend it") from error
    if not isinstance(config, parsl.Config):
        raise ParslError(f"expected {path} to define `config`, a parsl.config.Config, got {type(config).__name__}")
    return config


def _parsl() -> Any:
    try:
        import parsl
    except ImportError as error:
        raise ParslError('expected Parsl for --executor, found none; pip install "parsl>=2025.1"') from error
    return parsl


@contextmanager
def _interchange_on_path() -> Iterator[None]:
    """Put the scripts of this Python on the path: Parsl starts its programs by name."""
    before = os.environ.get("PATH", "")
    scripts = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    os.environ["PATH"] = os.pathsep.join([*scripts, before])
    try:
        yield
    finally:
        os.environ["PATH"] = before
