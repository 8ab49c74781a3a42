"""A lock on the folder of a run, so that two processes never write to one folder.

The operating system holds it (`flock`) and releases it when the process ends, however it ends. The file that carries
it names the process. Where the file system has no such locks, the file alone counts: the process that it names must
be dead, which can be seen on the same host only.
"""

import errno
import json
import os
import socket
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matgen.errors import UserError
from matgen.runtime.output import writing

try:
    import fcntl
except ModuleNotFoundError:  # of Unix
    fcntl = None  # type: ignore[assignment]

_WITHOUT = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})
"""Errors of a file system without locks."""


class FolderInUseError(UserError, OSError):
    """Another process writes to the folder."""


class FolderLock(AbstractContextManager["FolderLock"]):
    """The lock of a folder, which is created if it does not exist.

    Args:
        folder: of a run.
        of: what is locked; runs of another kind may share the folder.

    Raises:
        FolderInUseError: another process, or another part of this one, has it; raised on entering.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, of: str = "run") -> None:
        self._folder, self._path = folder, folder / f".{of}.lock"
        self._file = -1

    def __enter__(self) -> Self:
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        while not self._taken():
            continue  # the file was removed by the process that had it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # the folder may be gone, or read-only by now
            self._path.unlink()
        os.close(self._file)

    def _taken(self) -> bool:
        """Take the lock; return False if its file is another one by now."""
        with writing(self._folder):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        taken = False
        try:
            self._lock()
            with suppress(FileNotFoundError):
                taken = os.path.samestat(os.fstat(self._file), self._path.stat())
            if taken:
                self._sign()
        finally:
            if not taken:
                os.close(self._file)
        return taken

    def _lock(self) -> None:
        if not _locked(self._file):
            raise self._in_use()

    def _sign(self) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": since})
        with writing(self._folder):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)

    def _in_use(self) -> FolderInUseError:
        holder = _holder(self._file)
        if holder:
            process, host, since = (holder.get(name) for name in ("process", "host", "since"))
            who = f"process {process} on {host} has been working since {since}"
        else:
            who = "another process is working"
        return FolderInUseError(
            f"expected a folder to which no other run writes, got {self._folder}, in which {who}; wait for its end, "
            "or name another folder with --out"
        )


def _locked(file: int) -> bool:
    """Lock an open file; return False if another process has it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise
        else:
            return True
    return not _alive(_holder(file))


def _holder(file: int) -> dict[str, Any]:
    """Return what a lock file says of its process; nothing if it is empty, as while the other process signs."""
    with suppress(OSError, ValueError):
        found = json.loads(os.pread(file, 4096, 0))
        return found if isinstance(found, dict) else {}
    return {}


def _alive(holder: dict[str, Any]) -> bool:
    """Return whether the process of a lock file may be running; on another host it may always be."""
    number = holder.get("process")
    if not isinstance(number, int):
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
