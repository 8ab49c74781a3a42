"""`matgen evaluate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from matgen.cli.common import INTERRUPTED, complain, same_command, teaching


def evaluate(
    paths: Annotated[
        list[Path], typer.Argument(help="Structures of any generator: CIF, POSCAR, extxyz, JSON, CSV, folders, zips.")
    ],
    reference: Annotated[
        str, typer.Option(help="What to compare with: mp20, mp20_val, perov5, carbon24, or a path to structures.")
    ] = "mp20",
    csp: Annotated[
        Path | None, typer.Option(help="The true structures, paired by name or by order: adds match rate and METRe.")
    ] = None,
    relax: Annotated[
        str, typer.Option(help="none or chgnet. Without energies neither stability nor S.U.N. can be told.")
    ] = "chgnet",
    jobs: Annotated[int, typer.Option(help="Processes that relax.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder for figures, rows and relaxations, to resume. Default: evaluations/....")
    ] = None,
    requested: Annotated[
        int, typer.Option(help="How many the generator was asked for: the denominator. Default: the entries found.")
    ] = 0,
    bootstrap: Annotated[int, typer.Option(help="Resampled sets behind each 95 % interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    data: Annotated[
        Path | None, typer.Option(envvar="MATGEN_DATA", help="Folder of the training tables, for named data sets.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as one JSON object on standard output.")] = False,
) -> None:
    """Count what a set of structures is worth: validity, novelty, stability, S.U.N., coverage, distances, matches."""
    with teaching():
        from matgen.config import from_mapping
        from matgen.terminal import StageView, console, estimate_table
        from matgen.workflows.evaluate import EvaluationConfig, default_folder, to_document
        from matgen.workflows.evaluate import evaluate as run

        given = {"reference": reference, "relax": relax, "jobs": jobs, "requested": requested}
        given |= {"bootstrap": bootstrap, "seed": seed} | ({} if csp is None else {"csp": str(csp)})
        config = from_mapping(EvaluationConfig, given)
        folder = out or default_folder(config, paths)
        with StageView(console(stderr=True)) as view:
            try:
                found = run(paths, config, data=data, folder=folder, report=view)
            except KeyboardInterrupt:
                found = None
        if found is None:
            complain(f"interrupted: relaxations are in {folder}; to go on, run {same_command(folder)}")
            raise typer.Exit(INTERRUPTED)
        if as_json:
            typer.echo(json.dumps(to_document(found), ensure_ascii=False))
        else:
            console().print(estimate_table(found.estimates, f"{found.about['requested']} requested"))
        for note in found.notes:
            complain(note)
        complain(f"everything is in {folder}")
