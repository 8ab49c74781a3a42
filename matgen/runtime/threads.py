"""Threads of PyTorch. The networks are small: more than one thread gains little, and on a busy machine threads wait."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let PyTorch use n threads of this process; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
