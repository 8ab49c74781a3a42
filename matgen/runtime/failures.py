"""The boundary at which an exception on one item becomes the result of that item.

Thousands of foreign inputs meet many packages, and any of them may raise anything. `guarded`, `each` and `together`
turn an exception on one item into what `failed` makes of its reason, so that no other item is affected. What concerns
the machine and not the item is raised: an interrupt, no memory, a disk that is full.
"""

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from matgen.runtime.csv_lines import writable
from matgen.runtime.output import OutputError

T = TypeVar("T")
R = TypeVar("R")

DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
"""Numbers of errors of the operating system that the next item would meet as well."""

PATHS = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR})
"""Numbers of errors that the name of a path, or who may use it, explains."""

LONGEST = 300
"""Most characters of a reason."""


def of_the_machine(error: BaseException) -> bool:
    """Return whether an error concerns the machine: an interrupt, no memory, or the disk.

    Subclasses of `MemoryError`, which NumPy raises for one array that is too large, concern the item.
    """
    if not isinstance(error, Exception) or type(error) is MemoryError or isinstance(error, OutputError):
        return True
    return isinstance(error, OSError) and error.errno in DISK


def of_a_path(error: OSError) -> bool:
    """Return whether an error concerns a path that a user named: too long, a circle of links, or not for this user."""
    return error.errno in PATHS and error.filename is not None


def reason_of(error: BaseException) -> str:
    """Return type and message of an error as one line."""
    text = writable(" ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":"))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def guarded(
    work: Callable[[T], R], item: T, failed: Callable[[T, str], R], *, passing: tuple[type[Exception], ...] = ()
) -> R:
    """Return what `work` makes of an item, or what `failed` makes of it and the reason if that raises.

    Args:
        work: to do.
        item: to work on.
        failed: returns the result in place of an exception.
        passing: exceptions that concern every item, and are raised.
    """
    try:
        return work(item)
    except Exception as error:
        if of_the_machine(error) or isinstance(error, passing):
            raise
        return failed(item, reason_of(error))


def each(work: Callable[[T], R], items: Iterable[T], failed: Callable[[T, str], R]) -> list[R]:
    """Return the result of each item."""
    return [guarded(work, item, failed) for item in items]


def together(work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], failed: Callable[[T, str], R]) -> list[R]:
    """Return the results of items that are worked on together; in halves after an exception, down to the item at fault.

    Args:
        work: returns one result for each item, in order; it must change no item.
        items: to work on.
        failed: returns the result of an item that raises an exception by itself, from the item and the reason.
    """
    try:
        return list(work(items))
    except Exception as error:
        single = len(items) == 1
        if of_the_machine(error) and (single or not isinstance(error, MemoryError)):  # fewer may need less memory
            raise
        if single:
            return [failed(items[0], reason_of(error))]
    half = len(items) // 2
    return [result for part in (items[:half], items[half:]) if part for result in together(work, part, failed)]
