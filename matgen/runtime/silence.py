"""Warnings of other packages on the command line, where they say nothing that a user could act on."""

import os
import sys
import warnings


def silence_packages() -> None:
    """Ignore warnings of other packages in this process and in those that it starts, unless Python is told otherwise.

    What bears on a result is a remark or a verdict of its row. `python -W default -m matgen` and `PYTHONWARNINGS` show
    them all.
    """
    if sys.warnoptions:
        return
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # which it writes itself, past Python
