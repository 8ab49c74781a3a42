"""Run the probe, and run it again after the step over which it died."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from queue import Empty, Queue
from threading import Thread

from matgen.installation.finding import Finding
from matgen.installation.probe import failed

LONGEST = 600.0
"""Seconds after which a step is given up; importing from a cold network disk, or on a busy machine, takes minutes."""


def probed(steps: Sequence[str], longest: float = LONGEST) -> Iterator[Finding]:
    """Yield the finding of each step, in order.

    Args:
        steps: of `matgen.installation.probe`.
        longest: seconds for each.
    """
    left = list(steps)
    while left:
        done = 0
        for finding in _answers(left, longest):
            done += 1
            yield finding
        del left[:done]


def _answers(steps: Sequence[str], longest: float) -> Iterator[Finding]:
    """Yield findings of one process, and a finding for the step over which it died or did not end."""
    command = [sys.executable, "-m", "matgen.installation.probe", *steps]
    with subprocess.Popen(  # noqa: S603 (our own program)
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=_environment()
    ) as process:
        lines: Queue[bytes] = Queue()
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        Thread(target=_pass_on, args=(process.stdout, lines), daemon=True).start()
        try:
            for step in steps:
                answer = _answer(lines, longest)
                if answer is None:
                    yield failed(step, _end(process))
                    return
                yield answer
        finally:
            process.kill()


def _answer(lines: "Queue[bytes]", longest: float) -> Finding | None:
    """Return the next finding; None if the process ends, or takes too long."""
    while True:
        try:
            line = lines.get(timeout=longest)
        except Empty:
            return None
        if not line:
            return None
        record = json.loads(line)
        if "step" not in record:
            return Finding(**record)


def _pass_on(stream: Iterator[bytes], lines: "Queue[bytes]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")


def _end(process: "subprocess.Popen[bytes]") -> str:
    """Say how a process ended."""
    try:
        code = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return "found no end"
    if code >= 0:
        return f"the process ended with exit code {code}"
    known = code in {-int(one) for one in signal.Signals}
    return f"the process died of {signal.Signals(-code).name if known else f'signal {-code}'}"


def _environment() -> dict[str, str]:
    """Return the environment of this process, in which the probe finds this very package."""
    path = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]  # noqa: PTH100, PTH120
    before = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([*path, *([before] if before else [])])}
