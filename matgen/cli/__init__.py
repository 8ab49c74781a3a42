"""The command line: parse, call a workflow, print. One module for each command."""

import sys
from typing import Annotated

import typer

from matgen import __version__
from matgen.cli import data, energy, reference
from matgen.cli.common import BAD_INPUT, CUT_SHORT, INTERRUPTED, NO_MEMORY, OUT_OF_MACHINE, to_stderr, told
from matgen.cli.design import design
from matgen.cli.evaluate import evaluate
from matgen.cli.evidence import evidence
from matgen.cli.learn import learn
from matgen.cli.models import models
from matgen.cli.option_groups import GroupedCommand
from matgen.cli.properties import properties
from matgen.cli.property import train_property
from matgen.cli.screen import screen
from matgen.cli.train import TrainCommands, train
from matgen.cli.verify import verify
from matgen.runtime.interrupts import signals_as_interrupts
from matgen.runtime.memory import out_of_memory

# typer vendors click or uses the installed one; in both cases this is the base class of usage errors.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Inverse design of crystals and molecules: property targets in, candidate structures with verdicts out.",
)
app.command(cls=GroupedCommand)(design)
app.command()(evaluate)
app.command()(evidence)
app.command()(learn)
app.command()(screen)
training = typer.Typer(cls=TrainCommands, help="Train a model, or a property of your own.")
training.command("model")(train)
training.command("property")(train_property)
app.add_typer(training, name="train")
app.add_typer(energy.app, name="energy")
app.add_typer(data.app, name="data")
app.command()(models)
app.command()(properties)
app.add_typer(reference.app, name="reference")
app.command()(verify)


def main() -> None:
    """Run the program; an error in the command is one line on standard error."""
    with signals_as_interrupts() as signals:
        try:
            code = app(standalone_mode=False)
        except UsageError as error:
            if message := error.format_message():  # type: ignore[attr-defined]  # empty after help was shown
                to_stderr(message)
            code = BAD_INPUT
        except (typer.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        except (MemoryError, RuntimeError, ImportError, OSError) as error:
            if not out_of_memory(error):
                raise
            to_stderr(NO_MEMORY)
            code = OUT_OF_MACHINE
    if signals and code == INTERRUPTED:  # by typer before and after what commands guard
        if not told("interrupted"):
            to_stderr(CUT_SHORT)
        code = 128 + signals[0]
    sys.exit(code)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Inverse design of crystals and molecules: property targets in, candidate structures with verdicts out."""
