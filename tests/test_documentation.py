"""Pages: each is in the site, short, and agrees with the command line, the scripts and the tables of results."""

import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from pages import OUTSIDE, PAGES, ROOT, blocks, commands, prose, text_of
from test_cli import called

from matgen import cli

for folder in ("documentation", "benchmarks"):
    sys.path.insert(0, str(ROOT / "scripts" / folder))

NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
LANGUAGES = {"", "console", "python", "text", "toml"}
PLACEHOLDERS = {"SEED": "1", "$NO": "Tc"}
"""Words of a page that stand for a value, and one that does."""

READ_ONLY = ("matgen models", "matgen properties", "matgen reference info", "matgen energy info shipped")
"""Commands that take no file and write none: their lines are run as they are."""


def test_each_page_is_in_the_navigation_of_the_site() -> None:
    pages = [page.removeprefix("docs/") for page in PAGES if page not in OUTSIDE]
    missing = [page for page in pages if not re.search(rf"[ :-] {re.escape(page)}$", NAVIGATION, re.MULTILINE)]
    assert not missing, f"add them to nav in mkdocs.yml: {missing}"
    assert len(pages) > 30


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_short(page: str) -> None:
    assert len(prose(page)) <= 250


def test_figures_of_pages_are_small_and_used() -> None:
    text = "".join(map(text_of, PAGES))
    for figure in sorted((ROOT / "docs" / "figures").glob("results-*.png")):
        assert figure.name in text
        assert figure.stat().st_size <= 150_000, figure.name


def test_packages_are_installed_by_their_own_names_in_quotes() -> None:
    """`matgen[…]` would bring whatever an index has by this name; zsh takes bare brackets and `>` for its own."""
    sources = [path.relative_to(ROOT).as_posix() for path in (ROOT / "matgen").rglob("*.py")]
    bare = re.compile(r"""matgen\[[a-z]|pip install matgen(?![\w-])|pip install (?:-\S+ )*(?!git)[\w-]+[\[><=]""")
    found = {page: match.group() for page in (*PAGES, *sources) if (match := bare.search(text_of(page)))}
    assert not found
    with (ROOT / "pyproject.toml").open("rb") as stream:
        extras = tomllib.load(stream)["project"]["optional-dependencies"]
    told = [one for extra, needed in extras.items() if extra not in {"dev", "docs"} for one in needed]
    assert [one for one in told if f'pip install "{one}"' not in text_of("docs/install.md")] == []


# ---------------------------------------------------------------- the command line


SHOWN = sorted({(page, line) for page in PAGES for line in commands(page) if "COMMAND" not in line})


def words_of(line: str) -> list[str]:
    """The arguments of a line, without a program at the other end of a pipe."""
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)[1:]]
    return words[: words.index("|")] if "|" in words else words


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=lambda text: text[:60])
def test_each_command_of_a_page_is_understood(page: str, line: str) -> None:
    command, words = typer.main.get_command(cli.app), words_of(line)
    if words[0].startswith("--"):  # of the program itself, such as --version
        assert words[0] in {name for option in command.params for name in option.opts}
        return
    while hasattr(command, "commands"):
        plain = command.name == "train" and words[0] not in command.commands  # `model` need not be said
        name = "model" if plain else words.pop(0)
        assert name in command.commands, f"{page}: {name}"
        command = command.commands[name]
    if "--help" not in words:
        command.make_context("matgen", words)  # raises on an option or argument that does not exist


FILES = ("--config", "--between", "--host", "--start", "--with", "--weights", "--executor", "--verify", "--device")
"""Options whose files, programs or devices a page takes for given."""

DESIGNS = {line for _, line in SHOWN if line.startswith("matgen design ")}
REQUESTS = sorted(line for line in DESIGNS if not set(FILES) & set(words_of(line)))


