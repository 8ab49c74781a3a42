"""Which rows of the folder of a screening hold, finished or not."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from matgen.screening.files import ROWS
from matgen.screening.tables import RESULTS


class Named(Protocol):
    """A row, or its record."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


R = TypeVar("R", bound=Named)


def newest_rows(folder: Path) -> tuple[Path, bool]:
    """Return the file with the newest rows, which may not exist, and whether they are those of the final ranking."""
    ranked, rows = folder / f"{RESULTS}.jsonl", folder / ROWS
    final = ranked.is_file() and (not rows.is_file() or ranked.stat().st_mtime >= rows.stat().st_mtime)
    return (ranked if final else rows), final


def last_of_each(rows: Iterable[R]) -> list[R]:
    """Return the last row of each name: a file that was changed is screened anew."""
    return list({row.name: row for row in rows}.values())
