"""The command line: parse, call a workflow, print."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen import __version__

INTERRUPTED = 130
NOTHING_FOUND = 1
BAD_INPUT = 2

# typer brings its own click or uses the one beside it; either way this is the class of all complaints about usage.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Inverse design of crystals: say what you want, get candidate structures with reasons.",
)
data_app = typer.Typer(no_args_is_help=True, help="Training data: what there is, and tables made ready for training.")
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the program; whatever is wrong with the command is one line on standard error."""
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        if message := error.format_message():  # type: ignore[attr-defined]  # empty after help was shown
            _complain(message)
        code = BAD_INPUT
    except typer.Abort:
        code = INTERRUPTED
    sys.exit(code)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Inverse design of crystals: say what you want, get candidate structures with reasons."""


@app.command()
def design(
    bandgap: Annotated[
        str | None, typer.Option("--bandgap", help="PBE band gap in eV: 1.5, 1.2:1.8, '>3'. Measured gaps are larger.")
    ] = None,
    wishes: Annotated[
        list[str] | None,
        typer.Option("--property", help="NAME=VALUE, written as for --bandgap; may be given several times."),
    ] = None,
    elements: Annotated[str | None, typer.Option(help="Only these may occur: Ga,N.")] = None,
    include: Annotated[str | None, typer.Option(help="These must occur.")] = None,
    exclude: Annotated[str | None, typer.Option(help="These must not occur.")] = None,
    formula: Annotated[str | None, typer.Option(help="Keep this composition: SrTiO3.")] = None,
    spacegroup: Annotated[str | None, typer.Option(help="Number of the space group, or several: 225,227.")] = None,
    max_atoms: Annotated[int | None, typer.Option(help="Most atoms in the primitive cell, up to 20.")] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", help="How many candidates. Default: 10.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all random numbers. Default: 0.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write, or to resume. Default: designs/....")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew in a folder that holds another run.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="Where models run: cpu, cuda, or cuda:1. Default: cpu.")] = None,
    relax: Annotated[str | None, typer.Option(help="none or chgnet. Default: chgnet.")] = None,
    potential: Annotated[
        str | None,
        typer.Option(
            help="none or chgnet: rank by its energy per atom over 0.1 eV, too. Needs --formula; takes some 60 ms for "
            "each of 60 geometries per candidate and round. Default: none."
        ),
    ] = None,
    potential_weight: Annotated[float | None, typer.Option(help="Weight of that term. Default: 1.")] = None,
    no_moves: Annotated[bool, typer.Option("--no-moves", help="Leave out Metropolis moves on templates.")] = False,
    no_diffusion: Annotated[bool, typer.Option("--no-diffusion", help="Leave out diffusion of the geometry.")] = False,
    no_mala: Annotated[bool, typer.Option("--no-mala", help="Leave out Langevin refinement.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per candidate on standard output.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file with all of this; options win over it.")] = None,
) -> None:
    """Propose crystals that fulfil wishes, relax and check them, and write them as CIF."""
    given = {
        "elements": _split(elements),
        "include": _split(include),
        "exclude": _split(exclude),
        "formula": formula,
        "space_groups": _numbers("--spacegroup", spacegroup),
        "max_atoms": max_atoms,
        "n": n,
        "seed": seed,
        "device": device,
        "relax": relax,
        "potential": potential,
        "potential_weight": potential_weight,
    }
    off = {"moves": no_moves, "diffusion": no_diffusion, "mala": no_mala}
    asked = _wishes(bandgap, wishes or [])
    with _teaching():
        from matgen.config import ConfigError, from_mapping, read_toml
        from matgen.request import Request
        from matgen.workflows.design import default_folder

        raw = read_toml(config) if config else {}
        told = {name: value for name, value in given.items() if value is not None}
        tables = {
            "properties": _joined(raw.get("properties", {}), asked),
            "stages": _joined(raw.get("stages", {}), {name: False for name, is_off in off.items() if is_off}),
        }
        try:
            request = from_mapping(Request, raw | told | tables)
        except ConfigError as error:
            raise ConfigError(f"{config}: {error}" if config else str(error)) from error
        _design(request, out or default_folder(request), overwrite=overwrite, as_json=as_json)


def _design(request: Any, folder: Path, *, overwrite: bool, as_json: bool) -> None:
    """Run a request and show what comes of it."""
    from matgen.record import to_record
    from matgen.terminal import StageView, candidate_table, console, energy_table
    from matgen.workflows.design import run

    screen = console(stderr=True)
    names: list[str] = []
    with StageView(screen) as view:

        def found(candidate: Any) -> None:
            names.append(candidate.name)
            if as_json:
                typer.echo(json.dumps(to_record(candidate)))
            else:
                view.found(candidate, request.wishes)

        try:
            outcome = run(request, folder, report=view, found=found, overwrite=overwrite)
        except KeyboardInterrupt:
            interrupted = f"interrupted: {len(names)} of {request.n} candidates are in {folder}"
        else:
            interrupted = ""
    if interrupted:
        _complain(f"{interrupted}; to go on, run {_same_command(folder)}")
        raise typer.Exit(INTERRUPTED)
    if not as_json and outcome.candidates:
        for table in (energy_table(outcome.candidates), candidate_table(outcome.candidates, request.wishes)):
            console().print(table)
    _complain(f"{outcome.reason}, in {outcome.seconds:.0f} s; everything is in {outcome.folder}")
    raise typer.Exit(0 if outcome.candidates else NOTHING_FOUND)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="TOML file, or the name of a shipped one such as template_prior.")],
    data: Annotated[Path | None, typer.Option(help="Prepared table, instead of the one the file names.")] = None,
    folder: Annotated[Path | None, typer.Option(help="For checkpoint and log, likewise.")] = None,
    weights: Annotated[Path | None, typer.Option(help="For the weights, likewise.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Weights to begin from, such as matgen/weights/graph_energy.safetensors.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the schedule, likewise.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, or cuda:1, likewise. Default: cpu.")] = None,
) -> None:
    """Train a model, or go on from the last checkpoint in its folder."""
    with _teaching():
        from matgen.terminal import StageView, console, rows_table
        from matgen.training.run import train as run_training
        from matgen.workflows.train import planned

        plan = planned(config, data=data, folder=folder, weights=weights, init=init, minutes=minutes, device=device)
        screen = console(stderr=True)
        with StageView(screen) as view:

            def heard(line: Mapping[str, Any]) -> None:
                if "loss" in line:
                    passed = max(line["step"] / plan.schedule.steps, line["minutes"] / plan.schedule.minutes)
                    view(f"train {plan.kind}", round(100 * passed), 100, step=line["step"], loss=line["loss"])
                elif "step" in line:
                    screen.print(f"  {_short(line)}", highlight=False)

            try:
                trained = run_training(plan, heard)
            except KeyboardInterrupt:
                trained = None
        if trained is None:
            _complain(f"interrupted: the last checkpoint is in {plan.run_folder}; run the same command to go on")
            raise typer.Exit(INTERRUPTED)
        console().print(rows_table(f"{trained.path}, on the validation split", trained.figures))


@data_app.command("prepare")
def data_prepare(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of training tables.", envvar="MATGEN_DATA", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Table to write.")] = Path("cache/crystals.npz"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Find the symmetry of every crystal, and cache templates and geometries as tensors."""
    with _teaching():
        from rich.progress import track

        from matgen.terminal import console, rows_table
        from matgen.workflows.data import prepare_table

        screen = console(stderr=True)

        def shown(rows: Any) -> Any:
            return track(rows, description="describe", console=screen, total=None)

        found = prepare_table(folder, out, jobs=jobs, progress=shown)
        console().print(rows_table(f"{found.path}: {found.rows} crystals; left out:", dict(found.failures)))


