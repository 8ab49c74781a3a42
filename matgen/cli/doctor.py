"""`matgen doctor`."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from matgen.cli.common import NOTHING_FOUND, user_errors_as_one_line


def doctor(
    check: Annotated[
        bool, typer.Option("--check", help="Calculate, too: an energy by CHGNet, by the graph energy and by xTB.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per finding on standard output.")] = False,
) -> None:
    """Say what is installed and usable, what is missing, and what to type to get it; no network is used."""
    with user_errors_as_one_line():
        from matgen.cli.terminal import console
        from matgen.workflows.doctor import examine

        screen, states = console(), []
        for finding in examine(check=check):
            states.append(finding.state)
            if as_json:
                typer.echo(json.dumps(asdict(finding), ensure_ascii=False))
                continue
            screen.print(*lines(finding), sep="\n", highlight=False, markup=False, soft_wrap=True)
        broken = states.count("broken")
        if not as_json:
            screen.print(conclusion(broken, states.count("missing"), checked=check), highlight=False)
    raise typer.Exit(NOTHING_FOUND if broken else 0)


def lines(finding: Any) -> list[str]:
    """Return a finding in a line, and what to type in another."""
    told = f"{finding.state:<8} {finding.subject}: {finding.text}"
    return [told, f"         type: {finding.advice}"] if finding.advice else [told]


def conclusion(broken: int, missing: int, *, checked: bool) -> str:
    """Return the last line: whether what is needed works."""
    if broken:
        return f"broken: {broken}; repair these first, from the top"
    rest = f"; optional and missing: {missing}" if missing else ""
    more = "" if checked else "; `matgen doctor --check` calculates something, too"
    return f"what is needed works{rest}{more}"
