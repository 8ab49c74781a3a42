"""Benchmarks: results survive an interrupt, pages are filled in place, and counts are right."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.calculators.calculator import Calculator
from pymatgen.core import Lattice, Structure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"))

from evaluate_geometry import figures_of, ranking
from evaluate_graph_energy import CLASSES, scores
from evaluate_prior import read_formula, reduced
from evaluate_round_trip import cause
from matgen.chemistry.elements import ATOMIC_NUMBERS
from reports.design import baseline, shares
from shared.designs import kept_results
from shared.measurement import Measurement, Task, read_lines
from shared.options import parser
from shared.page import fill_page, filled, page_with

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [
    path
    for folder in ("benchmarks", "build", "reliability")
    for path in sorted((ROOT / "scripts" / folder).glob("*.py"))
]

done: list[str] = []


def work(task: Task) -> float:
    done.append(task.key)
    return float(torch.rand((), generator=task.generator()))


def measurement(folder: Path, *more: str, settings: int = 0) -> Measurement:
    (folder / "table.npz").write_bytes(b"any table")
    options = ["--table", str(folder / "table.npz"), "--out", str(folder / "found.json"), "--processes", "1", *more]
    return Measurement(parser("", "found", 3).parse_args(options), {"settings": settings})


def test_an_interrupted_measurement_goes_on_and_a_changed_one_begins_anew(tmp_path: Path) -> None:
    done.clear()
    tasks = [Task(f"part {i}", tmp_path, seed=0) for i in range(3)]
    first = measurement(tmp_path)
    first.run(work, tasks[:2])
    with first.parts.open("a", encoding="utf-8") as stream:
        stream.write('{"key": "part 2", "val')  # the interrupt
    found = measurement(tmp_path).run(work, tasks)
    assert done == ["part 0", "part 1", "part 2"]
    assert list(found) == ["part 0", "part 1", "part 2"]
    assert len(read_lines(first.parts)) == 3
    for changed in (measurement(tmp_path, settings=1), measurement(tmp_path, "--seed", "1")):
        assert changed.parts != first.parts
        assert not read_lines(changed.parts)


def test_random_numbers_of_a_task_depend_on_its_key_and_seed_alone(tmp_path: Path) -> None:
    same = [work(Task("a", tmp_path, seed=0)) for _ in range(2)]
    assert same[0] == same[1]
    assert len({same[0], work(Task("b", tmp_path, seed=0)), work(Task("a", tmp_path, seed=1))}) == 3


def test_a_page_is_filled_at_its_places_and_nowhere_else() -> None:
    page = "| bar | <!-- a -->old<!-- /a --> |\n<!-- b -->\nold table\n<!-- /b -->\nend"
    once = filled(page, {"a": "new", "b": "1\n2"})
    assert once == "| bar | <!-- a -->new<!-- /a --> |\n<!-- b -->\n1\n2\n<!-- /b -->\nend"
    assert filled(once, {"a": "new", "b": "1\n2"}) == once
    with pytest.raises(ValueError, match="a place"):
        filled(page, {"c": "x"})


def test_places_are_filled_on_the_page_of_a_folder_that_has_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one.md", tmp_path / "two.md"
    one.write_text("<!-- a -->old<!-- /a -->", encoding="utf-8")
    two.write_text("<!-- b -->old<!-- /b --> <!-- c --><!-- /c -->", encoding="utf-8")
    fill_page(tmp_path, {"b": "new", "a": "newer"})
    assert one.read_text(encoding="utf-8") == "<!-- a -->newer<!-- /a -->"
    assert two.read_text(encoding="utf-8") == "<!-- b -->new<!-- /b --> <!-- c --><!-- /c -->"
    with pytest.raises(ValueError, match="found none"):
        fill_page(tmp_path, {"d": "x"})
    one.write_text("<!-- c --><!-- /c -->", encoding="utf-8")
    with pytest.raises(ValueError, match=r"found one\.md, two\.md"):
        fill_page(tmp_path, {"c": "x"})


def test_the_pages_of_results_have_a_place_for_everything_that_is_measured() -> None:
    places = (
        "round_trip",
        "prior",
        "geometry",
        "ranking",
        "evaluator",
        "stages",
        "design",
        "hull",
        "novelty",
        "samples",
    )
    places += ("verify", "relaxation", "metrics", "baselines", "gaps", "properties")
    for place in (*places, *(f"bar {place}" for place in places), "bar sound"):
        page = page_with(ROOT / "docs" / "results", place).read_text(encoding="utf-8")
        assert page.count(f"<!-- {place} -->") == page.count(f"<!-- /{place} -->") == 1, place


def test_formulas_of_templates_and_of_the_index_meet() -> None:
    wanted = {ATOMIC_NUMBERS["O"]: 8, ATOMIC_NUMBERS["Mg"]: 2, ATOMIC_NUMBERS["Sb"]: 4}
    assert read_formula("O4MgSb2") == reduced(wanted)
    assert read_formula("Cs8") == ((55, 1),)


def test_ranking_counts_chance_choice_and_oracle() -> None:
    def candidate(energy: float, rms: float | None, source: str = "noise") -> dict[str, Any]:
        return {"source": source, "total": energy, "graph": -energy, "rms": rms}

    rows = [
        [candidate(1.0, 0.1), candidate(2.0, None)],  # the lowest total is right, the lowest graph energy wrong
        [candidate(1.0, None), candidate(2.0, None)],  # nothing to be found
        [candidate(1.0, 0.1), candidate(2.0, 0.1), candidate(0.0, None, "density")],
    ]
    found = ranking(rows, ["noise"])
    assert (found["rows"], found["random"], found["total"], found["graph"], found["oracle"]) == (3, 1.5, 2, 1, 2)
    assert ranking(rows)["total"] == 1
    assert ranking(rows, ["density"])["rows"] == 1


def test_rows_without_an_answer_count_as_missed() -> None:
    rows = [
        {"free": 0, "smact": True, "answered": True, "rms": 0.02},
        {"free": 5, "smact": False, "answered": True, "rms": 0.04},
        {"free": 5, "smact": True, "answered": False, "rms": None},
    ]
    found = figures_of(rows)
    assert (found["rows"], found["matched"], found["answered"], found["matched_and_smact"]) == (3, 2, 2, 1)
    assert found["rmse"] == pytest.approx(0.03)
    assert {name: part["matched"] for name, part in found["by_free"].items()} == {"0": 1, "1–3": 0, "4–8": 1, "≥ 9": 0}


def test_the_graph_energy_is_scored_one_for_order_a_half_for_chance_and_zero_for_the_reverse() -> None:
    real = [(float(i), float(i)) for i in range(10)]
    below = [(value - 20.0, value) for value, _ in real]
    part = {name: [None] * 10 for name in CLASSES} | {"real": real, "volume": below}
    part["displaced"] = [None, *((value + 20.0, value) for value, _ in real[1:])]
    found = scores([part])
    assert found.keys() == {"volume", "displaced"}
    assert (found["volume"]["auroc"], found["volume"]["above_own"]) == (0.0, 0.0)
    assert (found["displaced"]["auroc"], found["displaced"]["above_own"], found["displaced"]["rows"]) == (1.0, 1.0, 9)
    assert found["volume"]["auroc_noised"] == 0.5  # all the same


def test_shares_of_a_design_are_of_what_was_requested() -> None:
    sound = {"smact": True, "space_group": 225, "contact": 0.9, "distinct": True, "reads_back": True, "new": True}
    sound |= {"above_hull": 0.02, "is_minimum": True, "novel": True}
    candidates = [
        sound | {"predictor": 1.4, "evaluator": 1.9, "above_hull": -0.01},
        sound | {"predictor": 1.6, "evaluator": 1.3, "space_group": 1, "novel": False},
    ]
    run = {"requested": 4, "candidates": candidates, "proposals": candidates, "relaxed": [], "looked_at": 9}
    found = shares(run | {"rejected": {}, "seconds": {}}, 1.5)
    assert (found["requested"], found["found"], found["predictor"], found["evaluator"]) == (4, 2, 2, 1)
    assert (found["sun"], found["on_hull"], found["is_minimum"]) == (1, 1, 2)
    assert (found["symmetric"], found["no_contact"], found["relaxations"]) == (1, 2, None)
    assert baseline(candidates, "evaluator") == {"0.5 eV": "0.0 %", "1.5 eV": "50.0 %", "3 eV": "0.0 %"}


@pytest.mark.parametrize(
    ("before", "after", "supercell", "fine", "word"),
    [
        (4, 0, False, True, "no template"),
        (4, 4, True, True, "as a supercell"),
        (8, 4, False, True, "smaller primitive cell"),
        (8, 8, False, True, "more symmetry"),
        (8, 8, False, False, "not explained"),
    ],
)
def test_failures_are_counted_by_cause(before: int, after: int, supercell: bool, fine: bool, word: str) -> None:  # noqa: FBT001
    assert word in cause(before, after, supercell=supercell, fine=fine)


def test_what_was_calculated_is_kept_and_not_calculated_again(tmp_path: Path) -> None:
    """An interrupt loses one crystal at most, and the order is that of what is wanted."""
    path, calculated = tmp_path / "deep" / "found.jsonl", list[str]()
    salts = [Structure(Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for a in (3.4, 3.5, 3.6)]
    wanted = [({"folder": "known", "name": f"{salt.volume:.1f}"}, salt) for salt in salts]

    def energy(crystal: Structure, calculator: Calculator) -> dict[str, float]:
        calculated.append(f"{crystal.volume:.1f}")
        return {"energy": float(calculator.get_potential_energy(crystal.to_ase_atoms()))}

    first = kept_results(path, wanted[1:2], energy)
    path.write_text(path.read_text(encoding="utf-8") + '{"folder": "known", "na', encoding="utf-8")  # interrupted
    assert kept_results(path, wanted, energy, calculate=False) == first
    found = kept_results(path, wanted, energy)
    assert calculated == [wanted[i][0]["name"] for i in (1, 0, 2)]
    assert [line["name"] for line in found] == [line["name"] for line, _ in wanted]
    assert found[1] == first[0]
    assert len({line["energy"] for line in found}) == 3
    assert kept_results(path, wanted, energy) == found
    assert len(calculated) == 3


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_names_its_call_and_parses_options(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    assert f"python {script.relative_to(ROOT).as_posix()}" in (ast.get_docstring(tree) or "")
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert calls & {"parser", "argparse.ArgumentParser"}, "--help would run it"


@pytest.mark.parametrize("script", ["benchmarks/evaluate_gaps.py", "build/build_textbook_structures.py"])
def test_help_is_printed_from_the_root(script: str) -> None:
    command = [sys.executable, f"scripts/{script}", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "usage" in answer.stdout


def test_the_benchmark_that_the_readme_shows_fills_a_page(
    tmp_path: Path, prepared_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (ROOT / "scripts" / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    script, page = tmp_path / "evaluate_contacts.py", tmp_path / "page.md"
    script.write_text(source, encoding="utf-8")
    page.write_text("<!-- contacts --><!-- /contacts -->", encoding="utf-8")
    options = {"table": prepared_table, "out": tmp_path / "found.json", "document": page, "n": 4, "processes": 1}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    runpy.run_path(str(script), run_name="__main__")
    assert "| 4 |" in page.read_text(encoding="utf-8")
    assert '"rows": 4' in (tmp_path / "found.json").read_text(encoding="utf-8")
