"""Markdown of a benchmark: tables, shares, and the marked places of a page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def filled(page: str, places: Mapping[str, str]) -> str:
    """The page with new text at its places, which are marked `<!-- name -->...<!-- /name -->`.

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
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def percent(part: float, whole: float) -> str:
    """`87.4 %`; a dash without a denominator."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def mean(values: Sequence[float], digits: int = 3) -> str:
    """The mean, rounded; a dash of nothing."""
    return f"{sum(values) / len(values):.{digits}f}" if values else "–"
