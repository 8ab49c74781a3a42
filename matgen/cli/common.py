"""What all commands share: exit codes, messages, and the parsing of options."""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from matgen.errors import UserError

INTERRUPTED = 130
NOTHING_FOUND = 1
BAD_INPUT = 2
OUT_OF_MACHINE = 3

CUT_SHORT = "interrupted; run the same command to resume"
NO_MEMORY = "out of memory; take fewer --jobs or --processes, or smaller inputs, and call it again to resume"

_told: list[str] = []

BandGap = Annotated[
    str | None, typer.Option("--bandgap", help="PBE band gap in eV: 1.5, 1.2:1.8, '>3'. Measured gaps are larger.")
]
Gap = Annotated[
    str | None, typer.Option("--gap", help="HOMO–LUMO gap of a molecule in eV (B3LYP), written as for --bandgap.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--property", help="NAME=VALUE, written as for --bandgap; may be given several times."),
]
WithFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--with",
        help="Property file, as `matgen train property` writes it, or shipped; may be given several times.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Folder whose weights replace shipped ones: `matgen learn` makes one."),
]


@contextmanager
def user_errors_as_one_line() -> Iterator[None]:
    """Turn errors that the user can correct into one line on standard error and exit code 2, interrupts into 130."""
    try:
        yield
    except KeyboardInterrupt as interrupt:  # where a command has no more to say about it
        to_stderr(CUT_SHORT)
        raise typer.Exit(INTERRUPTED) from interrupt
    except UserError as error:
        to_stderr(" ".join(str(error).split()))
        raise typer.Exit(BAD_INPUT) from error


def to_stderr(message: str) -> None:
    """Print a message on standard error."""
    _told.append(message)
    typer.echo(f"matgen: {message}", err=True)


def told(beginning: str) -> bool:
    """Return whether a message that begins so was the last one."""
    return bool(_told) and _told[-1].startswith(beginning)


def split(text: str | None) -> list[str] | None:
    """Return the parts between commas."""
    return None if text is None else [part.strip() for part in text.split(",")]


def numbers(option: str, text: str | None) -> list[int] | None:
    """Return the numbers between commas."""
    parts = split(text)
    if parts is not None and not all(re.fullmatch(r"\d{1,4}", part) for part in parts):
        raise typer.BadParameter(f"expected {option} as a number from 1 to 230, such as 225 or 225,227, got {text!r}")
    return None if parts is None else [int(part) for part in parts]


def same_command(folder: Path) -> str:
    """Return the command as typed, with the folder named, and without --overwrite, so that it resumes the run."""
    typed = ["matgen", *(word for word in sys.argv[1:] if word != "--overwrite")]
    named = any(word == "--out" or word.startswith("--out=") for word in typed)
    return shlex.join(typed if named else [*typed, "--out", str(folder)])


def requested(bandgap: str | None, targets: list[str], **more: str | None) -> dict[str, str]:
    """Return targets by property name, as typed: NAME=VALUE, or NAME>VALUE where that is unambiguous."""
    named = {"band_gap": bandgap, **more}
    found = {name: text for name, text in named.items() if text is not None}
    for target in targets:
        match = re.fullmatch(r"\s*([A-Za-z][\w -]*?)\s*(?:=|(?=[<>]))(.+)", target)
        if match is None:
            raise typer.BadParameter(
                f"expected --property NAME=VALUE, such as energy_above_hull='<0.05', got {target!r}"
            )
        if match[1] in found:
            raise typer.BadParameter(f"expected one target for each property, got two for {match[1]}; use low:high")
        found[match[1]] = match[2]
    return found
