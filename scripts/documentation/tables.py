"""Hook of MkDocs: marked places `<!-- NAME -->` of a page get the empty lines that its Markdown needs around tables."""

import re
from typing import Any


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Separate marks from the blocks beside them."""
    del page, config, files
    return separated(markdown)


def separated(markdown: str) -> str:
    """Return a text in which a mark on a line of its own is no part of the block beside it.

    GitHub's Markdown ends a comment with its line; Python-Markdown takes a table that follows it for text.
    """
    return re.sub(r"^(<!-- /?[\w -]+ -->)$", r"\n\1\n", markdown, flags=re.MULTILINE)
