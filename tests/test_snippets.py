"""Every block of Python on a page is run: here, or by the test of its subject; a new block must be named."""

import re
import tomllib
from pathlib import Path

import pytest
from pages import FENCE, PAGES, ROOT, Block, blocks, text_of

SMALL = 'n=1, relax="none", max_atoms=4, fast=True, processes=1'

HERE = {
    "README.md#0": {"n=10": SMALL},
    "docs/evaluate.md#0": {},
    "docs/howto/own_potential.md#0": {},
    "docs/howto/own_property.md#0": {},
    "docs/howto/screen_many.md#0": {"data/textbook": "data/oxides"},
    "docs/howto/verdicts.md#0": {},
    "docs/hull.md#0": {},
    "docs/molecules.md#0": {"n=10": "n=1, max_atoms=5, fast=True, processes=1"},
    "docs/molecules.md#1": {"n=5": "n=1, max_atoms=4, fast=True, processes=1"},
    "docs/novelty.md#0": {},
    "docs/phonons.md#0": {},
    "docs/potentials.md#0": {},
    "docs/screen.md#0": {"structures/": "data/oxides", "jobs=2": "jobs=1"},
    "docs/tutorial.md#0": {},
}
"""Blocks that are run here, with what is replaced to make them quick."""

NEEDED = {"docs/phonons.md#0": "phonopy"}
"""Packages of extras that a block needs; without them it is skipped."""

ELSEWHERE = {
    "CONTRIBUTING.md#0": "test_house.py",
    "CONTRIBUTING.md#1": "test_house.py",
    "CONTRIBUTING.md#2": "test_house.py",
    "docs/architecture.md#0": "test_architecture.py",
    "docs/architecture.md#1": "test_architecture.py",
    "docs/architecture.md#2": "test_architecture.py",
    "docs/electrostatics.md#0": "test_electrostatic.py",
    "docs/evidence.md#0": "test_evidence.py",
    "docs/first_path.md#0": "test_first_path.py",
    "docs/first_path.md#1": "test_first_path.py",
    "docs/first_path.md#2": "test_first_path.py",
    "docs/hosts.md#0": "test_host_designs.py",
    "docs/interchange.md#0": "test_first_path.py",
    "docs/interchange.md#1": "test_first_path.py",
    "docs/likeness.md#0": "test_likeness.py",
    "docs/pressure.md#0": "test_pressure.py",
    "docs/properties.md#0": "test_computed.py",
    "docs/rules.md#0": "test_rules_in_design.py",
    "scripts/README.md#0": "test_evaluation.py",
}
"""Blocks that the test of their subject runs."""

COMPILED = {
    "docs/screen.md#1": "needs a cluster with Slurm",
    "docs/training.md#0": "trains for hours",
}
"""Blocks that cannot be run, with the reason; their syntax is checked."""

PYTHON = {block.name: block for page in PAGES for block in blocks(page) if block.language == "python"}


def test_each_block_of_python_is_named_once() -> None:
    named = [*HERE, *ELSEWHERE, *COMPILED]
    assert len(named) == len(set(named))
    assert set(named) == set(PYTHON), "name each block of Python in HERE, ELSEWHERE or COMPILED of this file"


@pytest.mark.parametrize("page", PAGES)
def test_python_is_in_blocks_that_name_it(page: str) -> None:
    assert not re.search(r"^ {4,}(?:from [\w.]+ )?import \w", FENCE.sub("", text_of(page)), re.MULTILINE)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_test_that_runs_a_block_reads_its_page(name: str) -> None:
    source = (ROOT / "tests" / ELSEWHERE[name]).read_text(encoding="utf-8")
    page = Path(name.partition("#")[0])
    assert page.name in source or page.stem in source
    assert any(call in source for call in ("exec(", "run_path(", "run_snippet("))


@pytest.mark.parametrize("name", COMPILED)
def test_blocks_that_cannot_be_run_compile(name: str) -> None:
    compile(PYTHON[name].source, name, "exec")


@pytest.mark.parametrize("name", HERE)
def test_blocks_run(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip(NEEDED.get(name, "matgen"), reason="needs a package of an extra")
    source = PYTHON[name].source
    for whole, small in HERE[name].items():
        assert whole in source
        source = source.replace(whole, small)
    (tmp_path / "data" / "oxides").mkdir(parents=True)
    (tmp_path / "data" / "textbook").symlink_to(ROOT / "data" / "textbook")
    for file in ("MgO_rock_salt.cif", "TiO2_rutile.cif", "Cu2O_cuprite.cif"):
        (tmp_path / "data" / "oxides" / file).symlink_to(ROOT / "data" / "textbook" / file)
    monkeypatch.chdir(tmp_path)
    exec(compile(source, name, "exec"), {})  # noqa: S102 (our own pages)


TOML = [block for page in PAGES for block in blocks(page) if block.language == "toml"]


@pytest.mark.parametrize("block", TOML, ids=lambda block: block.name)
def test_blocks_of_toml_can_be_read(block: Block) -> None:
    assert tomllib.loads(block.source)
