"""`matgen reference build` and `matgen reference info`."""

from pathlib import Path
from typing import Annotated

import typer

from matgen.cli.common import INTERRUPTED, same_command, to_stderr, user_errors_as_one_line

app = typer.Typer(no_args_is_help=True, help="Known phases and their energies, which stability is measured against.")


@app.command("build")
def build(
    paths: Annotated[list[Path], typer.Argument(help="Crystals: files, folders, zips; with one of each pure element.")],
    out: Annotated[Path, typer.Option(help="Reference to write (.parquet).")] = Path("reference.parquet"),
    calculator: Annotated[
        str,
        typer.Option(help="Name (`matgen potentials` lists them), or module:function that returns an ASE calculator."),
    ] = "chgnet",
    relax: Annotated[
        bool, typer.Option("--relax/--as-they-are", help="Relax each crystal, or use its energy as given.")
    ] = True,
    margin: Annotated[
        float, typer.Option(min=0.0, help="Keep phases up to this energy above the hull, eV/atom.")
    ] = 0.1,
    corrections: Annotated[
        str | None,
        typer.Option(
            help="MP2020 (of the Materials Project, for a potential that learned its raw energies), or none. Default: "
            "what a named potential needs, else none."
        ),
    ] = None,
    source: Annotated[str, typer.Option(help="Source of the crystals, for the header.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Compute energies of known crystals by a potential, and keep the phases near their hull. Resumes."""
    with user_errors_as_one_line():
        from matgen.cli.tables import rows_table
        from matgen.cli.terminal import StageView, console
        from matgen.hull.corrections import check_scheme
        from matgen.relaxation.calculators import calculator_maker, corrections_of
        from matgen.structures.files import found
        from matgen.workflows.reference import build_reference

        needed = corrections_of(calculator) if corrections is None else check_scheme(corrections)
        with StageView(console(stderr=True)) as view:
            try:
                built = build_reference(
                    list(found(paths)),
                    out,
                    calculator_maker(calculator),
                    relaxing=relax,
                    margin=margin,
                    facts={"source": source or ", ".join(map(str, paths)), "corrections": needed},
                    jobs=jobs,
                    report=view,
                )
            except KeyboardInterrupt:
                built = None
        if built is None:
            to_stderr(f"interrupted: energies are in {out.with_suffix('.jsonl')}; to resume, run {same_command(out)}")
            raise typer.Exit(INTERRUPTED)
        rows = {"potential": built.reference.potential, "energies": built.energies, "phases kept": len(built.reference)}
        rows |= {f"left out: {reason}": n for reason, n in built.failures.most_common()}
        if built.lacking:
            rows["left out, for lack of a pure crystal of"] = ", ".join(built.lacking)
        console().print(rows_table(str(built.path), rows))


@app.command("info")
def info(
    path: Annotated[
        str | None,
        typer.Argument(help="A reference, or the name of a potential that one ships for.", show_default="chgnet"),
    ] = None,
) -> None:
    """Show the content of a reference, its potential and its source."""
    with user_errors_as_one_line():
        from matgen.cli.tables import rows_table
        from matgen.cli.terminal import console
        from matgen.relaxation.calculators import CHGNET, hull_file
        from matgen.workflows.reference import reference_facts

        shipped = hull_file(path or CHGNET)
        found = vars(reference_facts(shipped or Path(path or "")))
        header = found.pop("header")
        if lacking := header.pop("incomplete", None):
            header["chemical systems that lack phases"] = len(lacking)
            header["phases that they lack"] = sum(lacking.values())
        name = f"the shipped reference of {path or CHGNET}" if shipped else str(path)
        console().print(rows_table(name, found | header))
