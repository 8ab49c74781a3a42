"""`matgen models`."""

import json
from typing import Annotated

import typer

from matgen.cli.common import complain, teaching


def models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per model on standard output.")] = False,
) -> None:
    """Say which models ship, what they were trained on, and how good they are."""
    with teaching():
        from matgen.cli.tables import model_table
        from matgen.cli.terminal import console
        from matgen.weights.shipped import registry

        found = registry()
        if as_json:
            for told in found:
                typer.echo(json.dumps(vars(told)))
        elif found:
            console().print(model_table(found))
        else:
            complain("no weights ship with this installation; make them with `matgen train`")
