"""Workers: what they return and raise, and what becomes of those that are killed or left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from matgen.errors import UserError
from matgen.runtime.parsl_workers import IN_FLIGHT, ParslError, configuration, translated, workers_in
from matgen.runtime.workers import Here, LocalProcesses, WorkerDiedError, WorkerError
from matgen.search.ordered_units import OrderedUnits
from matgen.search.unit_format import Unit


def doubled(number: int) -> int:
    """Twice a number; 13 ends the process, and a negative number is an error."""
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number < 0:
        raise UserError(f"expected a number from 0, got {number}; give another")
    sys.stdout.write("this is no answer")
    return 2 * number


def process_of(_: int) -> int:
    return os.getpid()


def slow(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@pytest.fixture
def two() -> Iterator[LocalProcesses]:
    workers = LocalProcesses(doubled, 2)
    yield workers
    workers.close()


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def ended(process: int, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while running(process) and time.monotonic() < end:
        time.sleep(0.05)
    return not running(process)


def test_processes_return_what_the_function_returns_and_raise_what_it_raises(two: LocalProcesses) -> None:
    answers = [two.submit(number) for number in range(6)]
    assert [answer.result() for answer in answers] == [0, 2, 4, 6, 8, 10]
    with pytest.raises(UserError, match="got -1; give another"):
        two.submit(-1).result()
    assert two.submit(4).result() == 8


def test_a_death_concerns_its_own_task_only(two: LocalProcesses) -> None:
    answers: list[Future] = [two.submit(number) for number in (1, 13, 2, 13, 3)]
    assert [answers[i].result() for i in (0, 2, 4)] == [2, 4, 6]
    for i in (1, 3):
        with pytest.raises(WorkerDiedError):
            answers[i].result()


def test_functions_of_the_main_script_are_sent_and_what_cannot_be_is_told() -> None:
    factor = 3
    workers = LocalProcesses(lambda number: factor * number, 1)
    assert workers.submit(5).result() == 15
    workers.close()
    with pytest.raises(WorkerError, match=r"expected what can be sent .*; give one process"):
        LocalProcesses(threading.Lock().acquire, 1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for workers in /proc")
def test_closing_ends_what_is_at_work() -> None:
    workers = LocalProcesses(slow, 1)
    process = workers.submit(0.0).result()
    left = workers.submit(600.0)
    waiting = workers.submit(600.0)
    workers.close()
    assert ended(process)
    for future in (left, waiting):
        assert future.cancelled() or isinstance(future.exception(), WorkerDiedError | CancelledError)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for workers in /proc")
def test_workers_end_with_the_process_that_started_them_however_it_ends() -> None:
    script = (
        "from test_workers import slow; from matgen.runtime.workers import LocalProcesses\n"
        "workers = LocalProcesses(slow, 1)\n"
        "print(workers.submit(0.0).result(), flush=True)\n"
        "workers.submit(600.0).result()\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert running(worker)
        parent.kill()
    assert ended(worker)


def test_one_worker_makes_no_unit_ahead_of_those_on_disk(tmp_path: Path) -> None:
    """A run that is resumed shortly before its end must not first make a unit that nobody needs."""
    made: list[int] = []

    def make(number: int) -> str:
        made.append(number)
        return Unit(number, {}, ()).text

    first = OrderedUnits(tmp_path, Here(make), 9)
    assert [first.next(3, 0.0), first.next(3, 0.0)] == [Unit(0, {}, []), Unit(1, {}, [])]
    assert made == [0, 1]
    again = OrderedUnits(tmp_path, Here(make), 9)
    assert [again.next(3, 0.0), again.next(3, 0.0)] == [Unit(0, {}, []), Unit(1, {}, [])]
    assert made == [0, 1]
    assert again.next(3, 0.0) == Unit(2, {}, [])


def test_this_process_does_a_task_at_once() -> None:
    assert Here(process_of).submit(0).result() == os.getpid()


PARSL = """
import sys
from pathlib import Path
from types import SimpleNamespace
from test_workers import doubled
from matgen.runtime.parsl_workers import ParslWorkers
folder = Path(sys.argv[1])
file = folder / "threads.py"
file.write_text(
    "from parsl.config import Config\\nfrom parsl.executors import ThreadPoolExecutor\\n"
    f"config = Config(executors=[ThreadPoolExecutor(max_threads=2)], run_dir={str(folder / 'logs')!r})\\n"
)
workers = ParslWorkers(doubled, str(file), 2, folder)
print([answer.result() for answer in map(workers.submit, range(4))], file=sys.stderr)
print(repr(workers.submit(-1).exception()), file=sys.stderr)
workers.close()
"""


def test_threads_of_parsl_do_tasks(tmp_path: Path) -> None:
    pytest.importorskip("parsl")
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-c", PARSL, str(tmp_path)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.splitlines()[-2:] == [
        "[0, 2, 4, 6]",
        "UserError('expected a number from 0, got -1; give another')",
    ]


def test_a_lost_worker_of_parsl_is_told_from_other_errors() -> None:
    pytest.importorskip("parsl")
    from parsl.executors.errors import ExecutorError
    from parsl.executors.high_throughput.errors import WorkerLost

    assert isinstance(translated(WorkerLost(1, "host")), WorkerDiedError)
    assert isinstance(translated(ExecutorError(SimpleNamespace(label="matgen"), "no blocks")), ParslError)
    assert isinstance(translated(KeyError("x")), KeyError)


def test_the_number_of_workers_is_read_from_the_configuration() -> None:
    pytest.importorskip("parsl")
    from parsl import Config
    from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(nodes_per_block=2, max_blocks=3)
    nodes = HighThroughputExecutor(label="nodes", provider=provider, max_workers_per_node=8, address="127.0.0.1")
    anything = HighThroughputExecutor(label="any", provider=provider, address="127.0.0.1")
    assert workers_in(Config(executors=[ThreadPoolExecutor(max_threads=3)])) == 3
    assert workers_in(Config(executors=[nodes, ThreadPoolExecutor(label="more", max_threads=1)])) == 49
    assert workers_in(Config(executors=[anything])) == IN_FLIGHT
    assert workers_in(configuration("local", 4, Path("logs"))) == 4
