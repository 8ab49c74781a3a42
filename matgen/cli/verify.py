"""`matgen verify`."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen.cli.common import INTERRUPTED, NOTHING_FOUND, to_stderr, user_errors_as_one_line
from matgen.cli.report import WithReport, reported, with_page


def verify(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders of `matgen design`, or files and folders of crystals or of molecules.")
    ],
    name: Annotated[list[str] | None, typer.Option(help="Only this structure; may be given several times.")] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only the first structures; candidates are best first.")
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="Interpreter with GPAW. Default: MATGEN_GPAW_PYTHON, or the first that can import it."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Calculations in parallel, one core each.")] = 2,
    minutes: Annotated[float, typer.Option(min=0.01, help="Time limit of each crystal.")] = 10.0,
    cutoff: Annotated[
        float | None, typer.Option(help="Plane-wave cutoff, eV. Default: 400, and 340 for soft elements.")
    ] = None,
    kpoints: Annotated[float, typer.Option(help="Density of the k-point mesh, points per Å⁻¹.")] = 4.0,
    gap_kpoints: Annotated[
        float, typer.Option(help="Density of a second, denser mesh for the gap, at fixed electron density; 0 for none.")
    ] = 0.0,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough", help="GPAW's own convergence criteria, and 400 eV for all elements: several times slower."
        ),
    ] = False,
    no_hubbard: Annotated[
        bool,
        typer.Option("--no-hubbard", help="Without the Hubbard U of the Materials Project in oxides and fluorides."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: that of the designs, else verified/.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Repeat failed calculations.")] = False,
    report: WithReport = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per structure on standard output.")] = False,
) -> None:
    """Calculate crystals from first principles (GPAW, PBE): gap, energy, moment; relax molecules by GFN2-xTB."""
    with user_errors_as_one_line():
        from matgen.first_principles import gpaw
        from matgen.first_principles.calculations import MoleculePlan, Plan
        from matgen.first_principles.gpaw import FirstPrinciplesConfig
        from matgen.first_principles.gpaw_interpreter import find_interpreter
        from matgen.first_principles.subjects import chosen, kind_of_all, passed_over, subjects
        from matgen.workflows.verify import default_folder

        config = FirstPrinciplesConfig(kpoint_density=kpoints, gap_kpoint_density=gap_kpoints, hubbard=not no_hubbard)
        if thorough:
            config = gpaw.thorough(config)
        if cutoff is not None:
            config = replace(config, cutoff=cutoff, soft_cutoff=0.0)
        every = subjects(paths)
        if left := passed_over(paths):
            to_stderr(f"{left} structure files beside the designs are skipped; name them to have them verified")
        picked = chosen(every, name or (), top)
        plan: Any = MoleculePlan(jobs=jobs, retry=retry)
        if kind_of_all(every) == "crystal":
            plan = Plan(find_interpreter(python), config, minutes, jobs, retry)
        _verify(every, picked, out or default_folder(paths), plan, as_json=as_json, report=report)


def _verify(every: Any, picked: Any, folder: Path, plan: Any, *, as_json: bool, report: bool) -> None:
    """Run the calculations and show their results."""
    from matgen.cli.tables import verified_table
    from matgen.cli.terminal import StageView, console
    from matgen.workflows.verify import run, to_record

    screen = console(stderr=True)
    done: list[Any] = []
    with StageView(screen) as view:

        def found(one: Any) -> None:
            done.append(one)
            if as_json:
                typer.echo(json.dumps(with_page(to_record(one), folder, wanted=report)))

        try:
            outcome = run(every, picked, folder, plan, report=view, found=found)
        except KeyboardInterrupt:
            outcome = None
    if outcome is None:
        again = shlex.join(["matgen", *sys.argv[1:]])
        to_stderr(f"interrupted: {len(done)} of {len(picked)} results are in {folder}; to resume, run {again}")
        reported(folder, wanted=report)
        raise typer.Exit(INTERRUPTED)
    if not as_json and outcome.verified:
        console().print(verified_table(outcome.verified))
    to_stderr(f"{outcome.converged} of {len(picked)} calculated by {plan.method}; see {outcome.table}")
    reported(folder, wanted=report)
    raise typer.Exit(0 if outcome.converged else NOTHING_FOUND)
