"""Text on terminals and in files that cannot show all of Unicode, such as those of `LANG=C`."""

import codecs
import io
import sys
import unicodedata

NAME = "matgen-plain"
"""Name of the handler of characters that an encoding lacks."""

_PLAIN = {
    **dict.fromkeys("–—‐‑−─━═", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”″", '"'),
    **dict.fromkeys("·•…", "."),
    **dict.fromkeys("μµ", "u"),
    "±": "~",
    "×": "x",
    "°": "d",
    "→": ">",
    "≤": "<",
    "≥": ">",
    "σ": "s",
    "Γ": "G",
    "∝": "~",
    "√": "v",
    "⁻": "-",
}
"""One character for each, so that the columns of tables stay below each other."""

_BOXES = range(0x2500, 0x2580)


def write_plainly() -> None:
    """Let standard output and error replace characters that they cannot show, also of names that are no Unicode."""
    codecs.register_error(NAME, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=NAME)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the characters that cannot be encoded, and where encoding goes on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    """Return one ASCII character for another one."""
    if character in _PLAIN:
        return _PLAIN[character]
    if ord(character) in _BOXES:
        return "+"
    base = unicodedata.normalize("NFKD", character)[0]
    return base if base.isascii() else "?"
