"""`matgen design`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from matgen.cli.common import (
    INTERRUPTED,
    NOTHING_FOUND,
    BandGap,
    CalculatorName,
    Elasticity,
    Phonons,
    SecondName,
    Targets,
    Weights,
    WithFiles,
    numbers,
    requested,
    same_command,
    split,
    to_stderr,
    user_errors_as_one_line,
)
from matgen.cli.completions import devices, executors, kinds, potentials, relaxers
from matgen.cli.design_output import print_candidates, show
from matgen.cli.report import WithReport, reported, with_page


def design(
    kind: Annotated[
        str | None, typer.Option(help="crystal or molecule. Default: crystal.", autocompletion=kinds)
    ] = None,
    bandgap: BandGap = None,
    gap: Annotated[
        str | None, typer.Option(help="HOMO–LUMO gap in eV (B3LYP), written as --bandgap; of a molecule.")
    ] = None,
    dipole: Annotated[str | None, typer.Option(help="Dipole moment of a molecule in debye, likewise: '<2'.")] = None,
    targets: Targets = None,
    with_files: WithFiles = None,
    elements: Annotated[str | None, typer.Option(help="Only these may occur: Ga,N.")] = None,
    include: Annotated[str | None, typer.Option(help="These must occur.")] = None,
    exclude: Annotated[str | None, typer.Option(help="These must not occur.")] = None,
    avoid_hazard: Annotated[
        bool, typer.Option("--avoid-hazard", help="Toxic and radioactive elements must not occur.")
    ] = False,
    formula: Annotated[str | None, typer.Option(help="Keep this composition: SrTiO3; of molecules C4H6O.")] = None,
    formula_units: Annotated[
        int | None, typer.Option(help="Formula units in the primitive cell, where they are known. Default: any.")
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Must hold: 'Li implies O', 'count(Fe) <= 2'; may be given several times."),
    ] = None,
    prefer: Annotated[list[str] | None, typer.Option(help="A rule that should hold, likewise.")] = None,
    smiles: Annotated[
        str | None, typer.Option(help="Keep this molecular graph: 'C[C@H](N)O'; the stereo that it states, too.")
    ] = None,
    smarts: Annotated[
        list[str] | None, typer.Option(help="A pattern that molecules must hold; may be given several times.")
    ] = None,
    avoid: Annotated[list[str] | None, typer.Option(help="A pattern that they must not hold, likewise.")] = None,
    charge: Annotated[int | None, typer.Option(help="Net charge of molecules. Default: 0.")] = None,
    spacegroup: Annotated[str | None, typer.Option(help="Number of the space group, or several: 225,227.")] = None,
    host: Annotated[Path | None, typer.Option(help="A crystal to change in places.")] = None,
    replace: Annotated[
        list[str] | None,
        typer.Option(help="In the host: 'Ti -> any', 'site 2 -> Zr,Hf', one atom 'Co -> Al x1'."),
    ] = None,
    insert: Annotated[str | None, typer.Option(help="Put one atom into a void of the host: Li,Na.")] = None,
    vacancy: Annotated[str | None, typer.Option(help="Take one atom out of the host: O.")] = None,
    supercell: Annotated[
        float | None,
        typer.Option(help="Least Å from a defect to its images; 0: the primitive cell. Default: 7.5."),
    ] = None,
    start: Annotated[Path | None, typer.Option(help="A crystal around which to search.")] = None,
    keep: Annotated[str | None, typer.Option(help="Sites of it that stay: 'sites 1-4', or Sr,O.")] = None,
    fragment: Annotated[
        str | None,
        typer.Option(help="A part of each molecule, open at [*]: 'c1ccccc1[*]'."),
    ] = None,
    max_atoms: Annotated[
        int | None, typer.Option(help="Most atoms in the primitive cell, up to 20; of molecules heavy atoms, up to 9.")
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(help="A file with an example to resemble; may be given several times."),
    ] = None,
    like_weight: Annotated[
        float | None,
        typer.Option(help="Weight of likeness. Default: 1."),
    ] = None,
    between: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two TOML files A B, in place of --config: alpha E_A + (1 - alpha) E_B."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Weight of A, from 0 to 1. Default: 0.5."),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", help="How many candidates. Default: 10.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all random numbers. Default: 0.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write, or to resume. Default: designs/....")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another run in the folder.")] = False,
    processes: Annotated[
        int | None, typer.Option(help="That work side by side; the candidates are the same for any number. Default: 2.")
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Parsl in place of processes: a Python file that defines `config`, or local.", autocompletion=executors
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of each process. Default: 1.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Where models run: cpu, cuda, or cuda:1. Default: cpu.", autocompletion=devices)
    ] = None,
    weights: Weights = None,
    relax: Annotated[
        str | None,
        typer.Option(
            help="none, potential (crystals, by --calculator) or xtb (molecules). Default: the one of the kind.",
            autocompletion=relaxers,
        ),
    ] = None,
    calculator: CalculatorName = None,
    second_opinion: SecondName = None,
    phonons: Phonons = False,
    elasticity: Elasticity = False,
    pressure: Annotated[
        float | None,
        typer.Option(
            help="GPa at which crystals of --formula are sampled, relaxed and ranked by enthalpy. Default: 0.",
        ),
    ] = None,
    ewald_weight: Annotated[
        float | None,
        typer.Option(
            help="Weight of the electrostatic energy of formal charges, per atom over 0.1 eV; needs --formula. "
            "Default: 0.",
        ),
    ] = None,
    potential: Annotated[
        str | None,
        typer.Option(
            help="none or chgnet: rank proposals by CHGNet's energy per atom over 0.1 eV, too, whatever --calculator "
            "relaxes them. Needs --formula; takes some 60 ms for each of some 30 geometries per candidate and round. "
            "Default: none.",
            autocompletion=potentials,
        ),
    ] = None,
    potential_weight: Annotated[float | None, typer.Option(help="Weight of that term. Default: 1.")] = None,
    max_ehull: Annotated[
        float | None, typer.Option(help="Highest energy above the hull, eV/atom; after relaxation. Default: 0.1.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Least probability that each target is met, by the predictor; it falls from round to round to less "
            "than half. Default: 0.55."
        ),
    ] = None,
    allow_known: Annotated[
        bool, typer.Option("--allow-known", help="Keep candidates that are known crystals or molecules.")
    ] = False,
    variety: Annotated[
        float | None,
        typer.Option(
            help="Factor on the cost of repeating a Wyckoff layout, or the rings of a molecule; 0 also lifts the limit "
            "of three in ten of one Wyckoff layout, which only crystals have. Default: 1."
        ),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Minutes after which the search stops. Default: 10.")] = None,
    verify: Annotated[
        int | None,
        typer.Option(help="How many GPAW is to confirm during the search; refuted ones are replaced."),
    ] = None,
    verify_minutes: Annotated[float | None, typer.Option(help="Limit of one calculation. Default: 10.")] = None,
    free: Annotated[bool, typer.Option("--free", help="Relax without keeping the symmetry.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Leave the geometry to the relaxation: more candidates for the time.")
    ] = False,
    no_moves: Annotated[bool, typer.Option("--no-moves", help="Leave out Metropolis moves on templates.")] = False,
    no_diffusion: Annotated[bool, typer.Option("--no-diffusion", help="Leave out diffusion of the geometry.")] = False,
    no_mala: Annotated[bool, typer.Option("--no-mala", help="Leave out Langevin refinement.")] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the steps of sampler and relaxation, to be played in the report.")
    ] = False,
    report: WithReport = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per candidate on standard output.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file with all of this; options take precedence.")] = None,
) -> None:
    """Propose crystals or molecules that meet targets, relax and check them, and write them as CIF or SDF."""
    if kind is None and config is None and between is None and any((gap, dipole, smiles, smarts, avoid, fragment)):
        kind = "molecule"  # the only kind with these options
    given = {
        "kind": kind,
        "targets": requested(bandgap, targets or [], gap=gap, dipole=dipole) or None,
        "elements": split(elements),
        "include": split(include),
        "exclude": split(exclude),
        "avoid_hazard": avoid_hazard or None,
        "formula": formula,
        "formula_units": formula_units,
        "rules": rule,
        "prefer": prefer,
        "smiles": smiles,
        "smarts": smarts,
        "avoid": avoid,
        "charge": charge,
        "space_groups": numbers("--spacegroup", spacegroup),
        "host": None if host is None else str(host),
        "replace": replace,
        "insert": split(insert),
        "vacancy": split(vacancy),
        "supercell": supercell,
        "start": None if start is None else str(start),
        "keep": keep,
        "fragment": fragment,
        "max_atoms": max_atoms,
        "like": like or None,
        "like_weight": like_weight,
        "between": between,
        "between_alpha": alpha,
        "n": n,
        "seed": seed,
        "processes": processes,
        "executor": executor,
        "threads": threads,
        "device": device,
        "weights": weights,
        "with_files": None if with_files is None else [str(file) for file in with_files],
        "relax": relax,
        "calculator": calculator,
        "second_opinion": second_opinion,
        "phonons": phonons or None,
        "elasticity": elasticity or None,
        "relaxation": {"settings": {"keep_symmetry": False}} if free else None,
        "pressure": pressure,
        "ewald_weight": ewald_weight,
        "potential": potential,
        "potential_weight": potential_weight,
        "max_ehull": max_ehull,
        "confidence": confidence,
        "allow_known": allow_known or None,
        "variety": variety,
        "budget": budget,
        "record": record or None,
        "verify": verify,
        "verify_minutes": verify_minutes,
        "stages": {
            stage: False
            for stage, left_out in (("moves", no_moves), ("diffusion", no_diffusion), ("mala", no_mala))
            if left_out
        },
    }
    options = {name: value for name, value in given.items() if value is not None}
    with user_errors_as_one_line():
        from matgen.phonons.asked import time_text
        from matgen.workflows.design import default_folder

        request = _requested(config, options, fast=fast)
        for warning in request.warnings:
            to_stderr(warning)
        if took := time_text(request.selection.lattice_checks, request.relaxation.calculator):
            to_stderr(took)
        _design(request, out or default_folder(request), overwrite=overwrite, as_json=as_json, report=report)


def _requested(config: Path | None, options: dict[str, Any], *, fast: bool) -> Any:
    """Return the request of a TOML file and options; name old keys of the file on standard error.

    Raises:
        ConfigError: the file is no configuration, or stands beside two to interpolate between.
    """
    from matgen.generation.configuration import configured
    from matgen.generation.request_checks import asked
    from matgen.runtime.config import ConfigError, read_toml

    asked(options)
    if config and "between" in options:
        raise ConfigError(f"expected --between or --config, got both; leave {config} out, or write [between] into it")
    raw = read_toml(config) if config else {}
    try:
        request, moved = configured(raw, options, fast=fast)
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}" if config else str(error)) from error
    if "between_alpha" in options and not request.between.requests:
        raise ConfigError("expected two requests for --alpha, got none; give --between A.toml B.toml")
    if moved:
        names = ", ".join(f"{old} is now {new}" for old, new in moved.items())
        to_stderr(f"{config} uses keys of version 0.1, which are still read: {names}")
    return request


def _design(request: Any, folder: Path, *, overwrite: bool, as_json: bool, report: bool) -> None:
    """Run a request and show the result."""
    from matgen.cli.announcement import Remaining, announcement, candidates_in
    from matgen.cli.terminal import StageView, console
    from matgen.installation.machine import cores
    from matgen.structures.candidate_files import CandidateFile
    from matgen.structures.record import to_record
    from matgen.structures.run_folder import CANDIDATES
    from matgen.workflows.design import run

    screen = console(stderr=True)
    names: list[str] = []
    remaining = Remaining(request.search.n, 0 if overwrite else candidates_in(folder))
    if not as_json:
        told = announcement(request, folder, cores(), anew=overwrite)
        screen.print(told, highlight=False, markup=False, soft_wrap=True)
    with StageView(screen) as view:

        def found(candidate: Any) -> None:
            names.append(candidate.name)
            if as_json and not request.verification.n:
                typer.echo(json.dumps(with_page(to_record(candidate), folder, wanted=report)))
            elif not as_json:
                view.found(candidate, request.property_targets, remaining())

        try:
            outcome = run(request, folder, report=view, found=found, overwrite=overwrite)
        except KeyboardInterrupt:
            interrupted = f"interrupted: {len(names)} of {request.search.n} candidates are in {folder}"
        else:
            interrupted = ""
    if interrupted:
        if as_json and request.verification.n:
            stored = CandidateFile(folder / CANDIDATES).read()
            print_candidates([one for one in stored if one.name in names], folder, report=report)
        to_stderr(f"{interrupted}; to go on, run {same_command(folder)}")
        reported(folder, wanted=report)
        raise typer.Exit(INTERRUPTED)
    for number, reason in sorted(outcome.reasons.items()):
        to_stderr(f"unit {number} is left out: {reason}")
    show(outcome, request, as_json=as_json, report=report)
    to_stderr(f"{outcome.reason}, in {outcome.seconds:.0f} s; everything is in {outcome.folder}")
    reported(outcome.folder, wanted=report)
    raise typer.Exit(0 if outcome.candidates else NOTHING_FOUND)
