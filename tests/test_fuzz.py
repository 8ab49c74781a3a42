"""A part of the bad and odd inputs of `scripts/reliability/fuzz_inputs.py`, and its independent readers."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from safetensors import safe_open
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "reliability"))

from fuzz.compared_crystals import of_structure
from fuzz.explanations import explained
from fuzz.independent_readers import CIF_READERS, by_others
from fuzz.mutations import COMMON, RARE, mutated
from matgen.cli.common import to_stderr
from matgen.relaxation.symmetric import relax
from matgen.screening.assess import check_files
from matgen.screening.config import ScreenConfig
from matgen.structures.cif import cif_text
from matgen.weights.files import WEIGHTS, WeightsError
from matgen.weights.models import load
from matgen.workflows.screen import screen
from odd_numbers import OddCalculator

ROOT = Path(__file__).resolve().parents[1]

# Minutes of a call that fails by its clock and not by its inputs: other programs may share the machine.
LONG = 1200


def test_two_in_a_hundred_of_the_odd_inputs_have_no_fault_and_a_second_call_repeats_none(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.jsonl"
    script = ROOT / "scripts" / "reliability" / "fuzz_inputs.py"
    areas = ("crystals", "molecules", "options", "requests", "weights", "tables")
    only = [word for area in areas for word in ("--only", area)]
    command = [sys.executable, "-W", "ignore", str(script), "--out", str(out), "--share", "0.02", "--seed", "17", *only]
    first = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=LONG)
    assert first.returncode == 0, first.stderr[-2000:]
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [one for one in records if one["fault"]] == []
    assert {one["area"] for one in records} == set(areas)
    assert len(records) >= 200
    crystals = [one["outcome"] for one in records if one["area"] == "crystals"]
    assert min(crystals.count("accepted"), crystals.count("refused")) > 20  # odd, but not beyond recognition


def test_a_mutation_depends_on_its_random_numbers_alone_and_changes_something() -> None:
    text = cif_text(Structure(Lattice.cubic(4.0), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])).encode()
    for one in (*COMMON, *RARE):
        assert one(random.Random(1), text) == one(random.Random(1), text), one.__name__
        assert any(one(random.Random(seed), text) != text for seed in range(20)), one.__name__
        one(random.Random(1), b"")  # nothing to change
    assert mutated(random.Random(2), text) == mutated(random.Random(2), text)


SALT = """data_salt
_cell_length_a 4.12
_cell_length_b 4.12
_cell_length_c 4.12
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M '{group}'
{more}loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cs1 0 0 0
Cl1 0.5 0.5 0.5
"""


@pytest.mark.parametrize(
    ("group", "more", "symbols", "word"),
    [
        ("P m -3 m", "", ["Cs", "Cl"], ""),
        ("P m -3 m", "", ["Cs", "Cl", "Cl"], "unexplained: number of atoms"),
        ("P m -3 m", "_chemical_formula_sum 'Cs Cl'\n_cell_formula_units_Z 1\n", ["Cs", "Na"], "unexplained"),
    ],
)
def test_a_wrong_answer_is_unexplained(group: str, more: str, symbols: list[str], word: str) -> None:
    text = SALT.format(group=group, more=more)
    own = of_structure(
        Structure(Lattice.cubic(4.12), symbols, [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0, 0.5]][: len(symbols)])
    )
    found = explained(own, by_others(text, CIF_READERS), text)
    assert bool(found) is bool(word)
    assert all(word in why for why in found.values())


def test_a_reader_that_ignores_the_group_is_explained_by_the_words_of_the_file() -> None:
    text = SALT.format(group="F m -3 m", more="_chemical_formula_sum 'Cs Cl'\n_cell_formula_units_Z 4\n")
    whole = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    bare = of_structure(Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    found = explained(of_structure(whole), {"another": bare}, text)
    assert found == {"another": "number of atoms: another contradicts formula or Z of the file"}
    assert explained(bare, {"another": of_structure(whole)}, text)["another"].startswith("unexplained")


def test_a_path_that_is_too_long_is_refused_in_a_line() -> None:
    command = [sys.executable, "-m", "matgen", "models", "--nothing"]
    code = "import sys; from matgen.cli import main; sys.argv = ['matgen', 'screen', 'x' * 5000]; main()"
    for words, word in ((command, "No such option"), ([sys.executable, "-c", code], "cannot use the path")):
        answer = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
        assert answer.returncode == 2
        assert len(answer.stderr.splitlines()) == 1
        assert word in answer.stderr


def test_a_message_shows_neither_control_characters_nor_a_million_letters(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr(f"expected a formula, got \x1b[31m{'C' * 1_000_000}; write TiO2")
    shown = capsys.readouterr().err
    assert shown.startswith("matgen: expected a formula, got �[31mCCC")
    assert shown.endswith("CCC; write TiO2\n")
    assert len(shown) < 1100


RATTLED = """
import sys
from matgen.runtime.silence import silence_packages
if {silent}:
    sys.warnoptions.clear()
    silence_packages()
