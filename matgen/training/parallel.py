"""Training by several processes: who takes part, sums over all, and errors that end all.

The processes are those of `torchrun`, of `matgen train --processes`, or of any launcher that sets RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT. Numbers on the CPU are exchanged by gloo, those on GPUs by NCCL.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # as documented

from matgen.errors import UserError

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=12)
"""The other processes wait while the first one validates."""

HEADSTART = 1.0
"""Seconds in which a process that failed, or its launcher, can report before one that merely lost it."""


class ParallelError(UserError, RuntimeError):
    """Processes that do not fit together."""


class LostProcessError(ParallelError):
    """Another process ended while this one waited for it."""


@dataclass(frozen=True)
class Processes:
    """The processes of one training, seen from one of them.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        local: number of this process on its machine.
        store: common to all; None for a single process.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    store: Store | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Return the device of this process: with several, `cuda` means one GPU for each.

        Raises:
            ParallelError: several processes on one GPU.
        """
        if self.size == 1 or not name.startswith("cuda"):
            return name
        if name != "cuda":
            raise ParallelError(f"expected --device cuda for {self.size} processes, one GPU for each, got {name}")
        n = torch.cuda.device_count()
        if self.local >= n:
            raise ParallelError(f"expected at most {n} processes here, one for each GPU, got {self.local + 1} or more")
        return f"cuda:{self.local}"

    def add(self, numbers: Tensor) -> None:
        """Replace numbers by their sum over all processes, in place.

        Raises:
            LostProcessError: another process ended.
        """
        if self.size > 1:
            with _losses():
                distributed.all_reduce(numbers)

    def from_first(self, number: float) -> float:
        """Return the number of the first process."""
        if self.size == 1:
            return number
        shared = torch.tensor([number], dtype=torch.float64)
        with _losses():
            distributed.broadcast(shared, src=0)
        return float(shared.item())

    def gathered(self, value: T) -> list[T]:
        """Return the value of every process, by rank."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            with _losses():
                distributed.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Wait until every process waits."""
        self.gathered(None)

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Check that all processes have the same facts.

        Raises:
            ParallelError: one differs.
        """
        for rank, theirs in enumerate(self.gathered(dict(facts))):
            for name, value in facts.items():
                if theirs[name] != value:
                    raise ParallelError(
                        f"expected the same {name} in all processes, got {value} in process {self.rank} and "
                        f"{theirs[name]} in process {rank}; give all the same files, --folder on a shared disk"
                    )

    def is_to_report(self, error: BaseException) -> bool:
        """Return whether this process is to report its error: only one does."""
        if self.store is None:
            return True
        if isinstance(error, LostProcessError):
            time.sleep(HEADSTART)
        return claimed(self.store)


ALONE = Processes()


def claimed(store: Store) -> bool:
    """Return whether this is the first process that asks, which then reports why the training ended."""
    try:
        return store.add("failed", 1) == 1
    except RuntimeError:  # the process that held the store has ended
        return True


def stated(name: str, environment: Mapping[str, str], default: int | None = None) -> int:
    """Return a whole number, 0 or more, of the environment.

    Raises:
        ParallelError: it is none, or it is missing without a default.
    """
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise ParallelError(f"expected a whole number as {name} in the environment, got {text!r}; unset or mend it")
    return int(text)


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """Join the other processes, as the environment tells; without such variables there is one process.

    Raises:
        ParallelError: incomplete variables, or the other processes cannot be reached.
    """
    if (size := stated("WORLD_SIZE", environment, 1)) <= 1:
        yield ALONE
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise ParallelError(f"expected {', '.join(missing)} in the environment beside WORLD_SIZE; start with torchrun")
    rank = stated("RANK", environment)
    held_by_launcher = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    host, port = environment["MASTER_ADDR"], stated("MASTER_PORT", environment)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    try:
        whole = TCPStore(host, port, size, is_master=rank == 0 and not held_by_launcher)
        store = PrefixStore(f"matgen {environment.get('TORCHELASTIC_RESTART_COUNT', '0')}", whole)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ParallelError(f"process {rank} cannot reach {host}:{port} ({reason}); check MASTER_ADDR") from error
    try:
        yield Processes(rank, size, stated("LOCAL_RANK", environment, rank), store)
    finally:
        distributed.destroy_process_group()


def shared_parts(parts: int, stored: int, size: int) -> int:
    """Return into how many parts each batch is split.

    Args:
        parts: as configured; 0 if left open.
        stored: of the checkpoint; 0 without one.
        size: number of processes.

    Raises:
        ParallelError: the processes cannot share the configured parts evenly.
    """
    if parts % size:
        raise ParallelError(f"expected parts as a multiple of {size} processes, got {parts}; set it in [schedule]")
    if parts:
        return parts
    return stored if stored and stored % size == 0 else size


def own_parts(parts: int, processes: Processes) -> Sequence[int]:
    """Return the numbers of the parts that a process computes."""
    return range(processes.rank, parts, processes.size)


@contextmanager
def _losses() -> Iterator[None]:
    """Turn the errors of an exchange into one that names the cause."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this training ended without a message, perhaps for want of memory; run the same "
            "command to resume"
        ) from error
