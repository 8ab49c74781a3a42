"""Workers on Parsl: threads, processes, or the nodes of a cluster, as a `parsl.config.Config` defines.

Parsl (Babuji et al., HPDC 2019) is an extra: `pip install matgen[parsl]`. Workers need matgen installed; they receive
structures and return rows.
"""

import os
import runpy
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from matgen.runtime.processes import Chunk
from matgen.screening.config import ScreenConfig, ScreenError
from matgen.screening.row import Row
from matgen.screening.workers import Workers, assess_alone, given_up

LOCAL = "local"
"""The executor of Parsl with worker processes on this machine."""

IN_FLIGHT = 256
"""Chunks submitted to Parsl at a time: enough for as many workers, few enough for memory."""


def on_parsl(executor: str, jobs: int, run_folder: Path) -> Workers:
    """Return workers of a Parsl configuration.

    Args:
        executor: a Python file that defines `config`, or `local`.
        jobs: number of worker processes of `local`.
        run_folder: of the logs of `local`.

    Raises:
        ScreenError: Parsl is not installed, or the file defines no configuration.
    """
    config = _local(jobs, run_folder) if executor == LOCAL else _config_in(Path(executor))

    def work(chunks: Iterable[Chunk], screen_config: ScreenConfig) -> Iterator[list[Row]]:
        import parsl

        with _interchange_on_path(), parsl.load(config) as kernel:
            submit = parsl.python_app(assess_alone, data_flow_kernel=kernel, cache=False)
            yield from _rows(iter(chunks), lambda chunk: submit(chunk.items, screen_config))

    return work


def _rows(chunks: Iterator[Chunk], submit: Any) -> Iterator[list[Row]]:
    """Yield rows in the order of their completion; chunks of lost workers are submitted again."""
    from parsl.executors.errors import ExecutorError
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

    at_work: dict[Future, Chunk] = {submit(chunk): chunk for chunk in islice(chunks, IN_FLIGHT)}
    while at_work:
        done, _ = wait(at_work, return_when=FIRST_COMPLETED)
        for future in done:
            chunk = at_work.pop(future)
            try:
                yield future.result()
            except (ManagerLost, WorkerLost):
                rest = chunk.after_death()
                at_work |= {submit(part): part for part in rest}
                if not rest:
                    yield [given_up(chunk.items[0])]
            except ExecutorError as error:
                message = " ".join(str(error).split())
                raise ScreenError(f"Parsl has no workers left: {message[:300]}; call it again to resume") from error
        at_work |= {submit(chunk): chunk for chunk in islice(chunks, max(0, IN_FLIGHT - len(at_work)))}


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
        raise ScreenError(f"expected --executor as {LOCAL} or a Python file that defines `config`, got {path}")
    config = runpy.run_path(str(path)).get("config")
    if not isinstance(config, parsl.Config):
        raise ScreenError(f"expected {path} to define `config`, a parsl.config.Config, got {type(config).__name__}")
    return config


def _parsl() -> Any:
    try:
        import parsl
    except ImportError as error:
        raise ScreenError("expected Parsl for --executor, found none; pip install matgen[parsl]") from error
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
