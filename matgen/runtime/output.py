"""Writing to disk so that an interrupt leaves whole files, and complaints about a full or closed one that teach."""

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
    """Turn whatever the file system objects to into an error that says what to do.

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
    """Make a folder if it is not there, and find out before long work whether it takes files.

    Args:
        folder: to make.
        option: that names another.

    Raises:
        OutputError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}; choose another place with {option}") from error


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)


def append(path: Path, text: str) -> None:
    """Append and wait until it is on the disk."""
    with path.open("a", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
