"""Names of output folders: readable words, and a hash of everything that decides the result."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def folder_name(paths: Iterable[Path], identity: Any) -> str:
    """Name the output folder of a command that reads paths, such as `set_3fa2b1`.

    Args:
        paths: of the input; the first three are named.
        identity: all that decides the result, as JSON types; no other identity shares the name.
    """
    content = json.dumps(identity, sort_keys=True)
    return f"{readable(path.resolve().name for path in list(paths)[:3])}_{short_hash(content)}"


def readable(words: Iterable[str]) -> str:
    """Join words by underscores, in characters that every file system takes; at most 60 of them."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", "_".join(words)).strip("_")[:60]


def short_hash(content: str) -> str:
    """Return six hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(content.encode()).hexdigest()[:6]
