"""Everything that a report shows, as plain data, from the folder of a run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matgen.errors import UserError
from matgen.report.design_run import design_data
from matgen.report.evaluate_run import evaluate_data
from matgen.report.folders import FILES, Command, RunFolder, run_folder
from matgen.report.plain import plain
from matgen.report.screen_run import screen_data
from matgen.report.verify_run import verify_data
from matgen.runtime.failures import guarded


class DamagedRunError(UserError, ValueError):
    """A folder of a run whose files are not as its command writes them."""


MAKERS: Mapping[Command, Callable[[RunFolder], dict[str, Any]]] = {
    "design": design_data,
    "screen": screen_data,
    "evaluate": evaluate_data,
    "verify": verify_data,
}
"""What makes the data of each command."""


def report_data(folder: Path) -> dict[str, Any]:
    """Return the report of a run as JSON types, without numbers that JSON does not have.

    Damaged lines are left out, and told; this raises where too much is damaged for that.

    Args:
        folder: that `matgen design`, `screen`, `evaluate` or `verify` wrote, finished or not.

    Raises:
        NoRunError: the folder is none of a run.
        DamagedRunError: its files contradict what its command writes.
    """
    run = run_folder(folder)
    data, reason = guarded(
        lambda one: (plain(MAKERS[one.command](one)), ""), run, lambda _, why: ({}, why), passing=(UserError,)
    )
    if reason:
        files = ", ".join(FILES[run.command])
        raise DamagedRunError(
            f"damaged run: expected {files} in {folder} as `matgen {run.command}` writes them, and they cannot be "
            f"shown ({reason}); put back a copy of them, or run the command again into another folder"
        )
    return data
