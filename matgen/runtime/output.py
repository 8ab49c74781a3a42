"""Writing of files such that an interrupt leaves complete ones, with clear errors for a full or read-only disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

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


@contextmanager
def replacing(path: Path, *, wait: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of another one once it is complete, whatever ends this process meanwhile.

    Args:
        path: of the file; it is written beside that, under the name with `.part`, which an exception removes.
        wait: until it is on the disk, so that the loss of power leaves one or the other, too.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            if wait:
                os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):  # of a disk that became read-only
            part.unlink(missing_ok=True)
        raise


def replace_file(path: Path, text: str, *, wait: bool = True) -> None:
    """Write a file such that readers see either the old or the new content, never a part of it."""
    with replacing(path, wait=wait) as stream:
        stream.write(text.encode("utf-8"))


def append(path: Path, text: str, *, wait: bool = True) -> None:
    """Append text, all of it or nothing unless this process is killed; wait until it is on the disk, or not."""
    rest = memoryview(text.encode("utf-8"))
    with path.open("ab", buffering=0) as stream:
        before = stream.tell()
        try:
            while rest:
                rest = rest[stream.write(rest) :]
            if wait:
                os.fsync(stream.fileno())
        except BaseException:
            with suppress(OSError):  # of a disk that became read-only
                stream.truncate(before)
            raise


def wait_for_disk(path: Path) -> None:
    """Wait until what was appended to a file is on the disk; do nothing if there is none."""
    if path.exists():
        with path.open("a", encoding="utf-8") as stream:
            os.fsync(stream.fileno())
