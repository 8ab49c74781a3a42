"""`matgen learn`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from matgen.cli.common import INTERRUPTED, to_stderr, user_errors_as_one_line


def learn(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of `matgen verify`, or tables of structures and gaps: CSV, Parquet, extxyz, JSON.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the weights: `matgen design --weights` reads it.")],
    column: Annotated[str, typer.Option(help="Column, or key, of a table that holds gaps.")] = "band_gap",
    unit: Annotated[str, typer.Option(help="Unit of that column: eV.")] = "eV",
    functional: Annotated[str, typer.Option(help="Functional of its gaps.")] = "PBE",
    allow_functional: Annotated[
        bool, typer.Option("--allow-functional", help="Learn gaps of another functional than PBE.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Prepared table whose training rows are replayed, against forgetting.")
    ] = None,
    replay: Annotated[int, typer.Option(min=1, help="Number of replayed rows.")] = 1000,
    weight: Annotated[float, typer.Option(min=0.1, help="Weight of a gap, in replayed rows.")] = 10.0,
    weights: Annotated[Path | None, typer.Option(help="Folder of initial weights. Default: the shipped ones.")] = None,
) -> None:
    """Fit the heads of the band-gap model of crystals to verified gaps, in minutes."""
    with user_errors_as_one_line():
        from matgen.cli.tables import learned_table
        from matgen.cli.terminal import StageView, console
        from matgen.learning.labels import read_labels
        from matgen.learning.rows import LabelConfig
        from matgen.learning.training_rows import LearnConfig
        from matgen.workflows.learn import run

        labels = read_labels(paths, LabelConfig(column, unit, functional, allow_functional))
        for name, reason in labels.skipped:
            to_stderr(f"skipped {name}: {reason}")
        with StageView(console(stderr=True)) as view:
            try:
                found = run(labels, out, LearnConfig(weights, data, replay, weight), report=view)
            except KeyboardInterrupt:
                found = None
    if found is None:
        to_stderr("interrupted: nothing was written")
        raise typer.Exit(INTERRUPTED)
    console().print(learned_table(found))
    if not found.trusted:
        to_stderr(f"{found.labels} gaps of {found.formulas} formulas are too few for these figures to be trusted")
    if math.isinf(found.fit.penalty):
        to_stderr(f"no other heads made held-out gaps more likely: those in {out} are unchanged, nothing was learned")
    else:
        to_stderr(f"{found.labels} gaps learned; use them by matgen design --weights {out}")
