"""Members of zips and tars, one after the other, within limits; none is ever written to the disk.

Refused are members whose name leads out of the archive, links, devices, archives within archives, and what is beyond
the limits of `matgen.structures.size_limits`.
"""

import bz2
import gzip
import re
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from matgen.structures.size_limits import (
    LARGEST_TOTAL,
    MOST_MEMBERS,
    TooLargeError,
    check_size,
    in_mb,
)

ZIP, TAR = (".zip",), (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")

LARGEST_ENTRY = 512
"""Bytes of an entry in the list of a zip, on average, beyond which there are too many."""

Member = tuple[str, IO[bytes] | None, int, int, str]
"""Name, stream, sizes unpacked and packed (0 if unknown), and why there is no stream."""


def is_archive(name: str) -> bool:
    """Return whether a file is an archive, by its name."""
    return name.lower().endswith((*ZIP, *TAR))


def members(file: Path) -> Iterator[Member]:
    """Yield the files in an archive: of a zip in alphabetical order, of a tar as they are stored.

    Raises:
        TooLargeError: there are too many, or they take too much.
        OSError, EOFError, ...: it is damaged.
    """
    yield from _of_zip(file) if file.name.lower().endswith(ZIP) else _of_tar(file)


def _of_zip(file: Path) -> Iterator[Member]:
    with file.open("rb") as stream:
        _check_count(_count(stream))
        with zipfile.ZipFile(stream) as archive:
            infos = sorted((one for one in archive.infolist() if not one.is_dir()), key=lambda one: one.filename)
            total = sum(one.file_size for one in infos)
            check_size(total, LARGEST_TOTAL, file.stat().st_size)
            for info in infos:
                reason = _refused(info.filename)
                if info.external_attr >> 28 == 0xA:
                    reason = "a link; put the file itself into the archive"
                if reason:
                    yield info.filename, None, 0, 0, reason
                    continue
                try:
                    member = archive.open(info)
                except (RuntimeError, NotImplementedError, zipfile.BadZipFile, OSError) as error:  # such as a password
                    yield info.filename, None, 0, 0, f"damaged in its zip: {error}"
                    continue
                with member:
                    yield info.filename, member, info.file_size, info.compress_size, ""


def _of_tar(file: Path) -> Iterator[Member]:
    with ExitStack() as opened:
        raw = opened.enter_context(file.open("rb"))
        plain: IO[bytes] = raw
        if file.name.lower().endswith((".gz", ".tgz")):
            plain = cast("IO[bytes]", opened.enter_context(gzip.GzipFile(fileobj=raw)))
        elif file.name.lower().endswith((".bz2", ".tbz2")):
            plain = cast("IO[bytes]", opened.enter_context(bz2.BZ2File(raw)))
        archive = opened.enter_context(tarfile.open(fileobj=_HeadersInSteps(plain, raw), mode="r:"))  # type: ignore[call-overload]
        number = 0
        while (info := archive.next()) is not None:
            archive.members.clear()  # which keeps all that were seen
            number += 1
            _check_count(number)
            if info.isdir():
                continue
            reason = _refused(info.name)
            if not (info.isreg() or reason):
                kind = "link" if info.issym() or info.islnk() else "device"
                reason = f"a {kind}; put the file itself into the archive"
            stream = None if reason else archive.extractfile(info)
            yield info.name, stream, info.size, 0, reason


class _HeadersInSteps:
    """A stream of a tar, which its reader asks for headers and members; it gives no header of more than a megabyte.

    Args:
        stream: unpacked.
        raw: packed, whose position tells how much was read.
    """

    LARGEST_READ = 2**21

    def __init__(self, stream: IO[bytes], raw: IO[bytes]) -> None:
        self._stream, self._raw = stream, raw
        self._packed = raw is not stream

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes."""
        if not 0 <= size <= self.LARGEST_READ:
            raise TooLargeError(f"a header of {in_mb(size)}, which no archive of structures needs")
        data = self._stream.read(size)
        self._check()
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place, in steps that are checked."""
        if self._packed and whence == 0:
            while place - self._stream.tell() > self.LARGEST_READ:
                before = self._stream.tell()
                self._stream.seek(before + self.LARGEST_READ)
                self._check()
                if self._stream.tell() == before:
                    break
        return self._stream.seek(place, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._stream.tell()

    def _check(self) -> None:
        if self._packed:
            check_size(self._stream.tell(), LARGEST_TOTAL, self._raw.tell())


def _refused(name: str) -> str:
    """Return why a member is not read by its name; empty if it is."""
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return "its name leads out of the archive"
    return "an archive within an archive; unpack it" if is_archive(name) else ""


def _check_count(count: int) -> None:
    if count > MOST_MEMBERS:
        raise TooLargeError(f"{count:,} files in one archive, and not more than {MOST_MEMBERS:,} are read; split it")


def _count(stream: IO[bytes]) -> int:
    """Return the number of members that the end of a zip tells, without reading their list; 0 if there is none."""
    size = stream.seek(0, 2)
    start = max(0, size - 66_000)  # the end, a comment of 64 KiB, and a locator
    stream.seek(start)
    tail = stream.read()
    stream.seek(0)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        return 0
    count, locator = struct.unpack_from("<H", tail, at + 10)[0], tail.rfind(b"PK\6\7", 0, at)
    if struct.unpack_from("<L", tail, at + 12)[0] > LARGEST_ENTRY * MOST_MEMBERS and locator < 0:
        return MOST_MEMBERS + 1  # the list is longer than the number says
    if count < 0xFFFF or locator < 0:
        return count
    stream.seek(min(struct.unpack_from("<Q", tail, locator + 8)[0], size))
    record = stream.read(56)
    stream.seek(0)
    return struct.unpack_from("<Q", record, 32)[0] if len(record) == 56 else count