@data_app.command("info")
def data_info(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of training tables, or a prepared table.", envvar="MATGEN_DATA", show_default=False
        ),
    ] = None,
) -> None:
    """Say what training data there are."""
    with _teaching():
        from matgen.terminal import console, rows_table
        from matgen.workflows.data import files, table_facts

        if path is not None and path.suffix == ".npz":
            console().print(rows_table(str(path), vars(table_facts(path))))
            return
        for fact in files(path):
            facts = {"rows": fact.rows, "MB": f"{fact.megabytes:.1f}", "columns": ", ".join(fact.columns)}
            console().print(rows_table(str(fact.path), facts))


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per model on standard output.")] = False,
) -> None:
    """Say which models ship, what they were trained on, and how good they are."""
    with _teaching():
        from matgen.models import registry
        from matgen.terminal import console, model_table

        found = registry()
        if as_json:
            for told in found:
                typer.echo(json.dumps(vars(told)))
        elif found:
            console().print(model_table(found))
        else:
            _complain("no weights ship with this installation; make them with `matgen train`")


@contextmanager
def _teaching() -> Iterator[None]:
    """Turn what the person who typed can put right into one line and exit code 2."""
    try:
        yield
    except _user_errors() as error:
        _complain(" ".join(str(error).split()))
        raise typer.Exit(BAD_INPUT) from error


