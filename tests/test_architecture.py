"""docs/architecture.md agrees with the code, its recipes work, and the code keeps to its words and limits."""

import ast
import importlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.io
import pytest
import torch
from ase.build import bulk
from pymatgen.core import Lattice, Structure
from test_house import RANKS

from matgen.energies.base import Energy
from matgen.structures.conversion import state_of
from matgen.structures.files import read_structures
from matgen.structures.formats import SUFFIXES
from matgen.structures.reading import READERS

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "matgen"
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((REPOSITORY / "scripts").rglob("*.py"))


def definitions(path: Path) -> set[str]:
    """The names of functions, classes, methods and variables that a file defines."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return names


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_path_on_a_page_exists(page: Path) -> None:
    paths = set(re.findall(r"`((?:matgen|scripts|tests|docs|data)/[\w/.-]+)`", page.read_text(encoding="utf-8")))
    missing = [path for path in sorted(paths) if not (REPOSITORY / path).exists()]
    assert not missing


def resolves(dotted: str) -> bool:
    """Whether a dotted name of matgen is a module, or something in one."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as error:
            if error.name == "jobflow":  # which is optional
                return (PACKAGE / "jobflow" / "__init__.py").is_file()
            continue
        for part in parts[n:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_dotted_name_on_a_page_exists(page: Path) -> None:
    names = set(re.findall(r"\bmatgen(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8")))
    missing = [name for name in sorted(names) if not resolves(name)]
    assert not missing


def test_every_name_beside_a_path_is_defined_there() -> None:
    named = re.findall(r"`(matgen/[\w/]+\.py)`\s\((`\w+`(?:,\s`\w+`)*)\)", PAGE)
    missing = [
        f"{path}: {name}"
        for path, names in named
        for name in re.findall(r"\w+", names)
        if name not in definitions(REPOSITORY / path)
    ]
    assert len(named) >= 25
    assert not missing


def test_every_package_is_described_once() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    described = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(described) == sorted(packages)


def test_the_drawing_shows_the_ranks_that_the_import_test_enforces() -> None:
    drawing = PAGE.split("```\n")[1]
    rows = [row.split("   ")[0].strip() for row in drawing.splitlines() if row.strip(" │")]
    assert [set(row.split(" · ")) for row in rows] == [set(rank) for rank in reversed(RANKS)]


