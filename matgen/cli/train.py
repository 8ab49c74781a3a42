"""`matgen train`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from matgen.cli.common import BAD_INPUT, INTERRUPTED, to_stderr, user_errors_as_one_line
from matgen.cli.completions import training_configs
from matgen.errors import UserError

if TYPE_CHECKING:
    from matgen.training.config import TrainConfig
    from matgen.training.parallel import Processes


class TrainCommands(TyperGroup):
    """`matgen train property ...`, and `matgen train MODEL ...`, for which `model` need not be said."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `model` before anything that is no command."""
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["model", *args])


def train(
    config: Annotated[
        str,
        typer.Argument(
            help="TOML file, or the name of a shipped one such as template_prior.", autocompletion=training_configs
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Prepared table: file or folder of shards, instead of that in the file.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder for checkpoint and log, likewise.")] = None,
    weights: Annotated[Path | None, typer.Option(help="File for the weights, likewise.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Initial weights, such as matgen/weights/graph_energy.safetensors.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the schedule, instead of that in the file.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, or cuda:1, likewise. Default: cpu. Several processes: one GPU each.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch; on several machines use torchrun.")
    ] = 1,
) -> None:
    """Train a model, or resume from the last checkpoint in its folder; `matgen train property` fits your own column."""
    with user_errors_as_one_line():
        from matgen.workflows.train_processes import in_processes, is_one_of_several, this_command

        if processes > 1 and not is_one_of_several(processes):
            try:
                code = in_processes(this_command(), processes)
            except KeyboardInterrupt:
                code = INTERRUPTED
            raise typer.Exit(code)

        from matgen.training.parallel import joined
        from matgen.workflows.train import planned

        with joined() as together, reported_once(together):
            plan = planned(config, data=data, folder=folder, weights=weights, init=init, minutes=minutes, device=device)
            if together.is_first and plan.folder is None and plan.run_folder.name != plan.kind:
                to_stderr(f"{plan.run_folder} is a folder of version 0.1, which is still read: its training goes on")
            _run(plan, together)


@contextmanager
def reported_once(processes: "Processes") -> Iterator[None]:
    """Let one process report an error, and end the others without a word."""
    try:
        yield
    except UserError as error:
        if not processes.is_to_report(error):
            raise typer.Exit(BAD_INPUT) from error
        raise


def _run(plan: "TrainConfig", processes: "Processes") -> None:
    """Train, and print the figures."""
    from matgen.cli.tables import rows_table
    from matgen.cli.terminal import StageView, console
    from matgen.training.run import train as run_training

    screen = console(stderr=True)
    if not processes.is_first:
        run_training(plan, processes=processes)
        return
    with StageView(screen) as view:

        def show(line: Mapping[str, Any]) -> None:
            if "loss" in line:
                passed = max(line["step"] / plan.schedule.steps, line["minutes"] / plan.schedule.minutes)
                view(f"train {plan.kind}", round(100 * passed), 100, step=line["step"], loss=line["loss"])
            elif "step" in line:
                screen.print(f"  {_short(line)}", highlight=False)

        try:
            trained = run_training(plan, show, processes)
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
