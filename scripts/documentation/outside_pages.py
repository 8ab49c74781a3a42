"""Hook of MkDocs: pages of the repository that lie outside docs/ become pages of the site, and links to them hold."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "README.md",
    "data/README.md": "data.md",
    "scripts/README.md": "scripts.md",
}
"""Paths from the root of the repository, and the pages of the site that they are; README.md is docs/README.md there."""

LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)(#[^)\s]*)?(?=\))")
"""The relative target of a Markdown link, and its anchor."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that docs/ does not hold."""
    for path, page in OUTSIDE.items():
        if page not in files.src_uris:
            text = (ROOT / path).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point each link that is right in the repository to the page of the site."""
    del config, files
    return relinked(markdown, page.file.src_uri)


def relinked(markdown: str, page: str) -> str:
    """Return the text of a page with links as they are in the site.

    Args:
        markdown: with links as they are in the repository.
        page: its path in the site.
    """
    origin = {site: path for path, site in OUTSIDE.items() if site != "README.md"}.get(page, f"docs/{page}")

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[1]))
        inside = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if inside is None:
            return match[0]  # a file that is no page: MkDocs reports it
        return posixpath.relpath(inside, posixpath.dirname(page) or ".") + (match[2] or "")

    return LINK.sub(target, markdown)
