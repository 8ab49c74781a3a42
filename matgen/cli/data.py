"""`matgen data prepare` and `matgen data info`."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen.cli.common import user_errors_as_one_line

app = typer.Typer(no_args_is_help=True, help="Training data: what exists, and tables prepared for training.")


@app.command("prepare")
def prepare(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of training tables.", envvar="MATGEN_DATA", show_default=False)
    ] = None,
    molecules: Annotated[
        bool, typer.Option("--molecules", help="QM9, from the package qm9pack, instead of the crystals.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Table to write. Default: cache/crystals.npz or cache/molecules.npz.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Determine the symmetry of every crystal, or the bonds of every molecule; write templates and geometries."""
    with user_errors_as_one_line():
        from rich.progress import track

        from matgen.cli.tables import rows_table
        from matgen.cli.terminal import console
        from matgen.workflows.data import prepare_molecules, prepare_table

        screen = console(stderr=True)

        def shown(rows: Any) -> Any:
            return track(rows, description="describe", console=screen, total=None)

        kind = "molecules" if molecules else "crystals"
        work = prepare_molecules if molecules else prepare_table
        found = work(folder, out or Path("cache") / f"{kind}.npz", jobs=jobs, progress=shown)
        if found.ways:
            console().print(rows_table("bonds by:", dict(found.ways)))
        console().print(rows_table(f"{found.path}: {found.rows} {kind}; left out:", dict(found.failures)))


@app.command("info")
def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of training tables, or a prepared table.", envvar="MATGEN_DATA", show_default=False
        ),
    ] = None,
) -> None:
    """Show the training data, or what a prepared table contains."""
    with user_errors_as_one_line():
        from matgen.cli.tables import rows_table
        from matgen.cli.terminal import console
        from matgen.workflows.data import files, table_facts

        if path is not None and path.suffix == ".npz":
            console().print(rows_table(str(path), vars(table_facts(path))))
            return
        for fact in files(path):
            facts = {"rows": fact.rows, "MB": f"{fact.megabytes:.1f}", "columns": ", ".join(fact.columns)}
            console().print(rows_table(str(fact.path), facts))
