"""The pages of the documentation, and what stands in their blocks of code."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "data/README.md", "scripts/README.md")
"""Pages that lie outside docs/, from the root."""

PAGES = (*OUTSIDE, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
"""Every page, from the root."""

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: path from the root.
        number: among the blocks of its language on its page, from 0.
        language: as it is named; empty if it is not.
        source: without the indentation of its fence.
    """

    page: str
    number: int
    language: str
    source: str

    @property
    def name(self) -> str:
        """`page#number`, unique within a language."""
        return f"{self.page}#{self.number}"


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found: list[Block] = []
    for match in FENCE.finditer(text_of(page)):
        indent, language, source = match.groups()
        source = "\n".join(line.removeprefix(indent) for line in source.splitlines()) + "\n"
        number = sum(block.language == language for block in found)
        found.append(Block(page, number, language, source))
    return found


def prose(page: str) -> list[str]:
    """Return the lines of a page that are neither tables nor in fenced blocks."""
    return [line for line in FENCE.sub("", text_of(page)).splitlines() if line.strip() and not line.startswith("|")]


def commands(page: str, program: str = "matgen") -> list[str]:
    """Return the lines of a page's code that call a program, continued lines joined."""
    fenced = {"", "console"}
    text = FENCE.sub(lambda match: match[3] if match[2] in fenced else "", text_of(page))
    text = re.sub(r"\\\n\s*", "", text)
    indented = [line.strip() for line in text.splitlines() if re.match(rf" {{4,}}\$? ?{program} ", line)]
    plain = [line for block in blocks(page) if block.language in fenced for line in block.source.splitlines()]
    return [*indented, *(line for line in plain if line.startswith(f"{program} "))]
