"""The limit of recursion, which packages raise beyond what the stack of C holds (symfc: to 100,000, on import)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

MOST = 3_000
"""Frames; far below what a stack of 8 MB holds, in C as in Python."""


@contextmanager
def recursion_limited() -> Iterator[None]:
    """Let deep recursion end in a RecursionError and not in a crash; afterwards the limit is what it was before."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(min(before, MOST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
