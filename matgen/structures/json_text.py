"""JSON, and dictionaries as Python prints them, as values; nothing of them is run."""

import ast
import json
import re
from typing import Any

from matgen.runtime.recursion import recursion_limited
from matgen.structures.broken import BrokenStructureError, one_line

PRINTED = re.compile(r"\s*[\[(]?\s*\{\s*'")
"""Begin of a dictionary, or a list of them, as Python prints it."""

NO_NUMBER = re.compile(r"(?<![\w'\"])-?(?:nan|inf)(?![\w'\"])")

TOO_DEEP = "nested too deeply to be a structure"


def value_of(text: str) -> Any:
    """Return the value of a text.

    Raises:
        BrokenStructureError: it is neither JSON nor a literal of Python.
    """
    try:
        with recursion_limited():
            return _printed(text) if PRINTED.match(text) else json.loads(text)
    except RecursionError as error:
        raise BrokenStructureError(TOO_DEEP) from error
    except BrokenStructureError:
        raise
    except ValueError as error:
        raise BrokenStructureError(f"not JSON: {one_line(error)}") from error


def is_json_lines(text: str) -> bool:
    """Return whether a text is a JSON value that more text follows, as in JSON lines."""
    try:
        with recursion_limited():
            json.loads(text)
    except json.JSONDecodeError as error:
        return error.msg == "Extra data"
    except (ValueError, RecursionError):
        return False
    return False


def _printed(text: str) -> Any:
    try:
        return ast.literal_eval(NO_NUMBER.sub("None", text).strip())
    except MemoryError as error:  # so Python says that an expression is nested too deeply
        raise BrokenStructureError(TOO_DEEP) from error
    except (SyntaxError, ValueError, TypeError) as error:
        raise BrokenStructureError(f"not readable as a dictionary of Python: {one_line(error)}") from error
