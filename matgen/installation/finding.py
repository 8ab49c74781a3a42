"""One finding about an installation, and what to type about it."""

import importlib.util
import shlex
import sys
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "missing", "broken"]

NEEDED = frozenset({"broken"})
"""States of what must be repaired before the program can be trusted."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        subject: what was looked at.
        state: ok; note, which works, but could be better; missing, which only some commands need; broken, which is
            needed and does not work.
        text: what was found.
        advice: what to type; empty where there is nothing to do.
    """

    subject: str
    state: State
    text: str
    advice: str = ""


def install(*requirements: str, options: str = "") -> str:
    """Return the command that installs packages beside this program, whichever installer made its environment."""
    words = shlex.join(requirements)
    python = shlex.quote(sys.executable)
    with_pip = importlib.util.find_spec("pip") is not None
    command = f"{python} -m pip install" if with_pip else f"uv pip install --python {python}"
    return " ".join(filter(None, (command, options, words)))
