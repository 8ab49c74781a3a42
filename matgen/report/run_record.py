"""What a report says of the run itself: when, how long, by what, in what state."""

from typing import Any

from matgen import __version__
from matgen.report.folders import RunFolder

STATES = {"finished": "finished", "running": "running", "interrupted": "interrupted"}

OF_STATE = {
    "running": "The run has not ended: it is still going on, or its process was killed. What is here so far is shown.",
    "interrupted": "The run was interrupted: what it had found by then is shown. The same command resumes it.",
    "unfinished": "The run did not come to its end: what it left is shown. The same command resumes it.",
}
"""Notes on runs that did not finish."""


def run_record(run: RunFolder, notes: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Return the part `run` of a report.

    Args:
        run: the folder.
        notes: what else is to be known, in plain sentences.
        **more: further fields.
    """
    state = run.state
    told = [*run.notes, *_of_state(state), *_of_version(run), *notes]
    line = run.report.get("command_line")
    return {
        **({"command_line": line} if isinstance(line, str) and line else {}),
        "created": run.report.get("started"),
        "version": run.report.get("version", "unknown"),
        "state": STATES.get(state, "failed" if state.startswith("failed") else "interrupted"),
        "weights": sorted(run.report.get("weights", {})) if isinstance(run.report.get("weights"), dict) else [],
        "notes": told,
        **more,
    }


def _of_state(state: str) -> list[str]:
    if state.startswith("failed"):
        return [f"The run ended with an error ({state.removeprefix('failed: ')}): what it had found by then is shown."]
    return [OF_STATE[state]] if state in OF_STATE else []


def _of_version(run: RunFolder) -> list[str]:
    version = run.report.get("version")
    if version in (None, __version__):
        return []
    made = f"The run was made by version {version}, and this page by {__version__}"
    return [f"{made}: what that version did not record is left out."]
