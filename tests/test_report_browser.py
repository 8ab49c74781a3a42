"""The page of a report in a real browser: it shows, sorts, filters, compares, draws in 3D, and fetches nothing."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report_example import example, with_path
from report_folders import design_folder, molecule_folder, with_report

from matgen.hull.hull import IMPLAUSIBLE
from matgen.report.data import report_data
from matgen.report.page import report_html
from matgen.report.scripts import in_order, scoped

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
REQUIRED = os.environ.get("MATGEN_CHROMIUM") == "required"

if not REQUIRED:
    pytest.importorskip("playwright", reason='playwright is not installed: pip install "playwright>=1.49"')
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH; MATGEN_CHROMIUM=required makes this an error", allow_module_level=True)

from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright  # noqa: E402 (after the skip)

FLAT = ("--no-sandbox", "--disable-gpu", "--disable-3d-apis")
"""Without WebGL, which most tests do without: a renderer in software makes everything slow."""

SOLID = ("--no-sandbox", "--disable-gpu-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
ASSETS = files("matgen.report") / "assets"
PATIENCE = 60_000  # ms: a software renderer on a busy machine

Open = Callable[..., Page]

expect.set_options(timeout=PATIENCE)


class Browsers:
    """A browser with WebGL and one without, each started when it is first asked for."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._started: dict[tuple[str, ...], Browser] = {}

    def get(self, *, solid: bool) -> Browser:
        flags = SOLID if solid else FLAT
        if flags not in self._started:
            launch = self._playwright.chromium.launch
            self._started[flags] = launch(executable_path=CHROMIUM, args=[*flags], timeout=PATIENCE)
        return self._started[flags]

    def close(self) -> None:
        for browser in self._started.values():
            browser.close()


@pytest.fixture(scope="module")
def browsers() -> Iterator[Browsers]:
    with sync_playwright() as playwright:
        started = Browsers(playwright)
        yield started
        started.close()


@pytest.fixture
def open_page(browsers: Browsers, tmp_path: Path) -> Iterator[Open]:
    """Opens a report from disk, offline; when the test ends, nothing may have been complained of or asked for."""
    contexts, complaints, requests = [], [], []

    def opened(data: dict[str, Any], viewport: dict[str, int] = WIDE, *, solid: bool = False, **settings: Any) -> Page:
        path = tmp_path / "report.html"
        path.write_text(report_html(data), encoding="utf-8")
        context = browsers.get(solid=solid).new_context(viewport=viewport, offline=True, **settings)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "blob:", "data:"))] == []
    assert {url.split("#")[0] for url in requests if url.startswith("file:")} <= {(tmp_path / "report.html").as_uri()}


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return example(12)


def shown_ids(page: Page) -> list[str]:
    return page.locator("table.candidates tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.id)")


def expected(data: dict[str, Any], key: Callable[[dict[str, Any]], Any]) -> list[str]:
    return [one["id"] for one in sorted(data["candidates"], key=key)]


def sort_by(page: Page, key: str) -> None:
    page.locator(f'[data-sort="{key}"]').click()


def colours(locator: Locator) -> int:
    """How many colours a picture of an element has."""
    image = Image.open(BytesIO(locator.screenshot())).convert("RGB")
    return len(image.getcolors(maxcolors=image.width * image.height) or [])


# ---------------------------------------------------------------- what is seen


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_is_wider_than_the_window(open_page: Open, data: dict[str, Any], viewport: dict[str, int]) -> None:
    page = open_page(data, viewport)
    for view in ("Table", "Cards"):
        page.get_by_role("button", name=view, exact=True).click()
        for top in range(0, page.evaluate("document.documentElement.scrollHeight"), 700):  # all figures come into view
            page.evaluate(f"window.scrollTo(0, {top})")
            page.wait_for_timeout(30)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        image = page.screenshot(full_page=True)
        assert len(image) > 50_000
        if folder := os.environ.get("MATGEN_SCREENSHOTS"):
            Path(folder, f"{view}-{viewport['width']}.png").write_bytes(image)


