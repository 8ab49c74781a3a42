"""What a search of spglib does that fails, as with overlapping atoms: it returns None, or it raises.

Which one depends on its version and on `SPGLIB_OLD_ERROR_HANDLING`, which ASE sets for the rest of a process as soon as
it fixes a symmetry. Here both are one, so that no structure depends on those before it.
"""

from collections.abc import Callable
from typing import Any

import ase.utils
import spglib

SPGLIB_ERRORS: tuple[type[Exception], ...] = tuple(
    error
    for module, name in ((spglib, "SpglibError"), (ase.utils, "OldSpglibError"))
    if isinstance(error := getattr(module, name, None), type)
)
"""What spglib, and ASE in its place, raise; older versions have none of their own."""


def searched(search: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a search of spglib finds; None where it fails."""
    try:
        return search(*args, **options)
    except SPGLIB_ERRORS:
        return None
