"""The page of a report: data, scripts, styles and libraries in one file that opens without network."""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

from matgen.report.element_styles import element_styles
from matgen.report.scripts import joined
from matgen.report.size import fitting

STYLES = ("tokens", "layout", "table", "detail", "figures", "dialogs", "small", "paper")
"""Style sheets of matgen/report/assets, in the order in which they apply."""

LIBRARIES = ("d3", "plot", "d3-sankey")
"""Libraries that run when the page opens: d3 first, which the others need."""

LATE_LIBRARY = "3dmol"
"""The library that a script of the page starts when a structure first comes into view."""

MOST_BYTES = 3_000_000
"""No page is larger than this where leaving out trajectories can prevent it."""


def report_html(data: dict[str, Any], refresh: int | None = None) -> str:
    """Return the page of a report.

    Args:
        data: what `matgen.report.data.report_data` returns; every key but `schema`, `title`, `command` and `kind` may
            be missing.
        refresh: seconds after which the page loads itself again, for a run that still works; None: never.

    Raises:
        ValueError: a number of the data is not finite.
    """
    script = joined("main")
    libraries = [_library(name) for name in LIBRARIES]
    late = _library(LATE_LIBRARY)
    parts = {
        "policy": policy([*libraries, late, script]),
        "refresh": f'<meta http-equiv="refresh" content="{int(refresh)}">\n' if refresh else "",
        "title": html.escape(str(data.get("title", "matgen report"))),
        "styles": "\n".join(_asset(f"{name}.css") for name in STYLES),
        "libraries": "\n".join(
            [
                *(f"<script>{text}</script>" for text in libraries),
                f'<script type="text/plain" id="library-{LATE_LIBRARY}">{late}</script>',
            ]
        ),
        "script": script,
    }
    frame = _asset("page.html")
    rest = sum(len(text.encode()) for text in parts.values()) + len(frame)
    shown = fitting({**data, "elements": element_styles(symbols(data))}, MOST_BYTES - rest)
    return frame.format(**parts, data=embedded(shown))


def symbols(data: dict[str, Any]) -> Iterator[str]:
    """Yield the symbols of all atoms of the structures and trajectories."""
    for candidate in data.get("candidates") or ():
        yield from (candidate.get("structure") or {}).get("symbols") or ()
        for frame in (candidate.get("walk") or {}).get("frames") or ():
            yield from frame.get("symbols") or ()


def embedded(data: dict[str, Any]) -> str:
    """Return data as JSON that cannot end the element of the page in which it stands.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def policy(scripts: Iterable[str]) -> str:
    """Return the content security policy: these scripts run, no other, and nothing is fetched from anywhere."""
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files("matgen.report") / "assets" / name).read_text(encoding="utf-8")


def _library(name: str) -> str:
    """A library preceded by its licence, as the licence asks."""
    folder = files("matgen.report") / "vendor"
    licence = (folder / f"{name}.LICENSE.txt").read_text(encoding="utf-8").replace("*/", "* /")
    return f"/*\n{licence.strip()}\n*/\n{(folder / f'{name}.min.js').read_text(encoding='utf-8').strip()}\n"
