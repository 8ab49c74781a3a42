"""Hook of MkDocs: a page with every command and option, as the command line itself explains them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGE = "reference/commands.md"


def on_files(files: Files, config: Any) -> Files:
    """Add the page of all commands."""
    files.append(File.generated(config, PAGE, content=commands()))
    return files


def commands() -> str:
    """Return the help of every command, as Markdown."""
    command = [
        sys.executable,
        "-m",
        "typer",
        "matgen.cli",
        "utils",
        "docs",
        "--name",
        "matgen",
        "--title",
        "Every option",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout  # noqa: S603 (ours)
    return text.replace("](", "]\\(")  # of a help text, which is no link