def _user_errors() -> tuple[type[Exception], ...]:
    """Errors that say what was expected, what came, and what to do."""
    from matgen.config import ConfigError
    from matgen.devices import DeviceError
    from matgen.elements import UnknownElementError
    from matgen.energies.property import WishError
    from matgen.export import OutputError, ResumeError
    from matgen.models import WeightsError
    from matgen.request import RequestError
    from matgen.templates.legal import ContradictionError
    from matgen.terms import TermError
    from matgen.training.loop import CheckpointError, DivergedError
    from matgen.training.run import DataError

    return (
        CheckpointError,
        ConfigError,
        ContradictionError,
        DataError,
        DeviceError,
        DivergedError,
        OutputError,
        RequestError,
        ResumeError,
        TermError,
        UnknownElementError,
        WeightsError,
        WishError,
    )


def _complain(message: str) -> None:
    typer.echo(f"matgen: {message}", err=True)


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def _numbers(option: str, text: str | None) -> list[int] | None:
    parts = _split(text)
    if parts is not None and not all(re.fullmatch(r"\d{1,4}", part) for part in parts):
        raise typer.BadParameter(f"expected {option} as a number from 1 to 230, such as 225 or 225,227, got {text!r}")
    return None if parts is None else [int(part) for part in parts]


def _wishes(bandgap: str | None, wishes: list[str]) -> dict[str, str]:
    """Wishes by property name, as typed: NAME=VALUE, or NAME>VALUE where that is plain."""
    found = {} if bandgap is None else {"band_gap": bandgap}
    for wish in wishes:
        match = re.fullmatch(r"\s*([A-Za-z][\w -]*?)\s*(?:=|(?=[<>]))(.+)", wish)
        if match is None:
            raise typer.BadParameter(f"expected --property NAME=VALUE, such as energy_above_hull='<0.05', got {wish!r}")
        if match[1] in found:
            raise typer.BadParameter(f"expected one wish for each property, got two for {match[1]}; use low:high")
        found[match[1]] = match[2]
    return found


def _joined(table: Any, more: dict[str, Any]) -> Any:
    """A table of the configuration with options put over it; what is no table is left for the reader to refuse."""
    return table | more if isinstance(table, dict) else table


def _same_command(folder: Path) -> str:
    """What was typed, with the folder named; without --overwrite, which would throw away what is to be gone on with."""
    typed = ["matgen", *(word for word in sys.argv[1:] if word != "--overwrite")]
    named = any(word == "--out" or word.startswith("--out=") for word in typed)
    return shlex.join(typed if named else [*typed, "--out", str(folder)])


def _short(line: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in line.items()
    )


if __name__ == "__main__":
    main()
