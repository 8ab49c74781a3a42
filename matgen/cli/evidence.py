"""`matgen evidence`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen.cli.common import INTERRUPTED, Weights, to_stderr, user_errors_as_one_line


def evidence(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Crystals of one formula: CIF, POSCAR, extxyz, JSON, folders, zips.", show_default=False),
    ],
    formula: Annotated[str, typer.Option(help="Of all crystals, in any number of formula units: TiO2.")],
    chains: Annotated[int | None, typer.Option(help="Of each template and direction. Default: 32.")] = None,
    levels: Annotated[int | None, typer.Option(help="Of the annealing. Default: 60.")] = None,
    steps: Annotated[int | None, typer.Option(help="Langevin steps at each level. Default: 2.")] = None,
    sigma: Annotated[float | None, typer.Option(help="Noise level of the graph energy, Å. Default: 0.05.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all random numbers. Default: 0.")] = None,
    pressure: Annotated[
        float | None, typer.Option(help="GPa; p V per atom over 0.1 eV is added, as in design. Default: 0.")
    ] = None,
    weights: Weights = None,
    device: Annotated[str | None, typer.Option(help="Where models run: cpu, cuda, or cuda:1. Default: cpu.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per crystal on standard output.")] = False,
) -> None:
    """Compare crystals of one formula by log Z of the energy over their geometry, by annealed importance sampling."""
    effort = {"chains": chains, "levels": levels, "steps": steps, "sigma": sigma, "seed": seed}
    given = {"pressure": pressure, "weights": None if weights is None else str(weights), "device": device}
    with user_errors_as_one_line():
        from matgen.cli.evidence_table import evidence_table
        from matgen.cli.terminal import StageView, console
        from matgen.evaluation.evidence import EvidenceConfig
        from matgen.runtime.config import from_mapping
        from matgen.workflows.evidence import records, run

        config = from_mapping(EvidenceConfig, {name: x for name, x in effort.items() if x is not None})
        options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        with StageView(console(stderr=True)) as view:
            try:
                found = run(paths, formula, config, report=view, **options)
            except KeyboardInterrupt:
                found = []
        if not found:
            to_stderr("interrupted; nothing is kept")
            raise typer.Exit(INTERRUPTED)
        if as_json:
            for record in records(found):
                typer.echo(json.dumps(record))
        else:
            console().print(evidence_table(found, formula))
        for one in found:
            if one.note:
                to_stderr(f"{one.name}: {one.note}")
        if loose := [one.name for one in found if not one.evidence.converged]:
            to_stderr(
                f"the estimates of both directions differ for {', '.join(loose)}: raise --levels, --steps or --chains"
            )
