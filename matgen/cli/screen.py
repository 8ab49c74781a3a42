"""`matgen screen`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen.cli.bare_options import ORDERINGS
from matgen.cli.common import (
    INTERRUPTED,
    NOTHING_FOUND,
    BandGap,
    CalculatorName,
    Elasticity,
    Gap,
    Phonons,
    SecondName,
    Targets,
    Weights,
    WithFiles,
    requested,
    same_command,
    to_stderr,
    user_errors_as_one_line,
)
from matgen.cli.completions import devices, executors, kinds, relaxers
from matgen.cli.report import WithReport, reported, with_page


def screen(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Files, folders and zips: CIF, POSCAR, extxyz, JSON, CSV; of molecules SDF, SMILES, XYZ; "
            "docs/screen.md lists all.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            help="crystal or molecule; others get a row with a reason. Default: by the files.", autocompletion=kinds
        ),
    ] = None,
    bandgap: BandGap = None,
    gap: Gap = None,
    targets: Targets = None,
    with_files: WithFiles = None,
    relax: Annotated[
        str | None,
        typer.Option(
            help="none, potential (crystals, by --calculator: seconds for each) or xtb (molecules). Default: none, as "
            "given.",
            autocompletion=relaxers,
        ),
    ] = None,
    calculator: CalculatorName = None,
    second_opinion: SecondName = None,
    phonons: Phonons = False,
    elasticity: Elasticity = False,
    pressure: Annotated[
        float | None,
        typer.Option(help="GPa at which --relax potential relaxes crystals; there is no hull then. Default: 0."),
    ] = None,
    max_ehull: Annotated[
        float | None,
        typer.Option(help="Greatest energy above the hull of a crystal that passes, eV/atom. Default: 0.1."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="File of the hull's phases; none for no energies of a potential, or of GFN2-xTB for molecules. "
            "Default: the shipped one of the potential."
        ),
    ] = None,
    known: Annotated[
        str | None, typer.Option(help="File of known structures, or none. Default: the shipped one.")
    ] = None,
    order: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Screen the smallest ordered supercells of partially occupied crystals, this many of each. "
            f"Default: none; without a number {ORDERINGS}.",
        ),
    ] = None,
    weights: Weights = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where networks and CHGNet run: cpu, cuda, or cuda:1. Default: cpu.", autocompletion=devices),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one per core, at most 4 on a GPU.")
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            help="Parsl: a Python file that defines `config`, or local.", show_default=False, autocompletion=executors
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Folder to write, or to resume. Default: screens/....")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew in a folder of another run.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Rows of the ranking to show.")] = 20,
    report: WithReport = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per structure on standard output.")] = False,
) -> None:
    """Screen crystals or molecules: valid, stable, novel, unique, on target? A row for each, and a ranking.

    Space groups are found within 0.1 Å and 5°; if it is another one within 0.01 Å, a remark says so.
    """
    given: dict[str, Any] = {
        "relax": relax,
        "max_ehull": max_ehull,
        "reference": reference,
        "known": known,
        "device": device,
        "order": order,
        "calculator": calculator,
        "second_opinion": second_opinion,
        "phonons": phonons or None,
        "elasticity": elasticity or None,
    }
    given["weights"] = None if weights is None else str(weights)
    given["relaxation"] = None if pressure is None else {"pressure": pressure}
    files = None if with_files is None else [str(file) for file in with_files]
    properties = requested(bandgap, targets or [], gap=gap)
    with user_errors_as_one_line():
        from matgen.phonons.asked import time_text
        from matgen.runtime.processes import usable_cores
        from matgen.screening.config import config_of
        from matgen.workflows.screen import default_folder, kind_of_files

        options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        options |= {"properties": properties, "kind": kind or kind_of_files(paths)}
        options |= {} if files is None else {"with_files": files}
        config = config_of(options)
        folder = out or default_folder(config, paths)
        if took := time_text(config.lattice_checks, config.calculator):
            to_stderr(took)
        usual = usable_cores() if config.device == "cpu" else min(4, usable_cores())
        running = {"jobs": jobs or usual, "executor": executor, "overwrite": overwrite}
        _screen(paths, config, folder, running, top=top, as_json=as_json, report=report)


def _screen(
    paths: list[Path], config: Any, folder: Path, running: dict[str, Any], *, top: int, as_json: bool, report: bool
) -> None:
    """Run a screening and show its results."""
    from matgen.cli.candidate_tables import ranking_table
    from matgen.cli.tables import summary_table
    from matgen.cli.terminal import StageView, console
    from matgen.screening.files import ROWS
    from matgen.screening.row import row_record
    from matgen.structures.passed_over import in_words
    from matgen.workflows.screen import run

    def known(row: Any) -> None:
        if as_json:
            typer.echo(json.dumps(with_page(row_record(row), folder, wanted=report)))

    with StageView(console(stderr=True)) as view:
        try:
            done = run(paths, config, folder, report=view, known=known, **running)
        except KeyboardInterrupt:
            done = None
    if done is None:
        to_stderr(f"interrupted: finished rows are in {folder / ROWS}; to resume, run {same_command(folder)}")
        reported(folder, wanted=report)
        raise typer.Exit(INTERRUPTED)
    if not as_json:
        for table in (ranking_table(done.rows, config.targets, top), summary_table(done.summary)):
            console().print(table)
    if passed_over := done.summary["passed_over"]:
        to_stderr(f"passed over, no structure by name or content: {in_words(passed_over)}")
        if as_json:
            typer.echo(json.dumps({"passed_over": passed_over}))
    readable = done.summary["structures"] - done.summary["broken"]
    to_stderr(
        f"{done.summary['passed']} of {done.summary['structures']} structures pass; {done.new} screened now, "
        f"in {done.seconds:.0f} s; everything is in {done.folder}"
    )
    reported(done.folder, wanted=report)
    raise typer.Exit(0 if readable else NOTHING_FOUND)
