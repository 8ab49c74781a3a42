"""Writing of files such that an interrupt leaves complete ones, with clear errors for a full or read-only disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from matgen.errors import UserError


class OutputError(UserError, OSError):
    """The output folder cannot be written."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the file system into an error that says what to do.

    Raises:
        OutputError: the path cannot be written.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write to {path}: {reason}; choose another folder with --out") from error


def make_folder(folder: Path, option: str) -> None:
    """Create a folder if it does not exist, and check before long work that files can be written to it.

    Args:
        folder: to create.
        option: command-line option that sets the folder.

    Raises:
        OutputError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}; choose another place with {option}") from error


def replace_file(path: Path, text: str) -> None:
    """Write a file such that readers see either the old or the new content, never a part of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)


def append(path: Path, text: str, *, wait: bool = True) -> None:
    """Append text and wait until it is on the disk, unless told not to."""
    with path.open("a", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        if wait:
            os.fsync(stream.fileno())


def wait_for_disk(path: Path) -> None:
    """Wait until what was appended to a file is on the disk; do nothing if there is none."""
    if path.exists():
        with path.open("a", encoding="utf-8") as stream:
            os.fsync(stream.fileno())
