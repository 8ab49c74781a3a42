"""Names of files after names that may hold anything."""

import hashlib


def file_name(name: str) -> str:
    """Return a file name without suffix for a name; different names give different file names."""
    plain = "".join(letter if letter.isalnum() or letter in "._+-" else "_" for letter in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