import numpy as np, spglib
cell = np.diag([3.61, 3.61, 25 * 3.61])
face = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
coords = np.concatenate([(face + [0, 0, i]) / [1, 1, 25] for i in range(25)])
coords += np.random.default_rng(0).normal(0, 0.02, (100, 3)) @ np.linalg.inv(cell)
spglib.get_symmetry_dataset((cell, coords, [29] * 100), symprec=0.1)
"""


def test_spglib_does_not_write_past_python() -> None:
    def said(*, silent: bool) -> str:
        command = [sys.executable, "-W", "ignore", "-c", RATTLED.format(silent=silent)]
        own = {name: value for name, value in os.environ.items() if name != "SPGLIB_WARNING"}  # other tests set it
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=own).stderr

    assert "spglib: " in said(silent=False)
    assert said(silent=True) == ""


@pytest.mark.parametrize("odd", [float("nan"), float("-inf")])
def test_weights_with_a_number_that_is_none_are_refused(odd: float, tmp_path: Path) -> None:
    source, target = WEIGHTS / "graph_energy.safetensors", tmp_path / "graph_energy.safetensors"
    tensors = load_file(source)
    name, one = next((name, one.clone()) for name, one in tensors.items() if one.is_floating_point() and one.numel())
    one.view(-1)[0] = odd
    with safe_open(source, framework="pt") as stored:
        save_file(tensors | {name: one}, target, metadata=stored.metadata())
    with pytest.raises(WeightsError, match=f"expected finite numbers in .*, got others in {name}"):
        load("graph_energy", target)
    with pytest.raises(WeightsError, match="expected finite numbers"):  # before any row is written
        check_files(ScreenConfig(weights=str(tmp_path), reference="none", known="none"))


def test_finite_weights_that_predict_no_number_are_told(tmp_path: Path) -> None:
    """As a flipped bit of an exponent makes them."""
    source = WEIGHTS / "structure_properties.safetensors"
    with safe_open(source, "pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it is no mapping)
        huge = {name: one * 0 + 60_000 for name, one in tensors.items() if name.endswith("weight")}
        save_file(tensors | huge, tmp_path / source.name, metadata=stored.metadata())
    salt = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (row,) = screen(salt, weights=str(tmp_path), reference="none", known="none", properties={"band_gap": ">1"})
    assert row.remarks["networks"].startswith("no finite prediction of ")
    assert "band_gap" in row.remarks["networks"]
    assert not row.passed
    (sound,) = screen(salt, reference="none", known="none")
    assert "networks" not in sound.remarks


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # of NumPy, on infinity
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_potential_that_returns_no_number_does_not_converge(place: int, odd: float) -> None:
    values = [0.0, 0.0, 0.0]
    values[place] = odd
    salt = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    _, report = relax(salt, OddCalculator(*values))
    assert not report.converged
    assert report.reason.startswith(("exploded", "failed"))
