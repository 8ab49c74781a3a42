"""One result, whether one process makes a run, two do, or it is resumed: hosts, examples, rules and property files."""

import json
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Structure
from test_property_files import some_file
from test_units import needs_weights

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
    return Request.of(hue=">90", with_files=[str(file)], max_atoms=6, n=6, **SHARED)


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
    replace = ["Li -> Na,K,Rb,Cu,Ag,Tl", "Co -> Al,Ga,In,Sc,V,Cr,Mn,Fe,Rh"]
    return Request.of(host=folder / "p1.json", replace=replace, allow_known=True, n=32, **SHARED)


def of_defects(folder: Path) -> Request:
    """Point defects of magnesia in its primitive cell, relaxed."""
    del folder
    changes = {"replace": ["Mg -> Ca,Zn,Be,Cd,Sr,Ni x1"], "insert": ["Li"]}
    return Request.of(host=TEXTBOOK / "MgO_rock_salt.cif", supercell=0.0, budget=100.0, **changes)


class _Stop:
    """Interrupts, as Ctrl-C does, when it hears of the first candidate."""

    def __call__(self, _: Candidate) -> None:
        raise KeyboardInterrupt


ASKED = (with_a_file, with_rules, between_two_sets, around_a_start, of_a_host_in_p1, of_defects)


def kept(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What was found and what was rejected, without the time that a relaxation took."""
    found = {}
    for name in ("candidates.jsonl", "rejected.jsonl"):
        text = (folder / name).read_text(encoding="utf-8") if (folder / name).exists() else ""  # nothing was rejected
        found[name] = [json.loads(line) for line in text.splitlines()]
        for record in found[name]:
            (record["relaxation"] or {}).pop("seconds", None)
    return found


@pytest.fixture(scope="module", params=ASKED, ids=lambda asked: asked.__name__)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, Path]:
    """A request, and the folder in which one process has found all that it asks for."""
    folder = tmp_path_factory.mktemp("whole")
    asked = request.param(folder).updated(processes=1)
    assert len(run(asked, folder / "run").candidates) > 1
    return asked, folder / "run"


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_is_interrupted_and_resumed_finds_the_same(
    jobs: int, whole: tuple[Request, Path], tmp_path: Path
) -> None:
    request, folder = whole
    with pytest.raises(KeyboardInterrupt):
        run(request.updated(processes=jobs), tmp_path, found=_Stop())
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    assert len(kept(tmp_path)["candidates.jsonl"]) == 1
    run(request, tmp_path)
    assert kept(tmp_path) == kept(folder)
    assert len(all_units(tmp_path)) > 1


@pytest.mark.slow
def test_two_processes_find_what_one_finds(whole: tuple[Request, Path], tmp_path: Path) -> None:
    request, folder = whole
    run(request.updated(processes=2), tmp_path)
    assert kept(tmp_path) == kept(folder)
