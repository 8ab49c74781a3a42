"""Files with one JSON value per line, to which results are appended one by one."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from matgen.errors import UserError
from matgen.runtime.output import append, replace_file, writing

T = TypeVar("T")


def read_json_lines(
    path: Path, decode: Callable[[Any], T], *, error: type[UserError], advice: str, repair: bool = False
) -> list[T]:
    """Return the decoded values of a file, an empty list if there is none.

    An interrupt can leave an incomplete last line; it is ignored.

    Args:
        path: file to read.
        decode: turns one JSON value into the result; raises KeyError, TypeError or ValueError for an invalid one.
        error: class of the error for a damaged file.
        advice: what the user can do about a damaged file.
        repair: remove an incomplete last line from the file, so that more lines can be appended.

    Raises:
        error: a complete line is not valid.
        OutputError: the file cannot be repaired.
    """
    if not path.exists():
        return []
    try:
        whole, newline, rest = path.read_text(encoding="utf-8").rpartition("\n")
        found = [decode(json.loads(line)) for line in whole.splitlines()]
    except (KeyError, TypeError, ValueError) as reason:
        raise error(f"{path} is damaged ({reason}); {advice}") from reason
    if repair and rest:
        with writing(path):
            replace_file(path, whole + newline)
    return found


def append_json_lines(path: Path, values: Iterable[Any], *, wait: bool = True) -> None:
    """Append values and wait until they are on the disk, unless told not to.

    Raises:
        OutputError: the disk is full, or the folder does not exist.
    """
    with writing(path):
        append(path, "".join(map(json_line, values)), wait=wait)


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write values to a new file, which replaces an old one at once.

    Raises:
        OutputError: the disk is full, or the folder does not exist.
    """
    with writing(path):
        replace_file(path, "".join(map(json_line, values)))


def json_line(value: Any) -> str:
    """Return a value as one line of JSON; numbers must be finite."""
    return json.dumps(value, allow_nan=False) + "\n"
