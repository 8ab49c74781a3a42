"""Markdown of a benchmark: tables, shares, and marked places of a page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def fill_page(page: Path, places: Mapping[str, str]) -> None:
    """Replace the text at the marked places of a page; of a folder, each place on the one page that has it.

    Raises:
        ValueError: a place that no page has, or more than one.
    """
    if not page.is_dir():
        page.write_text(filled(page.read_text(encoding="utf-8"), places), encoding="utf-8")
        return
    for name, text in places.items():
        fill_page(page_with(page, name), {name: text})


def page_with(folder: Path, name: str) -> Path:
    """Return the page of a folder that has a place.

    Raises:
        ValueError: no page has it, or more than one.
    """
    found = [page for page in sorted(folder.glob("*.md")) if f"<!-- {name} -->" in page.read_text(encoding="utf-8")]
    if len(found) != 1:
        names = ", ".join(page.name for page in found) or "none"
        raise ValueError(f"expected one page of {folder} with a place <!-- {name} -->, found {names}")
    return found[0]


def filled(page: str, places: Mapping[str, str]) -> str:
    """Return the page with new text at its places, which are marked `<!-- name -->...<!-- /name -->`.

    Raises:
        ValueError: a place that the page lacks.
    """
    for name, text in places.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        edge = "\n" if "\n" in text else ""
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"expected a place {start}...{end} in the page, found none; add it")
        page = pattern.sub(lambda _, inner=f"{start}{edge}{text}{edge}{end}": inner, page)
    return page


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def percent(part: float, whole: float) -> str:
    """Return a share such as `87.4 %`, or a dash if the denominator is zero."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def mean(values: Sequence[float], digits: int = 3) -> str:
    """Return the rounded mean, or a dash if there are no values."""
    return f"{sum(values) / len(values):.{digits}f}" if values else "–"
