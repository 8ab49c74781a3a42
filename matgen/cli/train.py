"""`matgen train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen.cli.common import INTERRUPTED, to_stderr, user_errors_as_one_line


def train(
    config: Annotated[str, typer.Argument(help="TOML file, or the name of a shipped one such as template_prior.")],
    data: Annotated[Path | None, typer.Option(help="Prepared table, instead of that in the file.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder for checkpoint and log, likewise.")] = None,
    weights: Annotated[Path | None, typer.Option(help="File for the weights, likewise.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Initial weights, such as matgen/weights/graph_energy.safetensors.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the schedule, instead of that in the file.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, or cuda:1, likewise. Default: cpu.")] = None,
) -> None:
    """Train a model, or resume from the last checkpoint in its folder."""
    with user_errors_as_one_line():
        from matgen.cli.tables import rows_table
        from matgen.cli.terminal import StageView, console
        from matgen.training.run import train as run_training
        from matgen.workflows.train import planned

        plan = planned(config, data=data, folder=folder, weights=weights, init=init, minutes=minutes, device=device)
        if plan.folder is None and plan.run_folder.name != plan.kind:
            to_stderr(f"{plan.run_folder} is a folder of version 0.1, which is still read: its training goes on")
        screen = console(stderr=True)
        with StageView(screen) as view:

            def show(line: Mapping[str, Any]) -> None:
                if "loss" in line:
                    passed = max(line["step"] / plan.schedule.steps, line["minutes"] / plan.schedule.minutes)
                    view(f"train {plan.kind}", round(100 * passed), 100, step=line["step"], loss=line["loss"])
                elif "step" in line:
                    screen.print(f"  {_short(line)}", highlight=False)

            try:
                trained = run_training(plan, show)
            except KeyboardInterrupt:
                trained = None
        if trained is None:
            to_stderr(f"interrupted: the last checkpoint is in {plan.run_folder}; run the same command to resume")
            raise typer.Exit(INTERRUPTED)
        console().print(rows_table(f"{trained.path}, on the validation split", trained.figures))


def _short(line: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in line.items()
    )
