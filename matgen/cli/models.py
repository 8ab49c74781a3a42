"""`matgen models`."""

import json
from typing import Annotated

import typer

from matgen.cli.common import complain, teaching


def models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per model on standard output.")] = False,
) -> None:
    """Show the shipped models, their training data and their figures."""
    with teaching():
        from matgen.cli.tables import model_table
        from matgen.cli.terminal import console
        from matgen.weights.shipped import registry

        found = registry()
        if as_json:
            for model in found:
                typer.echo(json.dumps(vars(model)))
        elif found:
            console().print(model_table(found))
        else:
            complain("no weights ship with this installation; make them with `matgen train`")
