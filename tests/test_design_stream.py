"""Designs as a stream, and what notebooks show: the same candidates as found, workers that end, escaped text."""

import gc
import json
import os
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Molecule, Structure

import matgen
from matgen.structures.candidate import Candidate, Prediction, Verdict
from matgen.structures.candidate_html import formula_html
from matgen.structures.candidate_list import Candidates
from matgen.structures.material_svg import MOST_ATOMS, material_svg
from matgen.structures.record import to_record
from matgen.structures.symmetry import space_group

EFFORT = {"pool": 2, "move_steps": 4, "geometries": 1, "levels": 4, "refine_rounds": 1, "refine_steps": 6}
QUICK: dict[str, Any] = {
    "n": 3,
    "seed": 3,
    "relax": "none",
    "max_atoms": 6,
    "budget": 60.0,
    "variety": 0.0,
    "sampler": EFFORT,
}
"""A design of seconds: unrelaxed, of few steps."""


def children() -> set[int]:
    """Numbers of the living processes whose parent is this one."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(words[1]) == os.getpid() and words[0] != "Z":
            found.add(int(status.parent.name))
    return found


class Heard:
    """What the callbacks of a design receive."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.stages: set[str] = set()

    def candidate(self, one: Candidate) -> None:
        self.names.append(one.name)

    def progress(self, stage: str, done: int, total: int, **_: float) -> None:
        assert 0 <= done <= max(done, total)
        self.stages.add(stage)


HEARD = Heard()


@pytest.fixture(scope="module")
def whole() -> Candidates:
    return matgen.design(**QUICK, processes=1, on_candidate=HEARD.candidate, on_progress=HEARD.progress)


def test_callbacks_hear_of_every_candidate_and_of_progress(whole: Candidates) -> None:
    assert sorted(HEARD.names) == sorted(one.name for one in whole)
    assert len(whole) == QUICK["n"]
    assert {"search", "propose"} <= HEARD.stages


def test_the_stream_holds_the_candidates_of_design(whole: Candidates) -> None:
    stream = matgen.design_stream(**QUICK, processes=1)
    found = [next(stream)]
    search, deadline = stream.gi_frame.f_locals["search"], stream.gi_frame.f_locals["search"].deadline
    time.sleep(0.3)
    found += list(stream)
    assert search.deadline - deadline >= 0.3  # the budget does not run while the caller works
    by_name = {one.name: one for one in whole}
    assert sorted(one.name for one in found) == sorted(by_name)
    for one in found:  # families are known at the end only
        assert to_record(one) | {"family": ""} == to_record(by_name[one.name]) | {"family": ""}


def test_closing_ends_the_workers_and_the_folder_resumes(whole: Candidates, tmp_path: Path) -> None:
    before = children()
    stream = matgen.design_stream(**QUICK, processes=2, out=tmp_path)
    first = next(stream)
    assert children() - before
    stream.close()
    assert children() == before
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    assert not list(tmp_path.glob(".*.lock"))
    again = list(matgen.design_stream(**QUICK, processes=1, out=tmp_path))
    assert again[0].name == first.name
    assert {one.name for one in again} == {one.name for one in whole}
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["status"] == "finished"


@pytest.mark.slow
def test_leaving_the_loop_ends_the_workers() -> None:
    before = children()
    for _ in matgen.design_stream(**QUICK, processes=2):
        break
    gc.collect()
    assert children() == before


def test_an_exception_of_the_caller_ends_the_run(tmp_path: Path) -> None:
    def refuse(_: Candidate) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        matgen.design(**QUICK, processes=1, out=tmp_path, on_candidate=refuse)
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["status"] == "failed: LookupError"


def test_a_bad_request_is_refused_before_the_first_candidate_is_asked_for() -> None:
    with pytest.raises(ValueError, match="no_such_option"):
        matgen.design_stream(no_such_option=1)


# ---------------------------------------------------------------- what notebooks show


class Tags(HTMLParser):
    """Counts tags, and checks that they close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.met: set[str] = set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, _ in attrs if name.startswith("on") or name in {"src", "href"}]
        self.open.append(tag)
        self.met.add(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.met.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


EVIL = "</table></script><script>alert(1)</script><img src=x onerror=alert(1)>"


def perovskite(name: str = EVIL) -> Candidate:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    structure = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], sites)
    return Candidate(
        name,
        structure,
        structure,
        space_group(structure),
        properties={EVIL: Prediction(1.5, 0.25, EVIL, 0.15, 0.7), "band_gap": Prediction(float("nan"), 0.1, "eV")},
        verdicts={EVIL: Verdict(EVIL, passed=False, value=0.0, unit="", reason=EVIL)},
    )


def test_a_card_escapes_every_text_and_loads_nothing() -> None:
    for text in (perovskite()._repr_html_(), Candidates([perovskite()] * 2)._repr_html_()):
        assert not Tags(text).met & {"script", "img", "link", "iframe", "style"}
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_a_card_says_what_is_known() -> None:
    text = perovskite("mine")._repr_html_()
    for part in ("SrTiO<sub>3</sub>", "Pm-3m (221)", "5 atoms", "mine", "0.2<", "0.15<", "70%", "✗"):
        assert part in text, part
    assert len(text) < 10_000


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        ("SrTiO3", "SrTiO<sub>3</sub>"),
        ("Ca(OH)2", "Ca(OH)<sub>2</sub>"),
        ("C2H4O2", "C<sub>2</sub>H<sub>4</sub>O<sub>2</sub>"),
    ],
)
def test_numbers_of_atoms_are_subscripts(formula: str, shown: str) -> None:
    assert formula_html(formula) == shown


def test_a_picture_shows_every_atom_and_the_images_on_faces() -> None:
    text = material_svg(perovskite().crystal)
    # Eight corners of Sr, Ti, and six faces of O; twelve edges.
    assert (text.count("<circle"), text.count("<line")) == (8 + 1 + 6, 12)
    water = Molecule(["O", "H", "H"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    assert (material_svg(water).count("<circle"), material_svg(water).count("<line")) == (3, 2)


def test_large_crystals_have_no_picture() -> None:
    many = perovskite().crystal * [3, 3, 2]
    assert len(many) > MOST_ATOMS
    assert material_svg(many) == ""


def test_results_become_data_frames(whole: Candidates, tmp_path: Path) -> None:
    frame = whole.to_dataframe()
    assert list(frame["name"]) == [one.name for one in whole]
    assert {"formula", "space_group", "energy", "passed"} <= set(frame.columns)
    rows = matgen.screen([one.crystal for one in whole], reference="none", known="none", out=tmp_path)
    columns = (tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert list(rows.to_dataframe().columns) == columns
    assert not Tags(rows._repr_html_()).met & {"script"}
    assert isinstance(rows, list)
