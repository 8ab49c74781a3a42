"""What all commands share: exit codes, messages, and the parsing of options."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from matgen.cli.completions import calculators, properties, property_files
from matgen.errors import UserError

INTERRUPTED = 130
NOTHING_FOUND = 1
BAD_INPUT = 2
OUT_OF_MACHINE = 3
"""Exit codes: interrupted; nothing found, or nobody reads the output; bad input; the machine has no memory or disk."""

LONGEST = 1000
"""Characters of a message; a value that it quotes may have millions."""

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
    typer.Option(
        "--property",
        help="NAME=VALUE, written as for --bandgap; may be given several times.",
        autocompletion=properties,
    ),
]
WithFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--with",
        help="Property file, as `matgen train property` writes it, or shipped; may be given several times.",
        autocompletion=property_files,
    ),
]
CalculatorName = Annotated[
    str | None,
    typer.Option(
        "--calculator",
        help="Potential of crystals: a name (`matgen potentials` lists them) or module:function; with =HULL.parquet, a "
        "hull of yours for it. Default: chgnet.",
        autocompletion=calculators,
    ),
]
SecondName = Annotated[
    str | None,
    typer.Option(
        "--second-opinion",
        help="A second potential with a hull, such as sevennet, by which a crystal must be stable, too. Default: none.",
        autocompletion=calculators,
    ),
]
Phonons = Annotated[
    bool,
    typer.Option(
        "--phonons",
        help="A crystal must have no imaginary mode by the calculator; some 10 to 60 s for each. Needs phonopy.",
    ),
]
Elasticity = Annotated[
    bool,
    typer.Option(
        "--elasticity", help="Its elastic tensor by the calculator must be positive; some 3 to 20 s for each."
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
    """Print a message on standard error, if anybody reads it."""
    _told.append(message)
    with suppress(OSError):
        typer.echo(f"matgen: {for_terminal(message)}", err=True)


def for_terminal(message: str) -> str:
    """Return a message without the control characters of a value in it, and without the middle of a very long one."""
    plain = "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in message)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2]} … {plain[-LONGEST // 2 :]}"


def flush() -> None:
    """Write what standard output still holds, so that a full disk or a closed pipe is met here and not at the exit."""
    if sys.stdout is not None:  # which it is where it was closed beforehand
        sys.stdout.flush()


def forget_output() -> None:
    """Let what standard output still holds go nowhere: it cannot be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            stream.flush()
            continue
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


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