def test_contributing_names_the_ranks_that_the_import_test_enforces() -> None:
    text = " ".join((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    shown = text.split("From the lowest rank to the highest: ")[1].split(". `tests/test_house.py`")[0]
    ranks = re.sub(r"\([^)]*\)", "", shown).split("→")
    assert [set(re.findall(r"[\w.]+", rank)) for rank in ranks] == [set(rank) for rank in RANKS]


# ---------------------------------------------------------------- the recipes

RECIPES = (
    "An energy",
    "A property",
    "A computed property",
    "A kind of material",
    "A potential",
    "A file format",
    "A metric",
)


def recipe(title: str) -> str:
    """The text of one recipe."""
    return PAGE.split(f"### {title}\n")[1].split("\n## ")[0].split("\n### ")[0]


def snippet(title: str) -> dict[str, Any]:
    """What the snippet of a recipe defines."""
    names: dict[str, Any] = {}
    exec(compile(recipe(title).split("```python\n")[1].split("```")[0], "architecture.md", "exec"), names)  # noqa: S102
    return names


@pytest.mark.parametrize("title", RECIPES)
def test_every_recipe_names_files(title: str) -> None:
    assert len(re.findall(r"`matgen/[\w/]+\.py`", recipe(title))) >= 2


def test_the_potential_of_the_recipe_is_an_energy() -> None:
    emt: Energy = snippet("A potential")["emt"]
    cell = Structure(Lattice.cubic(3.6), ["Cu"] * 4, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    close, far = state_of([cell]), state_of([cell.copy().scale_lattice(1.3 * cell.volume)])
    sigma = torch.zeros(1)
    assert emt.use == "ranking"
    assert float(emt(close, sigma)) < float(emt(far, sigma))


def test_the_reader_of_the_recipe_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUFFIXES, ".ascii", "cif")  # both are removed again when the test ends
    monkeypatch.setitem(READERS, "v_sim", READERS["cif"])  # type: ignore[misc]
    snippet("A file format")
    text = io.StringIO()
    ase.io.write(text, bulk("NaCl", "rocksalt", a=5.64), format="v-sim")
    (tmp_path / "salt.ascii").write_text(text.getvalue(), encoding="utf-8")
    (entry,) = read_structures([tmp_path / "salt.ascii"])
    assert entry.structure is not None, entry.error
    assert entry.structure.composition.reduced_formula == "NaCl"
    assert entry.structure.volume == pytest.approx(5.64**3 / 4, rel=1e-6)


def test_the_metric_of_the_recipe_counts_of_the_requested() -> None:
    two, three = (Structure(Lattice.cubic(4.0), s, [[i / 3] * 3 for i in range(3)]) for s in ("KKO", ["K", "O", "H"]))
    found = snippet("A metric")["ternary"]([two, three], 4)
    assert (found.numerator, found.denominator, found.value) == (1, 4, 0.25)


# ---------------------------------------------------------------- words

OLD_WORDS = (
    *("wish", "wishes", "wished", "judge", "judges", "judged", "judging", "guide", "guides", "guided"),
    *("hands", "handed", "handedness", "pushes", "pushed", "surroundings", "walks", "walked", "familiarity"),
    *("referee", "assay", "doubt", "doubtful", r"free\s+numbers?"),
)
"""Words of the left column of the glossary, in the forms in which only the old meaning occurs."""

NAMES_OLD_WORDS = frozenset(
    {"matgen/weights/renamed.py", "matgen/generation/old_keys.py", "matgen/structures/renamed.py"}
)
"""Files that read what earlier versions wrote, and so name it."""


def old_words(text: str) -> Iterator[str]:
    """Old words of a text with the number of their line; parts of names count as words."""
    for match in re.finditer(rf"(?<![A-Za-z])({'|'.join(OLD_WORDS)})(?![A-Za-z])", text, re.IGNORECASE):
        yield f"{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"


def test_the_old_words_are_those_of_the_glossary() -> None:
    glossary = PAGE.split("## Glossary")[1].lower()
    for word in ("wish", "judge", "guide", "handedness", "push", "surroundings", "walk", "familiarity", "free numbers"):
        assert f"| {word}" in glossary or f", {word}" in glossary
    assert list(old_words("The judge_gap of a\nfree  number, by hand; wishful")) == ["1: judge", "2: free  number"]


@pytest.mark.parametrize("kind", ["modules", "scripts", "pages"])
def test_old_words_occur_in_the_glossary_alone(kind: str) -> None:
    found = []
    for path in {"modules": MODULES, "scripts": SCRIPTS, "pages": PAGES}[kind]:
        name = path.relative_to(REPOSITORY).as_posix()
        text = path.read_text(encoding="utf-8")
        if name == "docs/architecture.md":
            text = text.split("## Glossary")[0]
        if name not in NAMES_OLD_WORDS:
            found += [f"{name}:{word}" for word in old_words(text)]
    assert not found, "\n".join(found)


# ---------------------------------------------------------------- limits

AT_THE_TOP, LINES, FUNCTION_LINES, ARGUMENTS = 6, 350, 60, 8


def test_few_files_lie_at_the_top() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= AT_THE_TOP


def too_large(path: Path) -> Iterator[str]:
    """What of a module exceeds the limits; the functions of commands have an argument for each option."""
    name, text = path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")
    if (lines := len(text.splitlines())) > LINES:
        yield f"{name}: {lines} lines"
    functions = [] if "cli" in path.parts else list(ast.walk(ast.parse(text)))
    for node in functions:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES:
            yield f"{name}:{node.lineno}: {node.name}() has {lines} lines"
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        if len([one for one in names if one not in {"self", "cls"}]) > ARGUMENTS:
            yield f"{name}:{node.lineno}: {node.name}() has {len(names)} arguments"


def constants_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the public constants of a module that are texts: name and value."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            match target, node.value:
                case ast.Tuple(elts=names), ast.Tuple(elts=values):
                    pairs = list(zip(names, values, strict=True))
                case name, value:
                    pairs = [(name, value)]
            for one in pairs:
                match one:
                    case ast.Name(id=own), ast.Constant(value=str(text)) if own.isupper() and own[0] != "_":
                        yield own, text


def test_a_word_that_files_or_users_hold_is_a_constant_of_one_module() -> None:
    """Two of one name and value would have to be changed together."""
    places: dict[tuple[str, str], list[str]] = {}
    for path in MODULES:
        for constant in constants_of(path):
            places.setdefault(constant, []).append(str(path.relative_to(REPOSITORY)))
    assert {constant: where for constant, where in places.items() if len(where) > 1} == {}


def test_files_and_functions_are_short() -> None:
    found = [one for path in MODULES for one in too_large(path)]
    assert not found, "\n".join(found)
