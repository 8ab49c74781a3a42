"""The command line: parse, call a workflow, print. One module for each command."""

import os
import sys
from itertools import pairwise
from typing import Annotated

import typer

from matgen import __version__
from matgen.cli import data, energy, reference
from matgen.cli.bare_options import BareOptionsCommand
from matgen.cli.common import (
    BAD_INPUT,
    CUT_SHORT,
    INTERRUPTED,
    NO_MEMORY,
    NOTHING_FOUND,
    OUT_OF_MACHINE,
    flush,
    forget_output,
    to_stderr,
    told,
)
from matgen.cli.design import design
from matgen.cli.doctor import doctor
from matgen.cli.evaluate import evaluate
from matgen.cli.evidence import evidence
from matgen.cli.export import export
from matgen.cli.learn import learn
from matgen.cli.models import models
from matgen.cli.option_groups import GroupedCommand
from matgen.cli.potentials import potentials
from matgen.cli.properties import properties
from matgen.cli.property import train_property
from matgen.cli.report import report, serve
from matgen.cli.screen import screen
from matgen.cli.train import TrainCommands, train
from matgen.cli.verify import verify
from matgen.runtime.command_line import of_command
from matgen.runtime.failures import of_a_path, of_the_machine
from matgen.runtime.interrupts import signals_as_interrupts
from matgen.runtime.memory import out_of_memory
from matgen.runtime.plain_text import write_plainly
from matgen.runtime.silence import silence_packages
from matgen.runtime.workers import THREADS

# typer vendors click or uses the installed one; in both cases this is the base class of usage errors.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

PROGRAM = "matgen"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Inverse design of crystals and molecules: property targets in, candidate structures with verdicts out.",
)
app.command(cls=GroupedCommand)(design)
app.command()(doctor)
app.command()(evaluate)
app.command()(evidence)
app.command()(export)
app.command()(learn)
app.command(cls=BareOptionsCommand)(screen)
training = typer.Typer(cls=TrainCommands, help="Train a model, or a property of your own.")
training.command("model")(train)
training.command("property")(train_property)
app.add_typer(training, name="train")
app.add_typer(energy.app, name="energy")
app.add_typer(data.app, name="data")
app.command()(models)
app.command()(potentials)
app.command()(properties)
app.add_typer(reference.app, name="reference")
app.command()(verify)
app.command()(report)
app.command()(serve)


def _exit_code() -> int:
    """Run the command of the command line; say in a line why it ends, if it fails."""
    try:
        _check_words(sys.argv[1:])
        with of_command(PROGRAM, sys.argv[1:]):
            code = app(prog_name=PROGRAM, standalone_mode=False)
        flush()
    except UsageError as error:
        if message := error.format_message():  # type: ignore[attr-defined]  # empty after help was shown
            to_stderr(message)
        code = BAD_INPUT
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:  # such as that of `| head`
        code = NOTHING_FOUND
        forget_output()
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        code = _code_of_machine(error)
    return code


def _code_of_machine(error: Exception) -> int:
    """Say in a line what the machine or a path lacks; raise what is neither."""
    if isinstance(error, OSError) and of_a_path(error):
        to_stderr(f"cannot use the path {str(error.filename)[:80]}: {error.strerror}; name another")
        return BAD_INPUT
    if out_of_memory(error):
        to_stderr(NO_MEMORY)
        return OUT_OF_MACHINE
    if not of_the_machine(error):
        raise error
    where = getattr(error, "filename", None)
    to_stderr(f"cannot go on: {getattr(error, 'strerror', None) or error}{f': {where}' if where else ''}")
    forget_output()
    return OUT_OF_MACHINE


def main() -> None:
    """Run the program; an error in the command, of the machine or of whoever reads the output is one line at most."""
    if sys.argv[1:2] != ["train"]:  # which takes all cores
        for name in THREADS:  # before packages are imported that read them
            os.environ.setdefault(name, os.environ.get("OMP_NUM_THREADS", "1"))
    write_plainly()
    silence_packages()
    with signals_as_interrupts() as signals:
        code = _exit_code()
    if signals and code == INTERRUPTED:  # by typer before and after what commands guard
        if not told("interrupted"):
            to_stderr(CUT_SHORT)
        code = 128 + signals[0]
    sys.exit(code)


def _check_words(words: list[str]) -> None:
    """Check that no word of the command is empty, which most options would take for their default.

    Raises:
        UsageError: one is.
    """
    for before, word in pairwise(["", *words]):
        name = word.partition("=")[0] if word.startswith("--") and not word.partition("=")[2].strip() else before
        if not word.strip() or (word.startswith("--") and "=" in word and not word.partition("=")[2].strip()):
            what = name if name.startswith("-") else "each argument"
            raise typer.BadParameter(f"expected {what} with a value, got an empty text; leave it out")


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
