"""Limits on the size of files, compressed or not, told before memory is spent on them.

A file that is read whole has a limit on its size, one that is read structure by structure on each structure. What is
compressed also has a limit on the ratio of the sizes: text shrinks to a tenth, a bomb to a thousandth.
"""

import io
import sys
from collections.abc import Callable
from typing import IO

from matgen.structures.formats import Format

MB = 1_000_000

LARGEST_FILE = 512 * MB
"""Most bytes of a file of the disk that is read whole, such as a CIF, a POSCAR or JSON."""

LARGEST_UNPACKED = 256 * MB
"""Most bytes of a compressed file, or of one in an archive, that is read whole."""

LARGEST_TOTAL = 20_000 * MB
"""Most bytes of an archive, or of a compressed file that is read structure by structure, when unpacked."""

LARGEST_PIECE = 64 * MB
"""Most bytes of one structure, or of one line, where structures are read one by one."""

LARGEST_RATIO = 200
"""Most bytes unpacked per byte packed, of what takes more than `SMALL` when unpacked."""

SMALL = 16 * MB

MOST_MEMBERS = 200_000
"""Most files in one archive."""

WHOLE: frozenset[Format] = frozenset({"cif", "poscar", "json", "xsf", "res", "gen", "aims", "pdb", "traj", "db"})
"""Formats that are read whole."""


class TooLargeError(ValueError):
    """A file beyond a limit; the message says which."""


def largest(form: Format) -> int:
    """Return the most bytes of a compressed file, or of one in an archive."""
    return LARGEST_UNPACKED if form in WHOLE else LARGEST_TOTAL


def most_on_disk(form: Format) -> int:
    """Return the most bytes of a plain file of the disk; one that is read structure by structure may have any size."""
    return LARGEST_FILE if form in WHOLE else sys.maxsize


def check_size(size: int, limit: int, packed_size: int = 0) -> None:
    """Check a size that is told beforehand.

    Args:
        size: unpacked, bytes.
        limit: on it.
        packed_size: in the archive, bytes; 0 if it is not known.

    Raises:
        TooLargeError: it is beyond a limit.
    """
    if size > limit:
        raise TooLargeError(f"{in_mb(size)}, and not more than {in_mb(limit)} are read; split it into several files")
    if packed_size and size > SMALL and size > LARGEST_RATIO * packed_size:
        raise TooLargeError(
            f"{in_mb(packed_size)} that unpack to {in_mb(size)}, and not more than {LARGEST_RATIO}-fold is unpacked; "
            "unpack it yourself if you trust it"
        )


def in_mb(size: float) -> str:
    """Return a size in words."""
    return f"{size / MB:,.3g} MB" if size < 1000 * MB else f"{size / MB:,.0f} MB"


class Limited(io.RawIOBase):
    """A stream of bytes that ends with an error beyond a limit, so that no reader takes more memory than that.

    Args:
        stream: to read from.
        limit: most bytes.
        line: most bytes of a line; 0 for any.
        packed: returns the packed bytes that were read so far; None for a stream that is not compressed.

    Raises:
        TooLargeError: on reading beyond a limit.
    """

    def __init__(
        self, stream: IO[bytes], limit: int, *, line: int = 0, packed: Callable[[], int] | None = None
    ) -> None:
        super().__init__()
        self._stream, self._limit, self._line, self._packed = stream, limit, line, packed
        self._read = self._since_line = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read some bytes into a buffer."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._stream.read(min(len(view), MB))
        view[: len(data)] = data
        self._count(data)
        return len(data)

    def _count(self, data: bytes) -> None:
        self._read += len(data)
        check_size(self._read, self._limit, self._packed() if self._packed else 0)
        last = data.rfind(b"\n")
        self._since_line = len(data) - last - 1 if last >= 0 else self._since_line + len(data)
        if self._line and self._since_line > self._line:
            raise TooLargeError(f"a line of more than {in_mb(self._line)}, which no structure needs")


def limited(
    stream: IO[bytes], form: Format, *, in_archive: bool = False, packed: Callable[[], int] | None = None
) -> IO[bytes]:
    """Return a stream of a file of a format within its limits.

    Args:
        stream: of the unpacked file.
        form: of the file.
        in_archive: whether it lies in an archive.
        packed: returns the packed bytes that were read so far; None if it is not compressed.
    """
    limit = largest(form) if in_archive or packed is not None else most_on_disk(form)
    line = 0 if form in WHOLE else LARGEST_PIECE
    return io.BufferedReader(Limited(stream, limit, line=line, packed=packed), MB)