def test_the_heading_says_what_was_asked_and_what_came(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    assert page.locator("h1").inner_text() == "12 crystals with a PBE band gap of 1.5 ± 0.25 eV"
    assert "30 proposals rejected, most often: not charge neutral (20)" in page.locator(".lead").inner_text()


def test_formulas_and_space_groups_are_set_as_people_write_them(open_page: Open, data: dict[str, Any]) -> None:
    one = {**data["candidates"][0], "formula": "Fe2(SO4)3", "spacegroup": {"number": 194, "symbol": "P6_3/mmc"}}
    other = {**data["candidates"][1], "spacegroup": {"number": 225, "symbol": "Fm-3m"}}
    page = open_page({**data, "candidates": [one, other]})
    row = page.locator("table.candidates tbody tr").first
    assert row.locator(".formula sub").all_inner_texts() == ["2", "4", "3"]
    assert row.locator(".symbol sub").all_inner_texts() == ["3"]
    assert page.locator("table.candidates tbody tr").nth(1).locator(".overline").inner_text() == "3"


def test_every_figure_has_a_table_that_says_the_same(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    figures = page.locator("figure:has(> details)")
    assert figures.count() >= 8
    for i in range(figures.count()):
        figure = figures.nth(i)
        figure.locator("> details > summary").click()
        expect(figure.locator("tbody tr").nth(1)).to_be_attached()  # at least two rows, made once it is open
        assert figure.locator(".drawing").get_attribute("aria-label")
        figure.locator(".drawing svg").first.wait_for()


def test_a_powder_peak_of_rock_salt_is_labelled(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page({**data, "candidates": example(2, "NaCl*")["candidates"][:1]})
    figure = page.locator("figure", has_text="Powder pattern")
    assert "(2 0 0) at 31.7" in figure.locator("figcaption").inner_text()


# ---------------------------------------------------------------- order and filters


@pytest.mark.parametrize("key", ["band_gap", "e_above_hull"])
def test_heads_sort_in_both_directions(open_page: Open, data: dict[str, Any], key: str) -> None:
    page = open_page(data)
    sort_by(page, key)
    assert shown_ids(page) == expected(data, lambda one: one["values"][key])
    assert page.locator("th[aria-sort=ascending]").count() == 1
    sort_by(page, key)
    values = {one["id"]: one["values"][key] for one in data["candidates"]}
    found = [values[one] for one in shown_ids(page)]
    assert found == sorted(found, reverse=True)
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_missing_values_come_last_in_both_directions(open_page: Open, data: dict[str, Any]) -> None:
    first, *others = data["candidates"]
    bare = {**first, "values": {**first["values"], "band_gap": None}}
    page = open_page({**data, "candidates": [bare, *others]})
    for _ in range(2):
        sort_by(page, "band_gap")
        assert shown_ids(page)[-1] == first["id"]


def test_words_filter_by_formula_and_name(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.locator("#search").fill("wurtzite")
    names = {one["id"] for one in data["candidates"] if "wurtzite" in one["name"]}
    assert names
    assert set(shown_ids(page)) == names
    assert f"{len(names)} of 12" in page.locator("#section-candidates").inner_text()


def test_a_verdict_filters(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.locator("#verdict-filter").select_option("failed: target_band_gap")
    assert shown_ids(page) == [one["id"] for one in data["candidates"] if not one["accepted"]]
    page.locator("#verdict-filter").select_option("open: phonons")
    assert len(shown_ids(page)) == 12


def test_a_range_filters_and_can_be_cleared(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.locator("summary", has_text="Ranges").click()
    page.locator('[data-range="band_gap least"]').fill("1.25")
    page.locator('[data-range="band_gap most"]').fill("1.75")
    assert shown_ids(page) == [one["id"] for one in data["candidates"] if 1.25 <= one["values"]["band_gap"] <= 1.75]
    page.get_by_role("button", name="Clear").first.click()
    assert len(shown_ids(page)) == 12


def test_columns_can_be_chosen(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.locator("summary", has_text="Columns").click()
    page.get_by_label("Prototype").uncheck()
    assert page.locator('[data-sort="prototype"]').count() == 0
    assert page.locator('[data-sort="band_gap"]').count() == 1


def test_the_shown_rows_are_downloaded_as_csv(open_page: Open, data: dict[str, Any]) -> None:
    nasty = {**data["candidates"][0], "formula": '=1+1,"x"'}
    page = open_page({**data, "candidates": [nasty, *data["candidates"][1:]]})
    sort_by(page, "band_gap")
    with page.expect_download() as download:
        page.locator("#download-csv").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows] == shown_ids(page)
    assert [float(row["band_gap"]) for row in rows] == sorted(one["values"]["band_gap"] for one in data["candidates"])
    (row,) = [row for row in rows if row["id"] == nasty["id"]]
    assert row["formula"] == '\'=1+1,"x"'  # a spreadsheet would run what starts with =


def test_ten_thousand_rows_are_paged_and_sorted(open_page: Open, data: dict[str, Any]) -> None:
    rows = [[f"{i}.cif", "NaCl", i % 2, (i * 7919) % 10_000] for i in range(10_000)]
    rest = {"keys": ["id", "formula", "accepted", "band_gap"], "rows": rows}
    page = open_page({**data, "candidates": data["candidates"][:1], "rest": rest})
    assert len(shown_ids(page)) == 100
    sort_by(page, "band_gap")
    assert shown_ids(page)[0] == "0.cif"
    page.get_by_role("button", name="Later").click()
    assert page.locator(".pages").inner_text().split("\n")[1].startswith("101 to 200 of 10,001")


# ---------------------------------------------------------------- one candidate


def test_choosing_a_row_shows_the_candidate_and_names_it_in_the_address(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    other = data["candidates"][4]
    page.locator(f'.row-link[data-id="{other["id"]}"]').click()
    assert page.locator("#detail-title").inner_text().replace("\n", "") == other["formula"]
    assert page.evaluate("decodeURIComponent(location.hash)") == f"#{other['id']}"
    assert page.evaluate("document.activeElement.id") == "detail-title"
    page.reload()
    assert page.locator("#detail-title").inner_text().replace("\n", "") == other["formula"]


def test_two_to_four_are_compared(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    boxes = page.locator("tbody .compare-cell input")
    boxes.nth(0).check()
    assert page.locator("#compare").is_disabled()
    boxes.nth(2).check()
    page.locator("#compare").click()
    dialog = page.locator("dialog[open]")
    ids = [data["candidates"][i]["id"] for i in (0, 2)]
    assert dialog.locator("thead code").all_inner_texts() == ids
    assert dialog.locator("thead svg.sketch circle").count() > 4
    gaps = [f"{data['candidates'][i]['values']['band_gap']:.2f}" for i in (0, 2)]
    assert dialog.locator("tr", has_text="Band gap (eV)").first.locator("td").all_inner_texts() == gaps
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    for i in (4, 5, 6):
        boxes.nth(i).check()
    assert page.locator("tbody .compare-cell input:checked").count() == 4  # the first gives way


def test_the_structure_is_drawn_in_3d(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data, solid=True)
    page.locator(".detail").scroll_into_view_if_needed()
    page.locator(".stage-3d canvas").first.wait_for()
    page.locator(".viewer-controls").wait_for()
    plain = colours(page.locator(".stage-3d"))
    assert plain > 50  # a blank canvas has one, its frame a few more
    page.get_by_label("Polyhedra").select_option(index=1)
    page.get_by_label("Cells").select_option("2")
    assert colours(page.locator(".stage-3d")) > 50
    assert page.locator("canvas").count() <= 2


def test_the_structure_turns_by_key(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data, solid=True)
    page.locator(".detail").scroll_into_view_if_needed()
    page.locator(".viewer-controls").wait_for()
    stage = page.locator(".stage-3d")
    stage.focus()
    before = stage.screenshot()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert stage.screenshot() != before


def test_the_trajectory_plays_and_pauses(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    player = page.locator(".trajectory")
    player.scroll_into_view_if_needed()
    slider = player.locator("input[type=range]")
    assert slider.get_attribute("max") == "2"
    slider.fill("0")
    assert player.locator("output").inner_text() == "1 of 3 · step 0 · energy 3.00"
    player.get_by_role("button").click()
    expect(slider).to_have_value("2")
    assert player.locator("output").inner_text() == "3 of 3 · step 2 · energy 1.00"


def test_energies_of_two_units_are_never_one_line(open_page: Open, data: dict[str, Any]) -> None:
    """The sampler's energy has no unit, that of the relaxation after it is in eV/atom."""
    first, *others = data["candidates"]
    frame = {**first["walk"]["frames"][0], "stage": "langevin", "label": ""}
    energies = [(-50.0, "dimensionless"), (-52.135, "dimensionless"), (-5.0, "eV/atom"), (-5.09, "eV/atom")]
    frames = [{**frame, "energy": energy, "unit": unit} for energy, unit in energies]
    page = open_page({**data, "candidates": [{**first, "walk": {"frames": frames}}, *others]})
    player = page.locator(".trajectory")
    player.scroll_into_view_if_needed()
    assert player.locator("output").inner_text() == "4 of 4 · energy −5.09 eV/atom"
    assert "energy (eV/atom)" in player.locator(".drawing").text_content()
    assert player.locator(".drawing [aria-label=line] path").get_attribute("d").count("L") == 1
    player.locator("input[type=range]").fill("1")
    assert player.locator("output").inner_text() == "2 of 4 · energy −52.13 dimensionless"
    assert "energy (dimensionless)" in player.locator(".drawing").text_content()
    assert evaluated(page, "trajectory", f"m.alike({json.dumps(frames)}, 2).map((row) => row.frame)") == [2, 3]


def test_what_was_calculated_has_no_spread(open_page: Open, data: dict[str, Any]) -> None:
    first, *others = data["candidates"]
    gap = {"name": "gpaw_gap", "label": "GPAW gap", "unit": "eV", "value": 1.4, "source": "calculated"}
    without = {"aleatoric": None, "epistemic": None, "low": None, "high": None, "probability": None, "text": None}
    page = open_page({**data, "candidates": [{**first, "predictions": [{**gap, **without}]}, *others]})
    block = page.locator(".block", has=page.locator("h4", has_text="Predictions"))
    assert block.locator("figcaption").inner_text() == "calculated 1.40 eV"
    assert "spread" not in block.inner_text()
    block.scroll_into_view_if_needed()
    block.locator("figure svg").wait_for()


def test_the_file_is_copied_or_shown(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.get_by_role("button", name="Copy CIF").click()
    place = page.locator(".copied")
    expect(place).not_to_be_empty()
    if place.locator("textarea").count():
        assert place.locator("textarea").input_value() == data["candidates"][0]["structure"]["text"]
    else:
        assert place.inner_text() == "Copied."


def test_without_webgl_the_page_says_so_and_shows_the_rest(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.locator(".detail").scroll_into_view_if_needed()
    page.locator(".viewer .note").wait_for()
    assert "WebGL is off or not supported" in page.locator(".viewer .note").inner_text()
    assert page.locator(".stage-3d svg.sketch circle").count() > 4
    assert page.locator(".verdict").count() == 3
    page.locator(".row-link").nth(3).click()
    assert page.locator(".stage-3d svg.sketch circle").count() > 4


def test_a_molecule_is_drawn_with_its_bonds(open_page: Open, data: dict[str, Any]) -> None:
    water = {
        "format": "xyz",
        "text": "3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n",
        "cell": None,
        "symbols": ["O", "H", "H"],
        "positions": [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]],
        "bonds": [[0, 1, 1], [0, 2, 1]],
    }
    one = {"id": "w", "formula": "H2O", "rank": 1, "accepted": True, "values": {}, "structure": water, "n_atoms": 3}
    page = open_page({**data, "kind": "molecule", "candidates": [one]})
    page.locator(".detail").scroll_into_view_if_needed()
    page.locator(".stage-3d svg.sketch").wait_for()
    assert page.locator(".stage-3d .sketch-bond").count() == 2
    assert page.locator(".stage-3d circle").count() == 3


# ---------------------------------------------------------------- page level


def test_points_of_the_map_choose_candidates(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.locator("figure", has_text="Among known materials").scroll_into_view_if_needed()
    marks = page.locator("figure", has_text="Among known materials").locator(".candidate-mark")
    marks.first.wait_for()
    assert marks.count() == 12
    leftmost = min(data["candidates"], key=lambda one: one["map"][0])
    marks.first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#detail-title").inner_text().replace("\n", "") == leftmost["formula"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    second = sorted(data["candidates"], key=lambda one: one["map"][0])[1]
    assert page.evaluate("decodeURIComponent(location.hash)") == f"#{second['id']}"


def test_the_map_shows_the_way_between_two_requests(open_page: Open, data: dict[str, Any]) -> None:
    between = with_path(data)
    page = open_page(between)
    figure = page.locator("figure", has_text="Among known materials")
    figure.scroll_into_view_if_needed()
    figure.locator(".candidate-mark").first.wait_for()
    line = figure.locator('[aria-description="Way between the requests"] path')
    assert len(line.get_attribute("d").split("L")) == 3  # three stations
    assert figure.locator('[aria-description="Mean of the candidates"] path').count() == 1
    examples = figure.locator('[aria-description="Examples of the requests"] path')
    named = [f"{end['name']}: {name}" for end in between["map"]["path"]["ends"] for _, _, name in end["points"]]
    assert examples.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))") == named
    assert figure.locator('[aria-description="Names of the requests"] text').all_text_contents() == ["a", "b"]
    box = figure.locator(".drawing").bounding_box()
    for i in range(examples.count()):  # the axes hold the ends, although they lie beyond all other points
        place = examples.nth(i).bounding_box()
        assert box["x"] <= place["x"] <= place["x"] + place["width"] <= box["x"] + box["width"]
    assert "At alpha = 0.3." in figure.locator("figcaption").inner_text()
    assert "from a to b" in figure.locator(".drawing").get_attribute("aria-label")
    figure.locator("summary").click()
    figure.locator("table").wait_for()
    rows = [row.split("\t") for row in figure.locator("table").inner_text().splitlines()[1:]]
    assert [row[0] for row in rows[1:3]] == named[:2]
    assert [row[0] for row in rows[-2:]] == ["mean of the candidates", named[2]]
    shares = [int(row[3].rstrip(" %").replace("\N{MINUS SIGN}", "-")) for row in rows[3:-2]]
    assert shares == sorted(shares)
    assert len(shares) == len(data["candidates"])


def apart(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two boxes do not intersect."""
    return any(
        one[x] + one[side] <= other[x] or other[x] + other[side] <= one[x]
        for x, side in (("x", "width"), ("y", "height"))
    )


@pytest.mark.parametrize(
    "others", [[], [[-2.95, 1.4, "four.cif"], [-2.9, 1.75, "five.cif"]], [[-2.9, 1.05, "four.cif"]]], ids=str
)
def test_names_of_requests_cover_no_example(open_page: Open, data: dict[str, Any], others: list[list[Any]]) -> None:
    """Of three examples the mean lies 10 px below one; those of the other request may lie where the name would."""
    between = with_path(data)
    first, second = between["map"]["path"]["ends"]
    first["points"] = [[-3.1, 0.6, "one.cif"], [-3.0, 1.12, "two.cif"], [-2.9, 1.1, "three.cif"]]
    first["middle"] = [-3.0, 0.94]
    first["name"], second["name"] = "a rather long name", "another"
    second["points"] += others
    page = open_page(between)
    figure = page.locator("figure", has_text="Among known materials")
    figure.scroll_into_view_if_needed()
    figure.locator(".candidate-mark").first.wait_for()
    names = [one.bounding_box() for one in figure.locator('[aria-description="Names of the requests"] text').all()]
    diamonds = [
        one.bounding_box() for one in figure.locator('[aria-description="Examples of the requests"] path').all()
    ]
    assert (len(names), len(diamonds)) == (2, 4 + len(others))
    assert all(apart(name, diamond) for name in names for diamond in diamonds)
    assert apart(*names)
    drawing = figure.locator(".drawing svg").first.bounding_box()
    assert all(drawing["y"] <= name["y"] for name in names)


def test_one_candidate_is_called_no_mean_in_the_table(open_page: Open, data: dict[str, Any]) -> None:
    between = with_path({**data, "candidates": data["candidates"][:1]})
    page = open_page(between)
    figure = page.locator("figure", has_text="Among known materials")
    figure.scroll_into_view_if_needed()
    figure.locator(".candidate-mark").first.wait_for()
    assert figure.locator('[aria-description="Mean of the candidates"] title').text_content() == "the candidate"
    figure.locator("summary").click()
    figure.locator("table").wait_for()
    rows = [row.split("\t") for row in figure.locator("table").inner_text().splitlines()[1:]]
    assert rows[-2][0] == "the candidate"


def test_the_targets_of_two_requests_are_shown_with_their_names(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(with_path(data))
    asked = page.locator(".heading .targets li")
    assert asked.all_inner_texts() == ["a: PBE band gap\n1 eV", "b: PBE band gap\nat least 3 eV"]
    assert tile(page, "PBE band gap").startswith("1.")
    figure = page.locator("figure", has_text="PBE band gap, before and after")
    figure.scroll_into_view_if_needed()
    bands = figure.locator('[aria-description="Target"] rect')
    bands.first.wait_for()
    assert bands.count() == 2
    said = figure.locator("figcaption").inner_text()
    assert "Shaded: the target of each request, a 1 eV, b at least 3 eV; neither has to be met." in said


def test_a_table_of_many_columns_scrolls_within_its_figure_on_a_phone(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(with_path(data), PHONE)
    figure = page.locator("figure", has_text="Among known materials")
    figure.scroll_into_view_if_needed()
    figure.locator(".candidate-mark").first.wait_for()
    before = figure.bounding_box()
    figure.locator("summary").click()
    figure.locator("table").wait_for()
    assert figure.bounding_box()["width"] == before["width"] <= PHONE["width"]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_a_map_without_two_requests_shows_none(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    figure = page.locator("figure", has_text="Among known materials")
    figure.scroll_into_view_if_needed()
    figure.locator(".candidate-mark").first.wait_for()
    assert figure.locator("[aria-description], .path-text").count() == 0
    figure.locator("summary").click()
    figure.locator("table").wait_for()
    assert figure.locator("thead th").count() == 3


def test_molecules_show_their_nearest_and_their_map(open_page: Open, tmp_path: Path) -> None:
    unknown = "C" * 12
    molecules = report_data(molecule_folder(tmp_path / "run", ("CCO", unknown, "CC(=O)C")))
    page = open_page(molecules)
    title = molecules["candidates"][0]["nearest"]["title"]
    block = page.locator(".detail .block", has_text="Nearest of a sample of")
    block.wait_for()
    shown = block.inner_text()
    for said in (title, "CCO is itself known", "other one of the sample is", "another known molecule may be nearer"):
        assert said in shown
    assert "Nearest known" not in page.locator("main").inner_text()
    figure = page.locator("figure", has_text="Among known materials")
    figure.scroll_into_view_if_needed()
    figure.locator(".candidate-mark").first.wait_for()
    assert figure.locator(".candidate-mark").count() == 3
    assert "known molecules" in figure.locator(".drawing").get_attribute("aria-label")
    for box in page.locator("tbody .compare-cell input").all()[:2]:
        box.check()
    page.locator("#compare").click()
    row = page.locator("dialog tr", has_text="Nearest of a sample of")
    row.wait_for()
    near = molecules["candidates"][1]["nearest"]
    assert row.locator("td").all_text_contents() == [
        "CCO similarity 1.00, itself known",
        f"{near['name']} similarity {near['similarity']:.2f}",
    ]
    assert page.locator("dialog tr", has_text="Space group").count() == 0
    assert page.locator("dialog tr", has_text="Lattice").count() == 0


def test_the_counts_of_the_stages_are_those_of_the_run(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    figure = page.locator("figure", has_text="From stage to stage")
    figure.scroll_into_view_if_needed()
    figure.locator("svg.sankey").wait_for()
    texts = " ".join(figure.locator("svg text").all_text_contents())
    for said in ("proposed 42", "relaxed 22", "candidates 12", "rejected: known 10"):
        assert said in texts


def tile(page: Page, label: str) -> str:
    return page.locator(".tile", has=page.get_by_text(label, exact=True)).locator("dd").inner_text()


def test_the_tile_of_proposals_says_what_the_stages_say(open_page: Open, data: dict[str, Any]) -> None:
    """Rejected ones and those shown are fewer than were proposed where some were never decided on, or are not shown."""
    stages = [*data["stages"], {"from": "proposed", "to": "left when enough were found", "count": 21}]
    page = open_page({**data, "stages": stages, "candidates": data["candidates"][:5]})
    assert tile(page, "Proposals").startswith("63")
    assert tile(page, "Candidates").startswith("12")
    label = page.locator("figure", has_text="From stage to stage").locator(".drawing").get_attribute("aria-label")
    assert label.startswith("63 at the start")


def test_an_implausible_energy_is_not_counted_as_stable(open_page: Open, data: dict[str, Any]) -> None:
    heights = (-0.45, -0.01, 0.02)
    some = [
        {**one, "decomposition": {"e_above_hull": height}}
        for one, height in zip(data["candidates"], heights, strict=False)
    ]
    page = open_page({**data, "candidates": some})
    said = tile(page, "On or below the hull")
    assert said.startswith("1 of 3")
    assert "lowest −0.010 eV/atom; 1 implausible, more than 0.3 eV/atom below it" in said
    limit = (ASSETS / "summary.js").read_text(encoding="utf-8")
    assert f"const IMPLAUSIBLE = {IMPLAUSIBLE:g};" in limit


def test_the_command_is_shown_as_it_was_given_or_else_the_settings(open_page: Open, data: dict[str, Any]) -> None:
    section = open_page(data).locator("#section-run")
    assert section.locator("code.command").count() == 0
    assert section.locator(".settings dt").all_inner_texts() == ["--bandgap", "-n"]
    assert section.locator(".settings dd").all_inner_texts() == ["1.5", "12"]
    given = "matgen design --bandgap 1.5 --rule 'Li implies O'"
    page = open_page({**data, "run": {**data["run"], "command_line": given}})
    assert page.locator("#section-run code.command").inner_text() == given
    assert page.locator(".settings").count() == 0


def test_runs_of_one_title_keep_their_own_choices(open_page: Open, data: dict[str, Any], tmp_path: Path) -> None:
    page = open_page(data)
    page.locator("#search").fill("wurtzite")
    kept = page.evaluate("Object.keys(sessionStorage)")
    assert [(tmp_path / "report.html").as_uri().removeprefix("file://") in key for key in kept] == [True]
    for text in ("no JSON {", "null"):
        page.evaluate("([key, text]) => sessionStorage.setItem(key, text)", [kept[0], text])
        page.goto("about:blank")
        page.go_back()
        assert len(shown_ids(page)) == 12


# ---------------------------------------------------------------- keys, colours, paper


def test_the_list_is_walked_by_arrow_keys(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.locator(".row-link").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator('.row-link[aria-current="true"]').get_attribute("data-id") == data["candidates"][2]["id"]
    assert page.evaluate("document.activeElement.dataset.id") == data["candidates"][2]["id"]


def test_keys_are_told_work_and_can_be_turned_off(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.keyboard.press("?")
    assert "Next candidate" in page.locator("dialog[open]").inner_text()
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")  # keys act on the page again once it is closed
    page.keyboard.press("j")
    assert page.locator("tr.selected").get_attribute("data-id") == data["candidates"][1]["id"]
    page.keyboard.press("/")
    page.keyboard.type("jjj")
    assert page.locator("#search").input_value() == "jjj"
    page.locator("#search").fill("")
    page.locator("#search").blur()
    page.keyboard.press("?")
    page.locator("#use-keys").uncheck()
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")  # keys act on the page again once it is closed
    page.keyboard.press("j")
    assert page.locator("tr.selected").get_attribute("data-id") == data["candidates"][1]["id"]


def test_every_control_is_reached_by_tab_and_seen(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page({**data, "candidates": data["candidates"][:2]})
    controls = page.locator("button:visible, a:visible, input:visible, select:visible, summary:visible").evaluate_all(
        "all => all.filter((one) => !one.disabled && one.tabIndex >= 0).length"
    )
    seen = set()
    for _ in range(controls + 40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            if len(seen) >= controls:
                break
            continue
        place, outline = page.evaluate(
            """() => {
              const one = document.activeElement;
              const style = getComputedStyle(one);
              return [[...document.querySelectorAll('*')].indexOf(one), style.outlineStyle + style.stroke];
            }"""
        )
        assert not outline.startswith("none") or "rgb" in outline
        seen.add(place)
    assert len(seen) >= controls


def test_it_has_landmarks_and_no_level_of_heading_is_skipped(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    for landmark in ("header", "main", "footer", "nav"):
        assert page.locator(landmark).count() >= 1
    levels = page.locator("h1, h2, h3, h4, h5").evaluate_all("all => all.map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    nameless = page.locator("button, a, input, select, summary").evaluate_all(
        """all => all.filter((one) => !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length))
                     .map((one) => one.outerHTML)"""
    )
    assert nameless == []


def brightness(page: Page) -> float:
    red, green, blue = json.loads(
        page.evaluate("JSON.stringify(getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number))")
    )[:3]
    return (red + green + blue) / 765


def test_it_is_dark_where_the_system_is_and_the_button_overrules(open_page: Open, data: dict[str, Any]) -> None:
    assert brightness(open_page(data, color_scheme="light")) > 0.8
    page = open_page(data, color_scheme="dark")
    assert brightness(page) < 0.2
    page.locator("#theme").click()  # from the system's to dark
    page.locator("#theme").click()
    assert brightness(page) > 0.8
    page.reload()
    assert brightness(page) > 0.8


def test_on_paper_every_candidate_is_open_and_nothing_can_be_pressed(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(data)
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    titles = page.locator("#paper h3").all_inner_texts()
    assert len([title for title in titles if title]) == 12
    assert page.locator("#paper .verdict:visible").count() == 36
    assert page.locator("#paper svg.sketch:visible").count() == 12
    assert page.locator("button:visible:not(.sort)").count() == 0
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("#paper").count() == 0


# ---------------------------------------------------------------- bad input


def test_markup_in_names_is_text(open_page: Open, data: dict[str, Any]) -> None:
    nasty = "</script><img src=x onerror=\"document.title='run'\">"
    one = data["candidates"][0]
    verdicts = [{"name": nasty, "passed": False, "reason": nasty}]
    terms = [{"name": nasty, "value": 1.0, "meaning": nasty}]
    changed = {**one, "id": nasty, "name": nasty, "formula": nasty, "verdicts": verdicts, "energy_terms": terms}
    page = open_page({**data, "title": nasty, "asked": nasty, "candidates": [changed], "missing": {"map": nasty}})
    page.locator("tbody .compare-cell input").first.check()
    assert page.locator("img").count() == 0
    assert page.title() == nasty
    assert nasty in page.locator(".verdict").first.inner_text()


@pytest.mark.parametrize("command", ["design", "evaluate"])
def test_four_keys_are_enough(open_page: Open, command: str) -> None:
    page = open_page({"schema": 1, "title": "nothing", "command": command, "kind": "crystal"})
    assert page.locator("h1").inner_text() == "nothing"
    if command != "evaluate":
        assert "This run has no candidates." in page.locator("#section-candidates").inner_text()


def test_a_run_says_once_that_it_was_interrupted(open_page: Open, tmp_path: Path) -> None:
    folder = design_folder(tmp_path / "run", ("NaCl_rock_salt.cif",))
    with_report(folder, status="interrupted")
    page = open_page(report_data(folder))
    notes = page.locator(".heading .note").all_inner_texts()
    assert [note for note in notes if "interrupted" in note] == [note for note in notes if "resumes it" in note]
    assert len([note for note in notes if "interrupted" in note]) == 1


def test_an_interrupted_run_and_missing_parts_are_told(open_page: Open, data: dict[str, Any]) -> None:
    page = open_page(
        {
            **data,
            "run": {"state": "interrupted", "notes": ["The run was interrupted.", "An older version made this."]},
            "missing": {"map": "No map: no table."},
        }
    )
    notes = page.locator(".heading .note").all_inner_texts()
    assert notes == [
        "The run was interrupted.",
        "An older version made this.",
    ]
    assert "No map: no table." in page.locator("main").inner_text()


def test_a_candidate_may_lack_any_part(open_page: Open, data: dict[str, Any]) -> None:
    whole = data["candidates"][0]
    parts = sorted(set(whole) - {"id", "formula"})
    lacking = [
        {**{key: value for key, value in whole.items() if key != part}, "id": f"without {part}", "rank": i}
        for i, part in enumerate(parts)
    ]
    page = open_page({**data, "candidates": lacking})
    seen = []
    for _ in parts:
        seen.append(page.locator(".detail-line code").inner_text())
        page.keyboard.press("j")
    assert set(seen) == {f"without {part}" for part in parts}
    for box in page.locator("tbody .compare-cell input").all()[:4]:
        box.check()
    page.locator("#compare").click()
    assert page.locator("dialog[open] thead code").count() == 4


# ---------------------------------------------------------------- geometry


def evaluated(page: Page, module: str, expression: str) -> Any:
    """What an expression of the exports of a module gives; the page is one of a report, whose data the modules read."""
    parts = "\n".join(scoped(name) for name in in_order(module))
    return page.evaluate(f"() => {{ {parts}\nconst m = {module}_module; return {expression}; }}")


@pytest.fixture
def bare(open_page: Open) -> Page:
    return open_page({"schema": 1, "title": "t", "command": "design", "kind": "crystal"})


CUBE = "[[0,0,0],[1,0,0],[0,1,0],[0,0,1],[1,1,0],[1,0,1],[0,1,1],[1,1,1]]"


def test_the_hull_of_a_cube_has_six_squares_and_twelve_edges(bare: Page) -> None:
    faces = evaluated(bare, "convex_hull", f"m.convexHull({CUBE})")
    assert sorted(len(face["corners"]) for face in faces) == [4] * 6
    assert len(evaluated(bare, "convex_hull", f"m.edges(m.convexHull({CUBE}))")) == 12
    assert evaluated(bare, "convex_hull", f"m.convexHull({CUBE}).flatMap(m.triangles).length") == 12
    middle = [0.5, 0.5, 0.5]
    corners = json.loads(CUBE)
    for face in faces:  # normals point outwards
        away = [x - y for x, y in zip(corners[face["corners"][0]], middle, strict=True)]
        assert sum(x * y for x, y in zip(away, face["normal"], strict=True)) == pytest.approx(0.5)


def test_points_inside_a_hull_and_flat_ones_make_no_face(bare: Page) -> None:
    tetrahedron = "[[0,0,0],[3,0,0],[0,3,0],[0,0,3],[0.5,0.5,0.5]]"
    faces = evaluated(bare, "convex_hull", f"m.convexHull({tetrahedron})")
    assert sorted(sorted(face["corners"]) for face in faces) == [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    assert evaluated(bare, "convex_hull", "m.convexHull([[0,0,0],[1,0,0],[0,1,0],[1,1,0]])") == []


def test_a_cell_of_rock_salt_is_drawn_with_the_atoms_on_its_faces(bare: Page) -> None:
    cell = "[[5.64,0,0],[0,5.64,0],[0,0,5.64]]"
    sites = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
    positions = [[5.64 * x for x in site] for site in sites]
    positions += [[5.64 * ((x + 0.5) % 1), *(5.64 * y for y in rest)] for x, *rest in sites]
    symbols = ["Na"] * 4 + ["Cl"] * 4
    structure = f"{{cell: {cell}, symbols: {json.dumps(symbols)}, positions: {json.dumps(positions)}}}"
    # 3 × 3 × 3 points of the simple cubic lattice of both, alternating: 14 and 13.
    assert evaluated(bare, "crystal", f"m.atomsShown({structure}, 1).length") == 27
    assert evaluated(bare, "crystal", f"m.atomsShown({structure}, 1).filter((a) => a.symbol === 'Na').length") == 14
    assert evaluated(bare, "crystal", f"m.atomsShown({structure}, 2).length") == 125


def test_titanium_in_strontium_titanate_has_an_octahedron_and_strontium_a_cuboctahedron(open_page: Open) -> None:
    data = example(2, "SrTiO3*")
    perovskite = data["candidates"][0]
    page = open_page({**data, "candidates": [perovskite]})
    structure = json.dumps(perovskite["structure"])
    for symbol, corners, faces in (("Ti", 6, 8), ("Sr", 12, 14)):
        centre = f"m.atomsShown({structure}, 1).find((a) => a.symbol === '{symbol}')"
        around = evaluated(page, "crystal", f"m.neighbours({structure}, {centre})")
        assert len(around) == corners
        assert len(evaluated(page, "convex_hull", f"m.convexHull({json.dumps(around)})")) == faces
    assert evaluated(page, "crystal", f"m.polyhedraCentres({structure})") == ["Ti", "Sr"]


def test_lines_of_a_ternary_hull_join_phases_that_coexist(bare: Page) -> None:
    stable = [
        {"x": [1, 0, 0], "e": 0},
        {"x": [0, 1, 0], "e": 0},
        {"x": [0, 0, 1], "e": 0},
        {"x": [1 / 3, 1 / 3, 1 / 3], "e": -1},
    ]
    pairs = evaluated(bare, "ternary_hull", f"m.tieLines({json.dumps(stable)})")
    assert sorted(sorted(pair) for pair in pairs) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
