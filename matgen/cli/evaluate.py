"""`matgen evaluate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen.cli.common import INTERRUPTED, CalculatorName, same_command, to_stderr, user_errors_as_one_line
from matgen.cli.completions import relaxers
from matgen.cli.report import WithReport, reported, with_page


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Crystals (CIF, POSCAR, extxyz) or molecules (SDF, XYZ, SMILES), also in JSON, CSV, folders, zips."
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            help="What to compare with: mp20, mp20_val, perov5, carbon24; qm9, qm9_val; or a path. Default: mp20, qm9."
        ),
    ] = None,
    csp: Annotated[
        Path | None, typer.Option(help="The true crystals, paired by name or by order: adds match rate and METRe.")
    ] = None,
    relax: Annotated[
        str | None,
        typer.Option(
            help="none, potential (crystals, by --calculator: needed for stability, S.U.N.) or xtb (molecules). "
            "Default: by kind.",
            autocompletion=relaxers,
        ),
    ] = None,
    calculator: CalculatorName = None,
    jobs: Annotated[int, typer.Option(help="Processes that relax.")] = 1,
    device: Annotated[
        str | None, typer.Option(help="Where CHGNet relaxes: cpu, cuda, or cuda:1. Default: cpu.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for figures, rows and relaxations, to resume. Default: evaluations/....")
    ] = None,
    requested: Annotated[
        int | None,
        typer.Option(min=1, help="Number requested from the generator: the denominator. Default: the entries found."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Resampled sets for each 95 % interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    data: Annotated[
        Path | None, typer.Option(envvar="MATGEN_DATA", help="Folder of the training tables, for named data sets.")
    ] = None,
    report: WithReport = True,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as one JSON object on standard output.")] = False,
) -> None:
    """Evaluate a set of crystals or molecules: validity, novelty, stability, distances, matches."""
    with user_errors_as_one_line():
        from matgen.cli.tables import estimate_table, shares_table
        from matgen.cli.terminal import StageView, console
        from matgen.evaluation.findings import EvaluationConfig
        from matgen.metrics.shares import training_shares
        from matgen.runtime.config import from_mapping
        from matgen.workflows.evaluate import default_folder, to_document
        from matgen.workflows.evaluate import evaluate as run

        named = {"reference": reference, "relax": relax, "csp": csp and str(csp), "device": device}
        named |= {"calculator": calculator}
        given: dict[str, Any] = {"jobs": jobs, "requested": requested or 0, "bootstrap": bootstrap, "seed": seed}
        given |= {name: value for name, value in named.items() if value is not None}
        config = from_mapping(EvaluationConfig, given)
        folder = out or default_folder(config, paths)
        with StageView(console(stderr=True)) as view:
            try:
                found = run(paths, config, data=data, folder=folder, report=view)
            except KeyboardInterrupt:
                found = None
        if found is None:
            to_stderr(f"interrupted: relaxations are in {folder}; to resume, run {same_command(folder)}")
            reported(folder, wanted=report)
            raise typer.Exit(INTERRUPTED)
        if as_json:
            typer.echo(json.dumps(with_page(to_document(found), folder, wanted=report), ensure_ascii=False))
        else:
            console().print(estimate_table(found.estimates, f"{found.about['requested']} requested"))
            if found.shares is not None:
                console().print(shares_table(found.shares, training_shares()))
        for note in found.notes:
            to_stderr(note)
        to_stderr(f"everything is in {folder}")
        reported(folder, wanted=report)
