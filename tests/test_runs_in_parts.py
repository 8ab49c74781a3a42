"""One result, whether a run is made by one process, by two, or interrupted and resumed: hosts, examples, rules, files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Structure
from test_property_files import some_file
from test_units import content, needs_weights

from matgen.generation.configuration import configured
from matgen.generation.request import Request
from matgen.structures.candidate import Candidate
from matgen.structures.run_folder import all_units
from matgen.workflows.design import run

pytestmark = needs_weights

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"

EFFORT = {"pool": 2, "move_steps": 4, "geometries": 1, "levels": 4, "refine_rounds": 1, "refine_steps": 6}
SHARED: dict[str, Any] = {
    "relax": "none",
    "sampler": EFFORT,
    "over_generation": 3,
    "seed": 3,
    "confidence": 0.0,
    "budget": 100.0,
}
"""Seconds for each run."""


def with_a_file(folder: Path) -> Request:
    """A target of a property file."""
    file = some_file(folder / "hue.safetensors").path
    return Request.of(hue=">90", with_files=[str(file)], max_atoms=6, n=10, **SHARED)


def with_rules(folder: Path) -> Request:
    """Rules that must hold, and one that had better."""
    del folder
    rules = ["Li implies O", "anions >= 2", "count(F) <= 4"]
    return Request.of(rules=rules, prefer=["Ti or Zr"], max_atoms=8, n=10, **SHARED)


def between_two_sets(folder: Path) -> Request:
    """Between two sets of examples, each of two crystals."""
    for name, files in (("a", ("GaN_wurtzite", "ZnO_wurtzite")), ("b", ("NaCl_rock_salt", "MgO_rock_salt"))):
        examples = json.dumps([str(TEXTBOOK / f"{file}.cif") for file in files])
        (folder / f"{name}.toml").write_text(f"like = {examples}\nmax_atoms = 6\n")
    files = [str(folder / f"{name}.toml") for name in "ab"]
    return configured({}, {"between": files, "between_alpha": 0.4, "n": 16, **SHARED})[0]


def around_a_start(folder: Path) -> Request:
    """A search around a start of which a site is kept."""
    del folder
    start = TEXTBOOK / "LiCoO2_alpha_nafeo2.cif"
    return Request.of(start=start, keep="O", allow_known=True, max_atoms=8, n=14, **SHARED)


def of_a_host_in_p1(folder: Path) -> Request:
    """Other elements on sites of a host without symmetry."""
    cell = Structure.from_file(TEXTBOOK / "LiCoO2_alpha_nafeo2.cif").get_primitive_structure()
    cell.perturb(0.15, seed=0).to(filename=str(folder / "p1.json"))
    replace = ["Li -> Na,K,Cu,Ag", "Co -> Al,Ga,Cr,Fe"]
    return Request.of(host=folder / "p1.json", replace=replace, allow_known=True, n=16, **SHARED)


def of_defects(folder: Path) -> Request:
    """Point defects of magnesia in its primitive cell, relaxed."""
    del folder
    changes = {"replace": ["Mg -> Ca,Zn,Be,Cd,Sr,Ni,Co x1"], "insert": ["Li"]}
    return Request.of(host=TEXTBOOK / "MgO_rock_salt.cif", supercell=0.0, budget=100.0, **changes)


class _Stop:
    """Interrupts, as Ctrl-C does, when it hears of a candidate of a certain number."""

    def __init__(self, after: int = 1) -> None:
        self.left = after

    def __call__(self, _: Candidate) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


ASKED = (with_a_file, with_rules, between_two_sets, around_a_start, of_a_host_in_p1, of_defects)


@pytest.mark.parametrize("asked", ASKED)
def test_two_processes_and_a_run_that_is_interrupted_find_what_one_finds(
    asked: Callable[[Path], Request], tmp_path: Path
) -> None:
    request = asked(tmp_path).updated(processes=1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    outcome = run(request, whole)
    assert len(outcome.candidates) > 1
    with pytest.raises(KeyboardInterrupt):
        run(request.updated(processes=2), parts, found=_Stop())
    assert json.loads((parts / "run.json").read_text())["status"] == "interrupted"
    run(request, parts)
    assert content(parts) == content(whole)
    assert len(all_units(parts)) > 1
