"""The list of all properties: those of the shipped file, derived ones, and those of one's own file."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_property_files import some_file

from matgen import cli
from matgen.targets.learned import DERIVED, LEARNED
from matgen.targets.properties import PROPERTIES_OF
from matgen.weights.property_errors import file_errors
from matgen.weights.property_files import read_property_file
from matgen.workflows.properties import described_properties

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"))
from shared.property_list import property_list

Run = Callable[..., tuple[int, str, str]]

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "properties.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    held_out = {"structure_properties": {"mae": 0.25, "mean": 0.5, "forest": 0.3, "coverage": 0.875}}
    figures = {"rows": 1240, "formulas": 900, "held_out": held_out}
    return some_file(tmp_path_factory.mktemp("listed") / "mine.safetensors", figures=figures).path


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["matgen", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


def test_at_least_twenty_properties_of_crystals_are_listed_with_model_and_error() -> None:
    listed = {one.name: one for one in described_properties("crystal")}
    assert set(listed) == PROPERTIES_OF["crystal"].keys() | LEARNED.keys() | DERIVED.keys()
    assert len(listed) >= 20
    for name in (*LEARNED, *DERIVED):
        one = listed[name]
        assert one.error is not None
        assert one.error > 0
        assert one.coverage is not None
        assert int(one.error_of.split(" test rows")[0].replace(",", "")) > 300
    assert all(one.error is not None or one.error_of for one in listed.values())


def test_the_page_lists_what_the_program_lists() -> None:
    assert PAGE.split("<!-- all properties -->\n")[1].startswith(property_list() + "\n")


def test_errors_of_the_shipped_file_are_those_of_its_header() -> None:
    """The header was written before the weights were rounded to float16: the third digit may differ."""
    read = read_property_file("shipped")
    errors = file_errors(read)
    for name, one in read.learned.items():
        assert errors[name].mae == pytest.approx(one.figures["mae"], rel=0.01)
        assert errors[name].of.startswith(f"{one.figures['n_test']:,} ")


def test_derived_errors_are_those_of_the_formulas() -> None:
    """n² with n off by a small e is off by 2 n e, in decades by twice the error of n, to the digits that are kept."""
    errors = file_errors(read_property_file("shipped"))
    index, constant = errors["refractive_index"].mae_log10, errors["dielectric_constant"].mae_log10
    assert index is not None
    assert constant == pytest.approx(2 * index, abs=2e-4)


def test_a_file_is_listed_with_its_held_out_error(mine: Path, called: Run) -> None:
    (own,) = [one for one in described_properties("crystal", [str(mine)]) if one.name == "hue"]
    assert (own.error, own.error_log10, own.coverage) == (None, 0.25, 0.875)
    assert own.error_of.startswith("1,240 rows")
    code, out, _ = called("properties", "--kind", "crystal", "--with", str(mine), "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["name"] == "hue"
    code, out, _ = called("energy", "info", str(mine))
    assert code == 0
    assert "0.250 in log10 of 1,240 rows" in out
    assert "87.5 %" in out


def test_bad_files_are_refused_in_one_line(mine: Path, tmp_path: Path, called: Run) -> None:
    for arguments in (("--kind", "molecule", "--with", str(mine)), ("--with", str(tmp_path / "none.safetensors"))):
        code, out, err = called("properties", *arguments)
        assert (code, out) == (cli.BAD_INPUT, "")
        assert len(err.strip().splitlines()) == 1
        assert "expected" in err