@pytest.mark.parametrize("line", REQUESTS)
def test_each_request_of_a_page_can_be_understood(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is refused for its folder alone, which is looked at when the request is understood."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = words_of(line)
    if "--out" in words:
        del words[words.index("--out") : words.index("--out") + 2]
    assert called(monkeypatch, *words, "--out", "other", "--processes", "1") == 2
    refused = "is refused for" in text_after(line)
    assert ("is not a report of a run" in capsys.readouterr().err) is not refused


def text_after(line: str) -> str:
    """The sentence behind a command on its page."""
    texts = (text_of(page) for page, shown in SHOWN if shown == line)
    return next((text.split(line)[1][:40] for text in texts if line in text), "")


def test_pages_show_commands() -> None:
    assert len(SHOWN) > 100
    assert {page for page, _ in SHOWN} >= {"README.md", "docs/tutorial.md", "docs/howto/solar.md"}


@pytest.mark.parametrize("line", sorted({line for _, line in SHOWN if line.startswith(READ_ONLY) and "." not in line}))
def test_commands_that_write_nothing_run(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called(monkeypatch, *words_of(line)) == 0
    assert len(capsys.readouterr().out) > 100


def test_the_screening_of_one_file_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (line,) = commands("docs/howto/verdicts.md")
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    assert called(monkeypatch, *words_of(line)) == 0
    assert "charge_balance" in (tmp_path / "screens" / "one" / "results.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_each_script_of_a_page_exists_and_has_its_options(page: str) -> None:
    options = (ROOT / "scripts" / "benchmarks" / "shared" / "options.py").read_text(encoding="utf-8")
    for line in commands(page, "python"):
        path, *words = shlex.split(line.replace("`", ""), comments=True)[1:]
        if not path.startswith("scripts/"):
            continue
        source = (ROOT / path).read_text(encoding="utf-8") + options
        for word in words:
            if word.startswith("--") and word != "--help":
                assert f'"{word.split("=")[0]}"' in source, f"{path} has no {word}"


# ---------------------------------------------------------------- blocks and numbers


def test_blocks_are_of_known_languages() -> None:
    assert {block.language for page in PAGES for block in blocks(page)} <= LANGUAGES


NUMBER = re.compile(r"(?<![\w.,])\d+(?:\.\d+)? ?(?:%|eV|meV|Å)|(?<![\w.,])\d+\.\d+(?![\w.])")
"""A share, an energy, a length, or any number with decimals."""


@pytest.mark.parametrize("page", ["docs/results.md", "docs/limits.md"])
def test_each_figure_of_the_short_pages_stands_in_a_table(page: str) -> None:
    others = (ROOT / "docs" / f"{name}.md" for name in ("properties", "potentials", "phonons"))
    tables = [*(ROOT / "docs" / "results").glob("*.md"), *others]
    known = " ".join(path.read_text(encoding="utf-8") for path in tables)
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", text_of(page))
    missing = {
        match[0]
        for match in NUMBER.finditer(text)
        if not re.search(rf"(?<![\d.]){re.escape(match[0].split()[0].rstrip('%'))}(?![\d])", known)
    }
    assert not missing - SETTINGS


SETTINGS = {"0.07", "16 %"}
"""Numbers of the short pages that no table has: a setting that is advised, and ten to the power of 0.066."""


def test_links_are_those_of_the_site() -> None:
    pytest.importorskip("mkdocs", reason="needs mkdocs, of the extra docs")
    from outside_pages import relinked

    assert relinked("[a](../CHANGELOG.md#x) [b](cli.md)", "hull.md") == "[a](changelog.md#x) [b](cli.md)"
    assert relinked("[a](../../CONTRIBUTING.md)", "howto/solar.md") == "[a](../contributing.md)"
    assert (
        relinked("[a](docs/hull.md#b) [c](https://d.e/f.md)", "contributing.md")
        == "[a](hull.md#b) [c](https://d.e/f.md)"
    )
    assert relinked("[a](../README.md)", "tutorial.md") == "[a](README.md)"


def test_the_figures_of_the_short_page_are_drawn_from_its_tables(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the extra plot")
    script = runpy.run_path(str(ROOT / "scripts" / "benchmarks" / "plot_results.py"))
    assert "matgen design --fast" in script["rows_of"](ROOT / "docs/results", "designs.md", "*Version 0.3", 0)[2][0]
    assert script["interval_in"]("886 (614 to 1165)") == (614, 1165)
    for name, draw in script["FIGURES"].items():
        script["save"](draw(ROOT / "docs" / "results"), tmp_path / f"{name}.png")
        assert (ROOT / "docs" / "figures" / f"results-{name}.png").is_file()
