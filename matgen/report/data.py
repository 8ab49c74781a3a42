"""Everything that a report shows, as plain data, from the folder of a run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matgen.report.design_run import design_data
from matgen.report.evaluate_run import evaluate_data
from matgen.report.folders import Command, RunFolder, run_folder
from matgen.report.plain import plain
from matgen.report.screen_run import screen_data
from matgen.report.verify_run import verify_data

MAKERS: Mapping[Command, Callable[[RunFolder], dict[str, Any]]] = {
    "design": design_data,
    "screen": screen_data,
    "evaluate": evaluate_data,
    "verify": verify_data,
}
"""What makes the data of each command."""


def report_data(folder: Path) -> dict[str, Any]:
    """Return the report of a run as JSON types, without numbers that JSON does not have.

    Args:
        folder: that `matgen design`, `screen`, `evaluate` or `verify` wrote, finished or not.

    Raises:
        NoRunError: the folder is none of a run.
    """
    run = run_folder(folder)
    return plain(MAKERS[run.command](run))
