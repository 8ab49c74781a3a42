"""Hook of MkDocs: each notebook of docs/notebooks becomes a page, with the outputs that it was saved with."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter


def on_files(files: Files, config: Any) -> Files:
    """Put a page in the place of each notebook."""
    for path in sorted((Path(config["docs_dir"]) / "notebooks").glob("*.ipynb")):
        notebook = f"notebooks/{path.name}"
        text = f"{converted(path)}\n\nThis page is a notebook: [{path.name}]({path.name})\n"
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        if notebook not in files.src_uris:
            files.append(File(notebook, config["docs_dir"], config["site_dir"], config["use_directory_urls"]))
    return files


def converted(path: Path) -> str:
    """Return a notebook as Markdown."""
    text, _ = MarkdownExporter().from_filename(str(path))
    return str(text)
