"""`matgen report` and `matgen serve`, and the report that ends other commands."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from matgen.cli.common import to_stderr, user_errors_as_one_line
from matgen.structures.run_folder import PAGE

WithReport = Annotated[
    bool, typer.Option("--report/--no-report", help=f"Write {PAGE}, a page of the results, into the folder.")
]


def report(
    folder: Annotated[
        Path, typer.Argument(help="Of `matgen design`, `screen`, `evaluate` or `verify`; finished or not.")
    ],
    out: Annotated[Path | None, typer.Option(help=f"File to write. Default: {PAGE} in the folder.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Make the page of a run again: candidates with all that is known of them, in one file that needs no network."""
    with user_errors_as_one_line():
        from matgen.report.write import write_report

        path = write_report(folder, out)
        typer.echo(str(path))
        if show and not webbrowser.open(path.resolve().as_uri()):
            to_stderr(f"no browser could be started; open {path} in one")


def serve(
    folder: Annotated[Path, typer.Argument(help="Of runs, or of one run.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen at. With another one, everybody who reaches it can read the runs.")
    ] = "127.0.0.1",
) -> None:
    """Show a folder of runs in the browser as they grow; Ctrl-C ends it. It reads only, and needs no network."""
    with user_errors_as_one_line():
        from matgen.report.server import server

        with server(folder, host, port) as running:
            where = f"[{host}]" if ":" in host else host
            to_stderr(f"{folder} is shown at http://{where}:{running.server_port}/ until Ctrl-C")
            try:
                running.serve_forever()
            except KeyboardInterrupt:
                to_stderr("ended")


def reported(folder: Path, *, wanted: bool) -> None:
    """Write the page of a run that has ended, and say where it is; a page that fails does not fail the run."""
    if not wanted or not folder.is_dir():
        return
    from matgen.report.write import write_report
    from matgen.runtime.failures import guarded

    path, reason = guarded(lambda one: (write_report(one), ""), folder, lambda _, why: (None, why))
    if reason:
        to_stderr(f"no report was made: {reason}; `matgen report {folder}` tries again")
    else:
        to_stderr(f"the report is {path}")


def with_page(record: dict[str, object], folder: Path, *, wanted: bool) -> dict[str, object]:
    """Return a record of --json with the path of the page that the command will write, if it writes one."""
    return record | {"report": str(folder / PAGE)} if wanted else record
