"""The machine: Python, cores and threads, disk, permission to write, characters of the terminal."""

import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from matgen import __version__
from matgen.installation.finding import Finding

TESTED = ((3, 11), (3, 13))
"""First and last version of Python that is tested."""

PROCESSES = 2
"""Processes that a design takes unless told otherwise."""

LEAST_DISK = 1e9
"""Bytes that a long run may write."""

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Share of the processors that a container may use, on Linux."""


def machine_findings() -> Iterator[Finding]:
    """Yield what concerns the machine."""
    yield python_finding(sys.version_info[:2])
    yield Finding("matgen", "ok", f"version {__version__} in {Path(__file__).resolve().parents[1]}")
    yield threads_finding(os.environ.get("OMP_NUM_THREADS", ""), cores())
    yield disk_finding(Path.cwd())
    yield writing_finding(Path.cwd())
    yield characters_finding(getattr(sys.stdout, "encoding", None) or "ascii")


def python_finding(version: tuple[int, ...]) -> Finding:
    """Say whether this Python is one of those that are tested."""
    text = f"{platform.python_version()} ({platform.system()} {platform.machine()}), {sys.executable}"
    if TESTED[0] <= version <= TESTED[1]:
        return Finding("Python", "ok", text)
    first, last = (".".join(map(str, one)) for one in TESTED)
    advice = f"python{last} -m venv matgen-env, and install there"
    return Finding("Python", "note", f"{text}; tested are {first} to {last}", advice)


def cores() -> int:
    """Return the number of cores that this process may use, a share of them rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or "max"
        return allowed


def threads_finding(told: str, n_cores: int) -> Finding:
    """Say whether processes and threads fit the cores.

    Args:
        told: `OMP_NUM_THREADS` of the environment.
        n_cores: that may be used.
    """
    threads = int(told) if told.isascii() and told.isdigit() and int(told) else 1
    text = f"{n_cores} cores; threads of each process: {threads}"
    if threads > n_cores:
        return Finding("threads", "note", f"{text}: more threads than cores, which wait", "export OMP_NUM_THREADS=1")
    if threads > 1 and threads * PROCESSES > n_cores:
        advice = f"export OMP_NUM_THREADS=1, or give --processes {max(1, n_cores // threads)}"
        return Finding("threads", "note", f"{text}: {PROCESSES} processes of a design take more than there are", advice)
    if n_cores > PROCESSES:
        return Finding("threads", "ok", f"{text}; `matgen design --processes {n_cores // threads}` uses them all")
    return Finding("threads", "ok", text)


def disk_finding(folder: Path) -> Finding:
    """Say whether there is space for results and for temporary files."""
    places = {place: shutil.disk_usage(place).free for place in (folder, Path(tempfile.gettempdir()))}
    text = ", ".join(f"{free / 1e9:.1f} GB free in {place}" for place, free in places.items())
    if min(places.values()) < LEAST_DISK:
        return Finding("disk", "note", f"{text}: little", "df -h; then name another place with --out, and TMPDIR")
    return Finding("disk", "ok", text)


def writing_finding(folder: Path) -> Finding:
    """Say whether results can be written to a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("results", "note", f"cannot write to {folder}: {error.strerror}", "cd ~, or give --out FOLDER")
    return Finding("results", "ok", f"are written below {folder}, unless --out says otherwise")


def characters_finding(encoding: str) -> Finding:
    """Say whether the output shows characters such as Å and ±."""
    try:
        "Å±→─".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        text = f"{encoding}: plain characters stand for others, such as A for Å"
        return Finding("characters", "note", text, "export LC_ALL=C.UTF-8 PYTHONUTF8=1")
    return Finding("characters", "ok", encoding)
