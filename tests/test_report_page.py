"""The page of a report: it fits, no part is required, and it is closed to the network and to markup in data."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest
from report_example import example

from matgen.report import scripts
from matgen.report.element_styles import element_styles
from matgen.report.page import LIBRARIES, MOST_BYTES, embedded, report_html
from matgen.report.size import fitting, size

ASSETS = files("matgen.report") / "assets"
MODULES = sorted(path.name.removesuffix(".js") for path in ASSETS.iterdir() if path.name.endswith(".js"))
REQUIRED = {"schema": 1, "title": "t", "command": "design", "kind": "crystal"}
NASTY = "</script><img src=x onerror=alert(1)><!--\u2028&"


class Elements(HTMLParser):
    """Notes the tags of a page with their attributes, and the text of its data."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data, self._in_data = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_data = dict(attrs).get("id") == "data"

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        self._in_data = self._in_data and tag != "script"


def elements(page: str) -> Elements:
    parsed = Elements()
    parsed.feed(page)
    return parsed


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return example(12)


@pytest.fixture(scope="module")
def page(data: dict[str, Any]) -> str:
    return report_html(data)


# ---------------------------------------------------------------- content


def test_the_page_holds_the_data_unchanged(page: str, data: dict[str, Any]) -> None:
    held = json.loads(elements(page).data)
    assert {key: value for key, value in held.items() if key != "elements"} == json.loads(json.dumps(data))
    assert set(held["elements"]) == {symbol for one in data["candidates"] for symbol in one["structure"]["symbols"]}


@pytest.mark.parametrize("key", sorted(set(example(2)) - set(REQUIRED)))
def test_every_other_part_may_be_missing(key: str, data: dict[str, Any]) -> None:
    held = json.loads(elements(report_html({name: value for name, value in data.items() if name != key})).data)
    assert key not in held


def test_four_keys_are_enough() -> None:
    held = json.loads(elements(report_html(REQUIRED)).data)
    assert held == {**REQUIRED, "elements": {}}


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        report_html({**REQUIRED, "found": float("nan")})


def test_a_running_page_reloads_itself_and_a_finished_one_does_not() -> None:
    def refreshes(page: str) -> list[str | None]:
        return [
            tag["content"] for name, tag in elements(page).tags if name == "meta" and tag.get("http-equiv") == "refresh"
        ]

    assert refreshes(report_html(REQUIRED, refresh=5)) == ["5"]
    assert refreshes(report_html(REQUIRED)) == []


# ---------------------------------------------------------------- size


def test_a_hundred_candidates_take_less_than_three_megabytes() -> None:
    assert len(report_html(example(100)).encode()) < MOST_BYTES


def test_trajectories_go_from_the_last_candidate_until_the_page_fits() -> None:
    walk = {"frames": [{"positions": [0.123] * 300}] * 10}
    data = {**REQUIRED, "candidates": [{"id": str(i), "walk": walk, "values": {"x": i}} for i in range(10)]}
    most = size(data) - 3 * size(walk) + 100
    left = fitting(data, most)
    with_walk = [one["id"] for one in left["candidates"] if "walk" in one]
    assert with_walk == [str(i) for i in range(len(with_walk))]
    assert 5 <= len(with_walk) <= 7
    assert size(left) <= most + 200  # the note itself
    assert [one["values"] for one in left["candidates"]] == [{"x": i} for i in range(10)]
    assert str(10 - len(with_walk)) in left["run"]["notes"][0]


def test_what_fits_is_left_as_it_is(data: dict[str, Any]) -> None:
    assert fitting(data, size(data)) is data


# ---------------------------------------------------------------- safety


def test_data_cannot_end_its_element() -> None:
    text = embedded({"name": NASTY})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"name": NASTY}


def test_names_with_markup_add_no_element(page: str, data: dict[str, Any]) -> None:
    nasty = {
        **data,
        "title": NASTY,
        "asked": NASTY,
        "candidates": [{**data["candidates"][0], "name": NASTY, "formula": NASTY}],
    }
    tags = [tag for tag, _ in elements(report_html(nasty)).tags]
    assert tags == [tag for tag, _ in elements(page).tags]


def test_only_the_scripts_of_the_page_may_run_and_nothing_is_fetched(page: str) -> None:
    (policy,) = [
        tag["content"] or "" for name, tag in elements(page).tags if tag.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'none'"
    assert len(re.findall(r"'sha256-[\w+/=]{44}'", rules["script-src"])) == len(LIBRARIES) + 2
    assert "unsafe" not in rules["script-src"]


def test_no_element_of_the_page_names_something_to_load(page: str) -> None:
    for name, attributes in elements(page).tags:
        assert "src" not in attributes, name
        if name == "link":
            assert (attributes["href"] or "").startswith("data:")
    assert not re.findall(
        r"url\(|@import", "".join((ASSETS / f"{name}.css").read_text() for name in ("tokens", "layout", "table"))
    )


@pytest.mark.parametrize("name", MODULES)
def test_scripts_set_texts_and_never_markup(name: str) -> None:
    text = scripts.source(name)
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://(?!www\.w3\.org)", text
    )


# ---------------------------------------------------------------- scripts


def exports(name: str) -> set[str]:
    return set(scripts.EXPORT.findall(scripts.source(name)))


@pytest.mark.parametrize("name", MODULES)
def test_every_import_is_exported_where_it_comes_from(name: str) -> None:
    for names, module in scripts.IMPORT.findall(scripts.source(name)):
        assert set(re.findall(r"\w+", names)) <= exports(module), module


@pytest.mark.parametrize("name", MODULES)
def test_every_import_is_used(name: str) -> None:
    text = scripts.source(name)
    rest = scripts.IMPORT.sub("", text)
    imported = [one for names, _ in scripts.IMPORT.findall(text) for one in re.findall(r"\w+", names)]
    assert [one for one in imported if not re.search(rf"\b{one}\b", rest)] == []


def test_every_script_is_part_of_the_page_once() -> None:
    assert sorted(scripts.in_order("main")) == MODULES


def test_a_script_comes_after_all_that_it_imports() -> None:
    order = scripts.in_order("main")
    for name in order:
        assert all(order.index(needed) < order.index(name) for needed in scripts.imported(scripts.source(name)))


def test_scripts_that_import_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"a": 'import { b } from "./b.js";\n', "b": 'import { a } from "./a.js";\n'}
    monkeypatch.setattr(scripts, "source", texts.__getitem__)
    with pytest.raises(scripts.CircularImportError, match="a → b → a"):
        scripts.in_order("a")


@pytest.mark.parametrize("name", MODULES)
def test_scripts_are_short_and_say_what_they_are(name: str) -> None:
    lines = scripts.source(name).splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= 260


# ---------------------------------------------------------------- elements


def test_elements_are_drawn_as_jmol_does_and_others_are_left_out() -> None:
    styles = element_styles(["O", "Sr", "He", "Xx"])
    assert styles["O"]["colour"] == "#ff0d0d"
    assert styles["Sr"]["metal"]
    assert styles["O"]["electronegativity"] > styles["Sr"]["electronegativity"]
    assert styles["He"]["electronegativity"] is None
    assert set(styles) == {"O", "Sr", "He"}
