"""Want of memory, which packages tell in different ways."""

import errno
import re

TOLD = re.compile(r"(cannot|can't|unable to|failed to) allocate|not enough memory|out of memory", re.IGNORECASE)
"""How PyTorch, safetensors and the dynamic linker say that there is no memory, in errors of other kinds."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is not enough memory."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError | ImportError) and TOLD.search(str(error)) is not None
