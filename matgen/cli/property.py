"""`matgen train property`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matgen.cli.common import INTERRUPTED, to_stderr, user_errors_as_one_line

if TYPE_CHECKING:
    from matgen.workflows.property import Trained


def train_property(
    table: Annotated[
        Path,
        typer.Option(
            help="CSV or Parquet with structures, file names or SMILES in a column; or extxyz, JSON with values.",
            show_default=False,
        ),
    ],
    column: Annotated[str, typer.Option(help="Column, or key, of the values.", show_default=False)],
    structures: Annotated[
        Path | None, typer.Option(help="Folder with a file for each row, by its name. Default: that of the table.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the property: S/cm.", show_default=False)] = "",
    column_unit: Annotated[
        str, typer.Option(help="Unit of the column, if it is another one, which is converted.", show_default=False)
    ] = "",
    log: Annotated[
        bool, typer.Option("--log", help="Predict the logarithm: for positive values over decades.")
    ] = False,
    name: Annotated[str, typer.Option(help="Of the property. Default: that of the column.", show_default=False)] = "",
    out: Annotated[Path | None, typer.Option(help="File to write. Default: NAME.safetensors.")] = None,
) -> None:
    """Fit a property of your own to a table, for `matgen design --with FILE --property NAME=VALUE`."""
    with user_errors_as_one_line():
        from matgen.cli.terminal import StageView, console
        from matgen.learning.columns import Column
        from matgen.workflows.property import checked_name, run

        asked = Column(table, column, structures, unit, column_unit, log)
        target = out or Path(f"{checked_name(name or column)}.safetensors")
        with StageView(console(stderr=True)) as view:
            try:
                trained = run(asked, target, name=name, report=view)
            except KeyboardInterrupt:
                trained = None
        if trained is None:
            to_stderr("interrupted: nothing is written")
            raise typer.Exit(INTERRUPTED)
        _show(trained)


def _show(trained: "Trained") -> None:
    from rich.markup import escape
    from rich.table import Table

    from matgen.cli.terminal import console

    file, (name, one) = trained.file, next(iter(trained.file.learned.items()))
    unit = "decades" if one.logarithmic else one.described.unit or "1"
    table = Table(title=f"{name}: mean absolute error on held-out formulas, {escape(unit)}", title_justify="left")
    for heading in ("reads", "heads", "mean", "forest", "in 90 %", "rows seen: error"):
        table.add_column(heading)
    for kind, found in trained.errors.items():
        curve = ", ".join(f"{n}: {error:.3g}" for n, error in found.curve)
        numbers = [f"{value:.3g}" for value in (found.mae, found.mean, found.forest)]
        table.add_row(kind, *numbers, f"{found.coverage:.0%}", curve)
    console().print(table)
    left = "".join(f"; {n} left out: {reason}" for reason, n in trained.skipped.most_common(5))
    to_stderr(f"{trained.rows} rows of {trained.formulas} formulas{left}")
    for warning in trained.warnings:
        to_stderr(f"warning: {warning}")
    limits = f"{one.lowest_label:.3g} to {one.highest_label:.3g} {one.described.unit}".rstrip()
    to_stderr(f"{file.path} predicts {name}, {limits}; matgen design --with {file.path.name} --property {name}=VALUE")
