"""The notebooks of the documentation run from beginning to end, in one kernel after another name space is cleared."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest
from pages import ROOT

nbformat = pytest.importorskip("nbformat", reason="needs nbclient, of the extra dev")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient, of the extra dev")
client = pytest.importorskip("jupyter_client", reason="needs nbclient, of the extra dev")
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 150_000
"""Bytes of a notebook with its outputs."""


def test_there_are_six() -> None:
    assert len(NOTEBOOKS) == 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_small_plain_and_begin_with_a_title(path: Path) -> None:
    assert path.stat().st_size <= LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ")
    text = path.read_text(encoding="utf-8")
    for folder in (Path(__file__).resolve().parents[1], Path.home(), Path(gettempdir())):
        assert f"{folder}/" not in text, "a path of the machine that it was run on"
    assert not [cell for cell in notebook.cells for one in cell.get("outputs", []) if one.output_type == "error"]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """A running kernel, which loads the packages and models once."""
    manager = client.KernelManager()
    manager.start_kernel(cwd=str(ROOT), extra_arguments=["--Application.log_level=ERROR"])
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, kernel: Any) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    runner = nbclient.NotebookClient(notebook, km=kernel, timeout=1200)
    try:
        runner.execute()  # raises what a cell raises
    finally:
        runner.kc.stop_channels()
    shown = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert len(shown) >= 2
