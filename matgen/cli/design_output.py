"""What `matgen design` prints of its candidates at the end."""

import json
from pathlib import Path
from typing import Any

import typer

from matgen.cli.report import with_page


def show(outcome: Any, request: Any, *, as_json: bool, report: bool) -> None:
    """Show the candidates, and the outcome of their verification."""
    from matgen.cli.candidate_tables import candidate_table, energy_table
    from matgen.cli.terminal import console

    if as_json and request.verification.n:
        print_candidates(outcome.candidates, outcome.folder, report=report)
    if not as_json and outcome.candidates:
        if any(candidate.energies for candidate in outcome.candidates):
            console().print(energy_table(outcome.candidates))
        console().print(candidate_table(outcome.candidates, request.property_targets))


def print_candidates(candidates: Any, folder: Path, *, report: bool) -> None:
    """Print candidates as JSON, one in a line.

    Args:
        candidates: to print.
        folder: of the run.
        report: whether the run writes a page, whose path is named then.
    """
    from matgen.structures.record import to_record

    for candidate in candidates:
        typer.echo(json.dumps(with_page(to_record(candidate), folder, wanted=report)))
