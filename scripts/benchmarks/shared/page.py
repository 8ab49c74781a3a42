"""Markdown of a benchmark: tables, shares, and marked places of a page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def fill_page(page: Path, places: Mapping[str, str]) -> None:
    """Replace the text at the marked places of a page.

    Raises:
        ValueError: a place that the page lacks.
    """
    page.write_text(filled(page.read_text(encoding="utf-8"), places), encoding="utf-8")


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
