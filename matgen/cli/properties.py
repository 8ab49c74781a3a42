"""`matgen properties`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from matgen.cli.common import WithFiles, user_errors_as_one_line
from matgen.cli.completions import kinds


def properties(
    kind: Annotated[str | None, typer.Option(help="crystal or molecule. Default: both.", autocompletion=kinds)] = None,
    with_files: WithFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per property on standard output.")] = False,
) -> None:
    """List the properties that can be a target: unit, meaning, model, error and source."""
    with user_errors_as_one_line():
        from matgen.cli.tables import property_table
        from matgen.cli.terminal import console
        from matgen.workflows.properties import described_properties

        found = described_properties(kind, [str(file) for file in with_files or ()])
        if as_json:
            for one in found:
                typer.echo(json.dumps(asdict(one)))
        else:
            console().print(property_table(found))
