"""Hook of MkDocs: each notebook of docs/notebooks becomes a page, with the outputs that it was saved with."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

FOLDER = "notebooks"


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook, and its figures."""
    for path in sorted((Path(config["docs_dir"]) / FOLDER).glob("*.ipynb")):
        text, figures = converted(path)
        files.append(File.generated(config, f"{FOLDER}/{path.stem}.md", content=text))
        for name, content in figures.items():
            files.append(File.generated(config, f"{FOLDER}/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links to notebooks to their pages, but for the link of a page to its own notebook."""
    del files
    is_notebook = (Path(config["docs_dir"]) / page.file.src_uri).with_suffix(".ipynb").is_file()
    return markdown if is_notebook else markdown.replace(".ipynb)", ".md)")


def converted(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown with a link to itself, and its figures by name."""
    start = {"output_files_dir": "", "unique_key": path.stem}
    text, resources = MarkdownExporter().from_filename(str(path), resources=start)
    return f"{text}\n\nThe notebook itself: [{path.name}]({path.name})\n", resources.get("outputs", {})
