"""The documentation is built as a site without a warning, and is read without network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT

pytest.importorskip("material", reason="needs mkdocs-material, of the extra docs")
pytest.importorskip("mkdocstrings", reason="needs mkdocstrings, of the extra docs")
pytest.importorskip("nbconvert", reason="needs nbconvert, of the extra docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built with a warning as an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "WARNING -" not in answer.stderr
    return folder


def pages_of(site: Path) -> list[Path]:
    """Its pages, without the one of an address that does not exist."""
    return [path for path in sorted(site.rglob("*.html")) if path.name != "404.html"]


def test_each_page_of_the_repository_is_a_page_of_the_site(site: Path) -> None:
    named = {path.relative_to(site).with_suffix("").as_posix() for path in pages_of(site)}
    moved = {"data/README": "data", "scripts/README": "scripts", "CONTRIBUTING": "contributing"}
    for page in PAGES:
        inside = page.removeprefix("docs/").removesuffix(".md")
        assert moved.get(inside, inside).replace("README", "index") in named, page
    assert {"changelog", "reference/commands", "notebooks/first_design"} <= named


def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    loading = re.compile(r"""<(?:(?:script|img|iframe|source)[^>]+src|link[^>]+href)=["']?(?:https?:)?//""")
    for page in pages_of(site):
        assert not loading.search(page.read_text(encoding="utf-8")), page.name


def test_nothing_is_left_of_the_markup(site: Path) -> None:
    """Lists and tables that Python-Markdown takes for text, unlike GitHub."""
    for page in pages_of(site):
        article = page.read_text(encoding="utf-8").split("<article", 1)[1].split("</article>")[0]
        article = re.sub(r"<(pre|code)\b.*?</\1>", "", article, flags=re.DOTALL)
        lines = re.sub(r"<[^>]+>", "", article).splitlines()
        left = [line for line in lines if re.match(r"\s*(?:[*+-] \S|\| |#{2,} |\|?\s*-{3,}\s*\|)", line)]
        assert not left, f"{page.name}: {left[:3]}"
        assert not re.search(r"\*\*[^*\n]+\*\*", "\n".join(lines)), page.name


def test_every_command_has_its_options(site: Path) -> None:
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for command in ("matgen design", "matgen screen", "matgen verify", "matgen reference build"):
        assert f"<code>{command}</code>" in text
    assert "--max-ehull" in text
