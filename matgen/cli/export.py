"""`matgen export`."""

from pathlib import Path
from typing import Annotated

import typer

from matgen.cli.common import to_stderr, user_errors_as_one_line


def export(
    folder: Annotated[Path, typer.Argument(help="Folder of `matgen design` or `matgen screen`.", show_default=False)],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="ase-db, optimade, entries (pymatgen), extxyz, poscar, cif; of molecules ase-db, extxyz, sdf, smi.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File, or folder of poscar and cif. Default: the name of the run, in the current folder."),
    ] = None,
    passed: Annotated[
        bool, typer.Option("--passed", help="Only structures of a screening that pass every check.")
    ] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Only the first ones; the best come first.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a run for other programs: structures with predictions, verdicts and where they come from."""
    with user_errors_as_one_line():
        from matgen.workflows.export import run

        done = run(folder, form, out, passed=passed, top=top, overwrite=overwrite)
    left_out = {
        "have no structure": done.without_structure,
        "do not pass": done.not_passing,
        "have no energy by a potential": done.without_energy,
    }
    more = "".join(f"; {n} {why}" for why, n in left_out.items() if n)
    to_stderr(f"{done.written} structures are in {done.path}{more}")
