"""Threads of PyTorch. The networks are small: more than one thread gains little, and on a busy machine threads wait."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def usual_threads() -> int:
    """Return the number of threads of a process: `OMP_NUM_THREADS` of the environment, or 1."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isascii() and told.isdigit() and int(told) else 1


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let PyTorch use n threads of this process; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
