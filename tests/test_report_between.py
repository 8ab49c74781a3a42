"""The way between two requests on the map of a report: where it goes, what is told, and runs that have none."""

import json
import math
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TEXTBOOK
from report_folders import candidate, design_folder, with_report

from matgen import __version__
from matgen.generation.kept_ends import MOST, KeptExample, evenly, kept_example, write_ends
from matgen.generation.request import Request
from matgen.report.data import report_data
from matgen.report.interpolation import End, path_record, positions
from matgen.report.runs import signature
from matgen.structures.candidate import Prediction
from matgen.structures.export import CandidateWriter
from matgen.structures.run_folder import ENDS
from matgen.structures.run_report import RunInfo
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


# ---------------------------------------------------------------- what was asked for


def test_the_targets_of_both_requests_are_told(tmp_path: Path) -> None:
    data = report_data(between_folder(tmp_path))
    assert [(end["name"], [one["text"] for one in end["targets"]]) for end in data["ends"]] == [
        ("salt", ["1 ± 0.25 eV"]),
        ("arsenide", ["3 ± 0.25 eV"]),
    ]
    said = (
        "crystals between two requests: salt, with a PBE band gap of 1 ± 0.25 eV, and "
        "arsenide, with a PBE band gap of 3 ± 0.25 eV"
    )
    assert (data["asked"], data["title"]) == (said, f"Design of {said}")
    (histogram,) = data["histograms"]
    assert [(band["of"], band["low"], band["high"]) for band in histogram["bands"]] == [
        ("salt", 0.75, 1.25),
        ("arsenide", 2.75, 3.25),
    ]
    assert histogram["after"] == [1.4, 1.4, 1.4]
    assert "histogram" not in data["missing"]


def test_a_property_that_one_request_asks_for_has_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[targets]\nenergy_above_hull = '<=0.05'\n", encoding="utf-8")
    (tmp_path / "b.toml").write_text("[composition]\nprefer = ['count(O) <= 3']\n", encoding="utf-8")
    request = Request.of(between=[str(tmp_path / f"{name}.toml") for name in "ab"])
    run = CandidateWriter(tmp_path / "run", RunInfo(__version__, 0, identity(request).configuration, {}))
    one = candidate(FILES[0])
    predicted = {**one.properties, "energy_above_hull": Prediction(0.02, 0.01, "eV/atom", 0.01, math.nan)}
    with run as writer:
        writer.write(replace(one, properties=predicted))
    data = report_data(tmp_path / "run")
    keys = [one["key"] for one in data["columns"]]
    assert "energy_above_hull" in keys
    assert "band_gap" not in keys
    assert data["asked"].endswith("two requests: a, with an energy above hull of at most 0.05 eV/atom, and b")
    assert [histogram["name"] for histogram in data["histograms"]] == ["energy_above_hull"]


def test_requests_without_targets_say_so(tmp_path: Path) -> None:
    paths = requests(tmp_path, FILES[0], FILES[2])
    for path in paths:
        text = Path(path).read_text(encoding="utf-8")
        Path(path).write_text(text.split("[targets]")[0], encoding="utf-8")
    run = design_folder(tmp_path / "run", FILES)
    with_report(run, configuration=identity(Request.of(between=paths)).configuration)
    data = report_data(run)
    assert data["asked"] == "crystals between two requests: salt and arsenide"
    assert data["missing"]["histogram"] == "Neither of the two requests has a target of a property."


def test_targets_that_are_not_understood_are_told_by_the_name_of_their_request(tmp_path: Path) -> None:
    run = between_folder(tmp_path)
    configuration = json.loads((run / "run.json").read_text(encoding="utf-8"))["configuration"]
    configuration["between"]["ends"][1]["targets"] = {"band_gap": "about three"}
    with_report(run, configuration=configuration)
    notes = report_data(run)["run"]["notes"]
    assert any(note.startswith("Of arsenide: The target band_gap = about three is not understood") for note in notes)


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


