"""`matgen potentials`."""

import json
from typing import Annotated

import typer

from matgen.cli.common import user_errors_as_one_line


def potentials(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per potential on standard output.")] = False,
) -> None:
    """List the potentials that --calculator knows by name: installed? with a hull? what they learned."""
    with user_errors_as_one_line():
        from matgen.cli.tables import potential_table
        from matgen.cli.terminal import console
        from matgen.workflows.potentials import described_potentials

        found = described_potentials()
        if as_json:
            for one in found:
                typer.echo(json.dumps(vars(one)))
            return
        console().print(potential_table(found))
        typer.echo("Any other ASE calculator: --calculator module:function, a function that returns it.")
