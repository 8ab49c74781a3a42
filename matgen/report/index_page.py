"""The list of the runs of a folder, as a page that shows itself again every few seconds."""

import html
from collections.abc import Sequence
from urllib.parse import quote

from matgen.report.runs import Listed

REFRESH = 5
"""Seconds after which the list, and the page of a run that goes on, are asked for again."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --paper: #fbfbfa; --line: #d9dcdf; --accent: #0b6e99; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --paper: #14181d; --line: #333a42; --accent: #6cc3e8; } }
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem; }
h1 { font-size: 1.5rem; font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .5rem .75rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
a { color: var(--accent); } a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (max-width: 40rem) { thead { display: none; } tr { display: block; border-bottom: 1px solid var(--line); }
  td { display: block; border: 0; padding: .15rem .25rem; } }
"""


def index_page(title: str, runs: Sequence[Listed]) -> str:
    """Return the list of runs.

    Args:
        title: of the folder.
        runs: in it, the latest first.
    """
    rows = "\n".join(map(_row, runs))
    table = (
        f"<table><thead><tr><th scope=col>Run</th><th scope=col>Command</th><th scope=col>State</th>"
        f"<th scope=col>So far</th><th scope=col>Started</th></tr></thead><tbody>{rows}</tbody></table>"
        if runs
        else "<p>No run is in this folder yet. This page looks again every few seconds.</p>"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH}">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>Runs in {html.escape(title)}</h1>{table}</main></body></html>\n"
    )


def address(path: str) -> str:
    """Return the address of the page of a run, from its path below the folder."""
    return f"/run/{quote(path)}"


def _row(one: Listed) -> str:
    name = one.run.path.name if one.path == "." else one.path
    started = f"{one.started.replace('T', ' ').removesuffix('+00:00')} UTC" if one.started else ""
    cells = [f'<a href="{html.escape(address(one.path))}">{html.escape(name)}</a>']
    cells += [html.escape(text) for text in (one.run.command, one.run.state, one.count, started)]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
