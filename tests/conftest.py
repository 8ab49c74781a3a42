"""Fixtures for every test: the textbook structures, and the training data where there is any."""

import csv
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from elsewhere import second_device
from pymatgen.core import Structure

from matgen.datasets.crystals import CrystalTable
from matgen.structures.conversion import described
from matgen.templates.batch import TemplateBatch, concatenated

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"


def pytest_configure() -> None:
    """Take Ctrl-C as a program in a terminal does: background jobs of a shell ignore it, and so do their children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


SMALL_MODELS = {
    "template_prior": {"width": 24, "layers": 1, "heads": 2},
    "template_properties": {"width": 24, "layers": 1, "heads": 2, "hidden": 16},
    "geometry_density": {"width": 24, "layers": 1, "heads": 2},
    "graph_energy": {"trunk": {"channels": 4, "layers": 1, "n_radial": 4}, "hidden": 8},
    "structure_properties": {
        "members": 2,
        "trunk": {"channels": 4, "layers": 1, "n_radial": 4, "both_ends": True},
        "hidden": 8,
    },
    "evaluator": {"width": 16, "layers": 1, "hidden": 16},
}
"""Of every kind of network a configuration that trains in seconds."""


@dataclass(frozen=True)
class TextbookEntry:
    """One row of data/textbook/index.csv with its structure (conventional cell)."""

    file: str
    formula: str
    space_group: int
    prototype: str
    band_gap: float | None  # eV, measured; None where the index leaves it empty
    source: str
    structure: Structure


def read_textbook(folder: Path) -> tuple[TextbookEntry, ...]:
    """Read an index and the CIFs beside it."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(
            TextbookEntry(
                file=row["file"],
                formula=row["formula"],
                space_group=int(row["space_group"]),
                prototype=row["prototype"],
                band_gap=float(row["band_gap"]) if row["band_gap"] else None,
                source=row["source"],
                structure=Structure.from_file(folder / row["file"]),
            )
            for row in csv.DictReader(stream)
        )


@pytest.fixture(scope="session")
def textbook() -> tuple[TextbookEntry, ...]:
    """The textbook structures of data/textbook, in the order of their index."""
    return read_textbook(TEXTBOOK)


@pytest.fixture(scope="session")
def prepared_table(textbook: tuple[TextbookEntry, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared table of textbook crystals with made-up labels."""
    small = [entry.structure for entry in textbook if len(entry.structure.get_primitive_structure()) <= 20]
    pairs = [described(structure) for structure in small]
    templates, geometry = concatenated([(TemplateBatch.of([template]), one) for template, one in pairs])
    n = len(pairs)
    numbers = torch.rand(n, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, -2.0, 0.1, -4.0])
    numbers[::3, 0] = 0.0
    labels = dict(zip(("band_gap", "e_form", "energy_above_hull", "chgnet_energy"), numbers.T, strict=True))
    split = torch.arange(n) % 3 // 2  # two thirds train, one third val
    path = tmp_path_factory.mktemp("table") / "crystals.npz"
    ones = torch.ones(n)
    CrystalTable(
        np.array([f"t{i}" for i in range(n)]),
        templates,
        geometry,
        split,
        split,
        labels,
        np.full(n, "made up"),
        ones.bool(),
        ones,
        torch.arange(n) % 2 == 0,
    ).save(path)
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of training tables that MATGEN_DATA names; without it the test is skipped."""
    name = os.environ.get("MATGEN_DATA")
    if not name:
        pytest.skip("needs the training tables: set MATGEN_DATA to their folder (data/README.md)")
    folder = Path(name)
    if not folder.is_dir():
        pytest.skip(f"needs the training tables, but MATGEN_DATA={name} is not a folder")
    return folder


@pytest.fixture(params=["cpu", "elsewhere", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The CPU, a simulated second device, and a GPU: what is written for one is tried on all."""
    if request.param == "elsewhere":
        with second_device() as simulated:
            yield str(simulated)
        return
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and PyTorch finds none")
    yield request.param
