"""The way between two requests on the map of a report: where it goes, what is told, and runs that have none."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import TEXTBOOK
from report_folders import design_folder, with_report

from matgen.generation.kept_ends import kept_example, write_ends
from matgen.generation.request import Request
from matgen.report.data import report_data
from matgen.report.interpolation import MOST, End, path_record, positions
from matgen.structures.run_folder import ENDS
from matgen.workflows.design import identity, running

FILES = ("NaCl_rock_salt.cif", "SrTiO3_perovskite.cif", "GaAs_zinc_blende.cif")
GAP = "[targets]\nband_gap = {}\n"


def requests(folder: Path, a: str, b: str, names: tuple[str, str] = ("salt", "arsenide")) -> list[str]:
    """Write two requests, each like a textbook file, or none where it is empty; return their paths."""
    paths = []
    for name, file, gap in zip(names, (a, b), (1.0, 3.0), strict=True):
        path = folder / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        like = f'like = ["{shutil.copy(TEXTBOOK / file, folder)}"]\n' if file else ""
        path.write_text(like + GAP.format(gap), encoding="utf-8")
        paths.append(str(path))
    return paths


def between_folder(folder: Path, a: str = FILES[0], b: str = FILES[2], alpha: float = 0.3) -> Path:
    """Write the folder of a design between two requests, whose own files are gone."""
    request = Request.of(between=requests(folder / "asked", a, b), between_alpha=alpha)
    run = design_folder(folder / "run", FILES)
    with_report(run, configuration=identity(request).configuration)
    write_ends(request, run)
    shutil.rmtree(folder / "asked")
    return run


# ---------------------------------------------------------------- where it goes


def test_what_is_an_example_lies_at_its_end(tmp_path: Path) -> None:
    data = report_data(between_folder(tmp_path))
    path = data["map"]["path"]
    along = path["along"]
    assert [*along] == ["NaCl_rock_salt", "SrTiO3_perovskite", "GaAs_zinc_blende"]
    # Neighbour lists of the cell as read and of the primitive one differ, and with them the order of sums in float32.
    assert along["NaCl_rock_salt"] == pytest.approx([0, 0], abs=0.01)
    assert along["GaAs_zinc_blende"] == pytest.approx([1, 0], abs=0.01)
    assert 0 < along["SrTiO3_perovskite"][0] < 1
    assert along["SrTiO3_perovskite"][1] > 0.1


def test_the_line_goes_from_end_to_end_over_the_mean(tmp_path: Path) -> None:
    data = report_data(between_folder(tmp_path))
    path, places = data["map"]["path"], {one["id"]: one["map"] for one in data["candidates"]}
    first, middle, last = path["line"]
    assert first == pytest.approx(places["NaCl_rock_salt"], abs=0.02)
    assert middle == path["middle"] == pytest.approx(np.mean([*places.values()], axis=0), abs=0.002)  # linear
    assert last == pytest.approx(places["GaAs_zinc_blende"], abs=0.02)
    assert [end["name"] for end in path["ends"]] == ["salt", "arsenide"]
    assert [point[2] for end in path["ends"] for point in end["points"]] == [FILES[0], FILES[2]]
    for said in (
        "from salt over the mean of the 3 candidates on the map",
        "30 % of that of salt and 70 % of that of arsenide",
        f"{100 * path['middle_along'][0]:.0f} % of the straight way from salt to arsenide",
    ):
        assert said in path["text"]


def test_positions_do_not_depend_on_the_direction_or_on_axes() -> None:
    draw = np.random.default_rng(0)
    a, b = (
        End("crystal", name, ((kept_example({"end": 0, "name": "", "material": "C"}), draw.normal(size=8)),))
        for name in "ab"
    )
    candidates = {str(i): draw.normal(size=8) for i in range(5)}
    turned, _ = np.linalg.qr(draw.normal(size=(8, 8)))
    forth, back = positions((a, b), candidates), positions((b, a), candidates)
    there = positions(
        [End("crystal", end.name, tuple((one, x @ turned) for one, x in end.examples)) for end in (a, b)],
        {name: x @ turned for name, x in candidates.items()},
    )
    for name, (t, aside) in forth.items():
        assert back[name] == pytest.approx([1 - t, aside], abs=2e-3)  # they are rounded to three decimals
        assert there[name] == pytest.approx([t, aside], abs=2e-3)
    assert list(back) == list(forth)[::-1]
    assert positions((a, a), candidates) == {}


# ---------------------------------------------------------------- what has no point


def test_a_request_of_targets_alone_has_no_point(tmp_path: Path) -> None:
    path = report_data(between_folder(tmp_path, b=""))["map"]["path"]
    assert len(path["line"]) == 2
    assert path["ends"][1] == {"name": "arsenide", "points": [], "middle": None}
    assert "along" not in path
    assert "arsenide names no examples, only targets or rules" in path["text"]
    assert "The dashed line goes between salt and the mean" in path["text"]


def test_two_requests_of_targets_have_no_line(tmp_path: Path) -> None:
    folder = between_folder(tmp_path, "", "")
    path = report_data(folder)["map"]["path"]
    assert not (folder / ENDS).exists()
    assert path["line"] == []
    assert path["text"].startswith("Neither request has a point")
    assert path["text"].count("names no examples") == 2


def test_a_run_that_kept_no_examples_says_so(tmp_path: Path) -> None:
    folder = between_folder(tmp_path)
    (folder / ENDS).unlink()
    path = report_data(folder)["map"]["path"]
    assert path["line"] == []
    assert path["text"].count(f"its examples are not in this folder ({ENDS})") == 2


def test_damaged_examples_are_told(tmp_path: Path) -> None:
    folder = between_folder(tmp_path)
    lines = (folder / ENDS).read_text(encoding="utf-8").splitlines()
    broken = [
        {"end": 2, "name": "x", "material": "C"},
        {"end": 1},
        {**json.loads(lines[0]), "material": {"lattice": 1}},
    ]
    (folder / ENDS).write_text("".join(f"{line}\n" for line in [lines[0], *map(json.dumps, broken)]), encoding="utf-8")
    data = report_data(folder)
    assert any(note.startswith(f"3 lines of {ENDS} cannot be read") for note in data["run"]["notes"])
    assert data["map"]["path"]["ends"][1]["points"] == []


def test_many_examples_are_told_but_not_drawn(tmp_path: Path) -> None:
    folder = between_folder(tmp_path)
    first, *rest = (folder / ENDS).read_text(encoding="utf-8").splitlines()
    (folder / ENDS).write_text("".join(f"{line}\n" for line in [*[first] * (MOST + 7), *rest]), encoding="utf-8")
    path = report_data(folder)["map"]["path"]
    assert len(path["ends"][0]["points"]) == MOST
    assert "Of salt, 7 more examples are not on the map." in path["text"]


def test_requests_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folder = between_folder(tmp_path)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    run["configuration"]["between"]["requests"] = ["x/same.toml", "y/same.toml"]
    with_report(folder, configuration=run["configuration"])
    path = report_data(folder)["map"]["path"]
    assert [end["name"] for end in path["ends"]] == ["same (A)", "same (B)"]


def test_one_candidate_is_its_own_mean() -> None:
    end = End("crystal", "a", ())
    record = path_record((end, end), {"one": np.zeros(331)}, 1.0)
    assert record["middle"] is not None
    assert "100 % of that of a and 0 % of that of a" in record["text"]


# ---------------------------------------------------------------- runs


def test_a_run_that_is_no_interpolation_has_no_way(tmp_path: Path) -> None:
    plain = report_data(design_folder(tmp_path / "plain", FILES))
    assert "path" not in plain["map"]
    folder = between_folder(tmp_path)
    other = design_folder(tmp_path / "other", FILES)
    shutil.copy(folder / ENDS, other)
    assert report_data(other)["map"] == plain["map"]


@pytest.mark.parametrize(
    "between", [3, {"requests": "a.toml"}, {"requests": ["a", "b"]}, {"requests": [1], "alpha": 1}]
)
def test_settings_of_another_version_make_no_way(tmp_path: Path, between: object) -> None:
    folder = design_folder(tmp_path / "run", FILES)
    configuration = json.loads((folder / "run.json").read_text(encoding="utf-8"))["configuration"]
    with_report(folder, configuration={**configuration, "between": between})
    assert "path" not in report_data(folder)["map"]


def test_a_run_keeps_the_examples_of_both_requests(tmp_path: Path) -> None:
    two = requests(tmp_path, FILES[0], FILES[2])
    request, folder = Request.of(between=two, processes=1), tmp_path / "run"
    with closing(running(request, folder)) as searches:
        next(searches)
    found = [kept_example(json.loads(line)) for line in (folder / ENDS).read_text(encoding="utf-8").splitlines()]
    assert [(one.end, one.name) for one in found] == [(0, FILES[0]), (1, FILES[2])]
    with closing(running(Request.of(band_gap=1.0, processes=1), folder, overwrite=True)) as searches:
        next(searches)
    assert not (folder / ENDS).exists()
