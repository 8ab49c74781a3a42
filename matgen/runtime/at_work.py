"""A note of the items that are being worked on, which a process that dies leaves behind.

The next call reads it, and works on these items in a process of their own, so that an item that kills its process, or
finds no end, does not stop every resumption.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from matgen.runtime.output import replace_file, writing
from matgen.runtime.processes import Chunk

NOTE = "at_work.json"
"""Name of the file in the folder of a run."""


class Named(Protocol):
    """An item with a name that no other has."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


N = TypeVar("N", bound=Named)


class AtWork(AbstractContextManager["AtWork"]):
    """The note in a folder; it is removed when the work ends without an exception.

    Args:
        folder: that exists.

    Attributes:
        left: names of the items that an earlier process was working on when it ended.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NOTE
        self.left = _names(self._path)
        self._names: dict[str, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with writing(self._path):
                self._path.unlink(missing_ok=True)

    def begin(self, names: Iterable[str]) -> None:
        """Note that work on items begins; those of an earlier process stay noted until they are done.

        Raises:
            OutputError: the folder cannot be written.
        """
        self._names |= dict.fromkeys(names)
        with writing(self._path):
            replace_file(self._path, json.dumps([*self._names, *(self.left - self._names.keys())]) + "\n", wait=False)

    def end(self, names: Iterable[str]) -> None:
        """Note that items are done; it is written with the next that begin."""
        for name in names:
            self._names.pop(name, None)
            self.left.discard(name)

    def noted(self, chunks: Iterable[Chunk[N]]) -> Iterator[Chunk[N]]:
        """Yield chunks and note their items; items of an earlier process are in chunks of their own, with a death."""
        for chunk in chunks:
            parts = [tuple(item for item in chunk.items if (item.name in self.left) == left) for left in (False, True)]
            for items, deaths in zip(parts, (chunk.deaths, 1), strict=True):
                if items:
                    self.begin(item.name for item in items)
                    yield Chunk(items, deaths)


def _names(path: Path) -> set[str]:
    """Return the names in a note; none if there is no note, or a damaged one, which a crash of the machine leaves."""
    found: Any = []
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
    return {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()
