"""`matgen data prepare` and `matgen data info`."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen.cli.common import INTERRUPTED, to_stderr, user_errors_as_one_line

app = typer.Typer(no_args_is_help=True, help="Training data: what exists, and tables prepared for training.")


@app.command("prepare")
def prepare(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of training tables, or a Parquet table of your own.",
            envvar="MATGEN_DATA",
            show_default=False,
            metavar="[FOLDER|TABLE.parquet]",
        ),
    ] = None,
    molecules: Annotated[
        bool, typer.Option("--molecules", help="QM9, from the package qm9pack, instead of the crystals.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File NAME.npz, or folder for shards. Default: cache/crystals.npz, cache/molecules.npz, or the folder "
            "cache/crystals for more than 200,000 crystals."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Determine the symmetry of every crystal, or the bonds of every molecule; write templates and geometries.

    Rows are read and written bit by bit; the same command goes on after an interrupt.
    """
    with user_errors_as_one_line():
        from rich.progress import track

        from matgen.cli.tables import rows_table
        from matgen.cli.terminal import console
        from matgen.workflows.data import prepare_molecules, prepare_table

        screen = console(stderr=True)

        def shown(rows: Any) -> Any:
            return track(rows, description="describe", console=screen, total=None)

        try:
            if molecules:
                found = prepare_molecules(source, out or Path("cache") / "molecules.npz", jobs=jobs, progress=shown)
            else:
                found = prepare_table(source, out, jobs=jobs, progress=shown)
        except KeyboardInterrupt:
            kept = "nothing is kept" if molecules else "finished shards are kept"
            to_stderr(f"interrupted: {kept}; run the same command to {'start again' if molecules else 'go on'}")
            raise typer.Exit(INTERRUPTED) from None
        if found.ways:
            console().print(rows_table("bonds by:", dict(found.ways)))
        kind = "molecules" if molecules else "crystals"
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
        from matgen.workflows.data import files, is_table, table_facts

        if path is not None and is_table(path):
            console().print(rows_table(str(path), vars(table_facts(path))))
            return
        for fact in files(path):
            facts = {"rows": fact.rows, "MB": f"{fact.megabytes:.1f}", "columns": ", ".join(fact.columns)}
            console().print(rows_table(str(fact.path), facts))
