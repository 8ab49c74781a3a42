"""`matgen energy`: property files, which others can use."""

from pathlib import Path
from typing import Annotated

import typer

from matgen.cli.common import to_stderr, user_errors_as_one_line

app = typer.Typer(no_args_is_help=True, help="Check, describe and join property files, which are terms of the energy.")


@app.command()
def info(file: Annotated[Path, typer.Argument(help="Property file, or shipped.", show_default=False)]) -> None:
    """Check a property file, and tell what it predicts, from which labels, how well, and what it reads."""
    with user_errors_as_one_line():
        from rich.markup import escape
        from rich.table import Table

        from matgen.cli.tables import error_text
        from matgen.cli.terminal import console
        from matgen.weights.property_errors import file_errors
        from matgen.weights.property_files import check_reads, read_property_file

        read = read_property_file(file)
        check_reads(read, read.material)
        table = Table(title=f"{escape(read.path.name)}: properties of a {read.material}", title_justify="left")
        for heading in ("property", "unit", "scale", "labels from", "to", "mean error", "source"):
            table.add_column(heading, overflow="fold")
        errors = file_errors(read)
        for name, one in read.learned.items():
            limits = f"{one.lowest_label:.3g}", f"{one.highest_label:.3g}"
            scale = "logarithm" if one.logarithmic else "linear"
            found, unit = errors.get(name), one.described.unit
            error = error_text(found.mae, found.mae_log10, unit, found.of, found.coverage) if found else "not measured"
            table.add_row(name, escape(unit), scale, *limits, escape(error), escape(one.source))
        console().print(table)
        for kind, digest in read.reads.items():
            to_stderr(f"reads {kind} {digest[:12]}…, which is in use")
        to_stderr(f"version {read.version}, SHA-256 {read.sha256}; no code, no rows")


@app.command()
def pack(
    files: Annotated[list[Path], typer.Argument(help="Property files.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write.", show_default=False)],
) -> None:
    """Check property files and join them into one; of a property in several of them, predictions are mixed."""
    with user_errors_as_one_line():
        from matgen.weights.property_sets import packed

        read = packed(files, out)
        to_stderr(f"{read.path} predicts {', '.join(read.learned)}; SHA-256 {read.sha256}")
