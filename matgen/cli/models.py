"""`matgen models`."""

import json
from typing import Annotated

import typer

from matgen.cli.common import to_stderr, user_errors_as_one_line


def models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per model on standard output.")] = False,
) -> None:
    """Show the shipped models, their training data and their figures."""
    with user_errors_as_one_line():
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
            to_stderr("no weights ship with this installation; make them with `matgen train`")