@pytest.mark.parametrize("number", ["recorded", "counted"])
def test_of_many_examples_an_even_sample_is_drawn_and_their_number_told(tmp_path: Path, number: str) -> None:
    """A file of an earlier version holds all, without their number."""
    folder = between_folder(tmp_path)
    first, *rest = map(json.loads, (folder / ENDS).read_text(encoding="utf-8").splitlines())
    third = json.loads(json.dumps(rest[0]))  # the second half of the examples is another material
    n, of = (2 * MOST, 0) if number == "counted" else (MOST, 2100)
    many = [{**(first if i < n / 2 else {**third, "end": 0}), "of": of, "name": f"{i}"} for i in range(n)]
    (folder / ENDS).write_text("".join(f"{json.dumps(one)}\n" for one in [*many, *rest]), encoding="utf-8")
    path = report_data(folder)["map"]["path"]
    points = path["ends"][0]["points"]
    assert len(points) == MOST
    assert [point[2] for point in points] == [str(i) for i in range(0, n, n // MOST)]
    sides = np.array([points[0][:2], points[-1][:2]])
    assert path["ends"][0]["middle"] == pytest.approx(sides.mean(axis=0), abs=0.002)
    told = "100 of 2,100" if number == "recorded" else "100 of 200"
    assert f"Diamonds: {told} examples of salt and the example of arsenide" in path["text"]
    assert f"from the mean of {told} examples of salt over" in path["text"]
    assert "cannot be placed" not in path["text"]


def test_a_sample_is_even() -> None:
    assert evenly(range(5)) == [0, 1, 2, 3, 4]
    assert evenly([]) == []
    steps = np.diff(evenly(range(2099)))
    assert len(steps) == MOST - 1
    assert set(steps) == {20, 21}


@pytest.mark.parametrize("material", ["CCO", {"charge": 0, "species": ["H"], "cart_coords": [[0.0, 0.0, 0.0]]}])
def test_an_example_of_the_other_kind_has_no_place(tmp_path: Path, material: object) -> None:
    folder = between_folder(tmp_path)
    lines = [json.loads(line) for line in (folder / ENDS).read_text(encoding="utf-8").splitlines()]
    other = {**lines[0], "name": "foreign", "material": material}
    for text, of_salt in (
        ("No example of salt can be placed", [other]),
        ("1 example of salt cannot", [lines[0], other]),
    ):
        (folder / ENDS).write_text("".join(f"{json.dumps(one)}\n" for one in [*of_salt, lines[1]]), encoding="utf-8")
        path = report_data(folder)["map"]["path"]
        assert text in path["text"]
        assert "expected a crystal, got a molecule in foreign" in path["text"]
        assert len(path["ends"][0]["points"]) == len(of_salt) - 1
        assert len(path["ends"][1]["points"]) == 1


@pytest.mark.parametrize("change", [{"end": True}, {"end": 1.0}, {"name": 3}, {"of": -1}, {"of": True}, {"of": "2"}])
def test_records_of_other_types_are_no_examples(change: dict[str, object]) -> None:
    good = {"end": 1, "name": "x", "material": "C", "of": 2}
    assert kept_example(good) == KeptExample(1, "x", "C", 2)
    with pytest.raises((TypeError, ValueError), match="expected"):
        kept_example(good | change)


def test_ends_at_one_place_are_told(tmp_path: Path) -> None:
    path = report_data(between_folder(tmp_path, FILES[0], FILES[0]))["map"]["path"]
    assert "along" not in path
    assert "Both ends, salt and arsenide, are at the same place, so that nothing has a position" in path["text"]


def test_requests_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folder = between_folder(tmp_path)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    run["configuration"]["between"]["requests"] = ["x/same.toml", "y/same.toml"]
    with_report(folder, configuration=run["configuration"])
    path = report_data(folder)["map"]["path"]
    assert [end["name"] for end in path["ends"]] == ["same (A)", "same (B)"]


def test_one_candidate_is_its_own_mean() -> None:
    a, b = (
        End("crystal", name, ((KeptExample(i, "", "C"), np.full(331, float(i))),), total=1)
        for i, name in enumerate("ab")
    )
    record = path_record((a, b), {"one": np.full(331, 0.25)}, 1.0)
    assert record["middle_along"] == record["along"]["one"] == [0.25, 0.0]
    assert "100 % of that of a and 0 % of that of b" in record["text"]
    assert "from a over the candidate (a cross) to b" in record["text"]
    assert "it lies at 25 % of the straight way from a to b" in record["text"]
    assert "mean" not in record["text"]
    several = path_record((a, b), {"one": np.full(331, 0.25), "two": np.full(331, 0.75)}, 1.0)
    assert "this mean lies at 50 %" in several["text"]


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


def test_of_many_examples_a_sample_is_kept_with_their_number(tmp_path: Path) -> None:
    smiles = ["CCO", "CCN"] * (MOST // 2 + 6)
    (tmp_path / "some.smi").write_text("".join(f"{one}\n" for one in smiles), encoding="utf-8")
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text(
            f'kind = "molecule"\nlike = ["{tmp_path / "some.smi"}"]\n[targets]\ngap = 5\n', encoding="utf-8"
        )
    request = Request.of(kind="molecule", between=[str(tmp_path / f"{name}.toml") for name in "ab"])
    write_ends(request, tmp_path)
    found = [kept_example(json.loads(line)) for line in (tmp_path / ENDS).read_text(encoding="utf-8").splitlines()]
    assert [sum(one.end == end for one in found) for end in (0, 1)] == [MOST, MOST]
    assert {one.of for one in found} == {len(smiles)}


def test_a_page_is_made_anew_when_examples_are_written(tmp_path: Path) -> None:
    folder = between_folder(tmp_path)
    before = signature(folder)
    text = (folder / ENDS).read_text(encoding="utf-8")
    (folder / ENDS).write_text(text + text.splitlines()[0] + "\n", encoding="utf-8")
    assert signature(folder) != before
