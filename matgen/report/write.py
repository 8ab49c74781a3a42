"""The page of a run, written into its folder or elsewhere."""

from pathlib import Path

from matgen.report.data import report_data
from matgen.report.page import report_html
from matgen.runtime.output import replace_file, writing
from matgen.structures.run_folder import PAGE


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a run, which replaces an earlier one at once; return its path.

    Args:
        folder: that `matgen design`, `screen`, `evaluate` or `verify` wrote, finished or not.
        out: of the page; `report.html` in the folder if None.

    Raises:
        NoRunError: the folder is none of a run.
        OutputError: the page cannot be written.
    """
    page = report_html(report_data(folder))
    path = out or folder / PAGE
    with writing(path):
        replace_file(path, page)
    return path
