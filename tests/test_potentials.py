"""A potential has a name or an import path, and its own hull only; another may give a second opinion."""

import json
import math
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from pymatgen.core import Composition, Lattice, Structure
from typer.testing import CliRunner

from matgen.chemistry.corrections import MP2020
from matgen.cli import app
from matgen.evaluation.findings import EvaluationConfig
from matgen.generation.errors import RequestError
from matgen.generation.request import Request
from matgen.hull.corrections import CorrectionError, correction
from matgen.hull.hull import CORRECTIONS, INCOMPLETE, ReferenceHull, UnknownChemistryError
from matgen.hull.reference import Reference
from matgen.relaxation.calculators import (
    CalculatorError,
    calculator_maker,
    check_calculator,
    hull_file,
    kept_calculator,
    potential_name,
)
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.pool import RelaxingPotential
from matgen.relaxation.potentials import POTENTIALS
from matgen.relaxation.symmetric import relax
from matgen.screening.config import NONE, ScreenConfig, ScreenError
from matgen.screening.second_opinion import SECOND_OPINION, SecondOpinion, SecondOpinionError, agreement
from matgen.search.assessment import CrystalAssessment
from matgen.structures.candidate import Candidate, SpaceGroup, Verdict
from matgen.structures.files import Entry
from matgen.workflows.design import default_folder, identity
from matgen.workflows.evaluate import evaluate
from matgen.workflows.reference import build_reference
from matgen.workflows.screen import screen

EMT_NAME = "ase.calculators.emt:EMT"
SEVENN = pytest.mark.skipif(find_spec("sevenn") is None, reason='needs the package sevenn: pip install "sevenn>=0.13"')


def rock_salt(one: str, other: str, a: float) -> Structure:
    return Structure(a / 2 * (np.ones((3, 3)) - np.eye(3)), [one, other], [[0, 0, 0], [0.5, 0.5, 0.5]])


def alloy(a: float = 3.8) -> Structure:
    return Structure(Lattice.cubic(a), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def metal(symbol: str, a: float) -> Structure:
    return Structure(a / 2 * (np.ones((3, 3)) - np.eye(3)), [symbol], [[0, 0, 0]])


@pytest.fixture(scope="module")
def emt_hull(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hull of copper, gold and their alloy by EMT."""
    known = {"cu": metal("Cu", 3.6), "au": metal("Au", 4.07), "cuau": alloy(3.1)}
    out = tmp_path_factory.mktemp("hull") / "emt.parquet"
    build_reference([Entry(name, "", 0, one, "") for name, one in known.items()], out, EMT, margin=9.0)
    return out


# ---------------------------------------------------------------- names


def test_every_named_potential_says_what_it_is_and_ships_its_hull() -> None:
    for name, one in POTENTIALS.items():
        assert name == one.name
        assert one.title
        assert one.licence
        assert one.functional
        assert one.install
        if one.hull:
            found = hull_file(name)
            assert found is not None, f"{one.hull} does not ship"
            assert Reference.load(found).potential == one.title
    assert len({one.title for one in POTENTIALS.values()}) == len(POTENTIALS)


def test_weights_of_one_class_have_names_of_their_own() -> None:
    names = [potential_name(calculator_maker(name)()) for name in ("chgnet", "chgnet-r2scan")]
    assert names == [POTENTIALS[name].title for name in ("chgnet", "chgnet-r2scan")]


def test_a_calculator_is_made_once_per_process_by_its_name() -> None:
    one, other = calculator_maker(EMT_NAME), calculator_maker(EMT_NAME)
    assert one == other
    assert kept_calculator(one) is kept_calculator(other)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing", "expected a calculator as one of chgnet"),
        ("chgnet:", "module:function"),
        ("no_such_module_of_anybody:make", "cannot import no_such_module_of_anybody"),
        ("builtins:dict", "expected an ASE calculator"),
        ("chgnet=no_such_file.parquet", "expected a file of a hull"),
    ],
)
def test_a_wrong_name_is_told_plainly(name: str, why: str) -> None:
    with pytest.raises(CalculatorError, match=why):
        (check_calculator(name), calculator_maker(name)())


UNUSABLE = {
    "absent:make": ("cannot import absent", ""),
    "half_written:make": ("SyntaxError", "def make(:\n"),
    "asks_for_weights:make": ("missing 1 required positional argument: 'weights'", "def make(weights): ...\n"),
    "raises:make": ("cannot make raises:make: KeyError: 'cutoff'", "def make(): return {}['cutoff']\n"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_calculator_that_cannot_be_made_ends_a_run_before_its_first_row(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why, code = UNUSABLE[name]
    if code:
        (tmp_path / f"{name.partition(':')[0]}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "out"
    for options in ({}, {"relax": "potential", "reference": NONE}, {"phonons": True, "reference": NONE}):
        with pytest.raises(CalculatorError, match=re.escape(why)):
            screen(alloy(), calculator=name, out=out, known=NONE, **options)
        assert not out.exists()
    with pytest.raises(CalculatorError, match=re.escape(why)):
        CrystalAssessment.of(Request.of(calculator=name))
    rock_salt("Mg", "O", 4.2).to(str(tmp_path / "mgo.cif"))
    with pytest.raises(CalculatorError, match=re.escape(why)):
        evaluate([tmp_path / "mgo.cif"], EvaluationConfig(calculator=name))


def test_the_command_says_in_a_line_that_a_calculator_cannot_be_imported(tmp_path: Path) -> None:
    rock_salt("Mg", "O", 4.2).to(str(tmp_path / "mgo.cif"))
    command = [sys.executable, "-m", "matgen", "screen", "mgo.cif", "--calculator", "absent:make", "--out", "out"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("matgen: cannot import absent")
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [name for name, one in POTENTIALS.items() if not one.installed])
def test_a_package_that_is_not_installed_is_named_with_the_way_to_get_it(name: str) -> None:
    with pytest.raises(CalculatorError, match=r"not installed; run: pip install"):
        calculator_maker(name)


def test_the_list_of_potentials_says_which_are_here() -> None:
    result = CliRunner().invoke(app, ["potentials", "--json"])
    rows = {row["name"]: row for row in map(json.loads, result.output.splitlines())}
    assert set(rows) == set(POTENTIALS)
    assert rows["chgnet"]["hull"] > 60_000
    assert rows["chgnet"]["version"]
    assert rows["chgnet-r2scan"]["hull"] == 0


# ---------------------------------------------------------------- textbook crystals


@pytest.mark.parametrize("name", ["chgnet", "chgnet-r2scan", pytest.param("sevennet", marks=SEVENN)])
def test_a_potential_finds_the_lattice_constant_of_magnesia(name: str) -> None:
    """Measured 4.212 Å; PBE gives 1 % more. A wrong unit or sign of the stress would end elsewhere, or nowhere."""
    final, report = relax(rock_salt("Mg", "O", 4.4), calculator_maker(name)())
    assert report.converged
    assert report.potential == POTENTIALS[name].title
    assert (4 * final.volume) ** (1 / 3) == pytest.approx(4.212, rel=0.02)


@SEVENN
def test_the_raw_energy_of_sevennet_is_that_of_the_materials_project() -> None:
    """Raw PBE of MgO (mp-1265) is -11.99 eV per formula; with the correction of oxides -12.68."""
    crystal = rock_salt("Mg", "O", 4.26)
    energy = 2 * relax(crystal, calculator_maker("sevennet")())[1].energy
    assert energy == pytest.approx(-11.97, abs=0.05)


# ---------------------------------------------------------------- corrections


@pytest.mark.parametrize(
    ("crystal", "per_formula"),
    [
        (rock_salt("Mg", "O", 4.2), -0.687),
        (rock_salt("Na", "Cl", 5.6), -0.614),
        (rock_salt("Fe", "O", 4.3), -0.687 - 2.256),
        (rock_salt("Mn", "S", 5.2), -0.503),
        (metal("Cu", 3.6), 0.0),
        (metal("Fe", 3.5), 0.0),
        (alloy(), 0.0),
    ],
    ids=["oxide", "chloride", "oxide with U", "sulfide without U", "copper", "iron", "alloy"],
)
def test_corrections_are_the_published_ones(crystal: Structure, per_formula: float) -> None:
    """A. Wang et al., Sci. Rep. 11, 15496 (2021), table 2, eV per anion and per transition metal."""
    assert correction(crystal, MP2020) * len(crystal) == pytest.approx(per_formula, abs=1e-3)
    doubled = crystal.copy() * (2, 1, 1)
    assert correction(doubled, MP2020) == pytest.approx(correction(crystal, MP2020), abs=1e-9)
    assert correction(crystal, "") == 0.0


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(CorrectionError, match="expected corrections named MP2020"):
        correction(alloy(), "MP2018")


def small_hull(**facts: object) -> ReferenceHull:
    """A hull of magnesium, oxygen and magnesia with made-up energies."""
    energies = np.array([-1.5, -4.9, -6.3])
    names, zeros = ("mg", "o", "mgo"), np.zeros(3)
    return ReferenceHull(Reference("made up", names, ("Mg", "O", "MgO"), energies, zeros, zeros > 1, facts))


def test_a_raw_energy_is_corrected_before_it_is_compared() -> None:
    crystal = rock_salt("Mg", "O", 4.2)
    raw = -6.3 + 0.687 / 2
    assert small_hull(**{CORRECTIONS: MP2020}).above_hull_of(crystal, raw, "made up").above_hull == pytest.approx(
        0.0, abs=1e-3
    )
    assert small_hull().above_hull_of(crystal, -6.3, "made up").above_hull == pytest.approx(0.0)


def test_a_hull_that_lacks_phases_says_nothing_of_their_systems() -> None:
    hull = small_hull(**{INCOMPLETE: {"Mg-O": 2}})
    assert hull.above_hull(Composition("Mg"), -1.5, "made up").above_hull == pytest.approx(0.0)
    with pytest.raises(UnknownChemistryError, match="no energy of 2 known phases of Mg-O"):
        hull.above_hull(Composition("MgO"), -6.3, "made up")
    assert hull.ceiling(Composition("MgO"), 0.1) == math.inf


def test_a_hull_built_with_corrections_holds_them(tmp_path: Path) -> None:
    known = [Entry("cu", "", 0, metal("Cu", 3.6), ""), Entry("cuo", "", 0, rock_salt("Cu", "O", 4.2), "")]
    known.append(Entry("o", "", 0, metal("O", 3.0), ""))
    plain = build_reference(known, tmp_path / "a.parquet", EMT, relaxing=False, margin=99.0)
    corrected = build_reference(
        known, tmp_path / "b.parquet", EMT, relaxing=False, margin=99.0, facts={CORRECTIONS: MP2020}
    )
    difference = corrected.reference.energies - plain.reference.energies
    assert difference == pytest.approx([0.0, -0.687 / 2, 0.0], abs=1e-3)
    assert ReferenceHull.load(tmp_path / "b.parquet").corrections == MP2020


# ---------------------------------------------------------------- any calculator, wherever CHGNet is used


def test_a_crystal_is_screened_by_any_calculator_and_its_own_hull(emt_hull: Path) -> None:
    (row,) = screen(alloy(3.1), calculator=f"{EMT_NAME}={emt_hull}", known=NONE)
    assert row.potential == ReferenceHull.load(emt_hull).potential
    assert math.isfinite(row.verdicts["hull"].value)
    (relaxed,) = screen(alloy(3.1), calculator=EMT_NAME, reference=str(emt_hull), relax="potential", known=NONE)
    assert relaxed.verdicts["hull"].value == pytest.approx(0.0, abs=2e-3)
    assert relaxed.energy < row.energy


def test_without_a_hull_stability_is_not_assessed() -> None:
    (row,) = screen(alloy(3.1), calculator=EMT_NAME, known=NONE)
    assert math.isfinite(row.energy)
    assert "hull" not in row.verdicts
    assert "there is no hull for EMT" in row.remarks["hull"]


def test_an_element_that_a_calculator_does_not_know_is_the_matter_of_its_row(emt_hull: Path) -> None:
    rows = screen([alloy(3.1), rock_salt("Na", "Cl", 5.6)], calculator=f"{EMT_NAME}={emt_hull}", known=NONE)
    assert math.isfinite(rows[0].verdicts["hull"].value)
    assert "EMT" in rows[1].verdicts["hull"].reason
    assert "Na" in rows[1].verdicts["hull"].reason


class NoStress(EMT):
    """EMT without the stress."""

    implemented_properties = ("energy", "forces")


def test_a_calculator_without_stress_cannot_relax_a_cell() -> None:
    (row,) = screen(alloy(3.1), calculator=f"{__name__}:NoStress", relax="potential", known=NONE)
    assert not row.verdicts["relaxed"].passed
    assert "gives no stress" in row.verdicts["relaxed"].reason


def test_atoms_relax_in_a_fixed_cell_without_stress() -> None:
    shaken = metal("Cu", 3.6).copy() * (2, 2, 2)
    shaken.perturb(0.1)
    potential = RelaxingPotential(f"{__name__}:NoStress")
    found = potential.relax(shaken, RelaxConfig(keep_symmetry=False), fixed_cell=True)
    assert found is not None
    final, report = found
    assert report.converged
    assert final.lattice.matrix == pytest.approx(shaken.lattice.matrix)
    assert report.energy == pytest.approx(relax(metal("Cu", 3.6), EMT())[1].energy, abs=0.01)


def test_a_relaxer_that_contradicts_the_calculator_is_refused() -> None:
    with pytest.raises(ScreenError, match="expected relax as potential or none beside the calculator"):
        ScreenConfig(calculator=EMT_NAME, relax="chgnet")
    with pytest.raises(RequestError, match="expected relax of potential or none beside the calculator"):
        Request.of(calculator=EMT_NAME, relax="chgnet")


# ---------------------------------------------------------------- second opinions


def offered(crystal: Structure, *, first: bool | None) -> Candidate:
    verdicts = {} if first is None else {"hull": Verdict("hull", first, 0.0 if first else 1.0, "eV/atom", "")}
    return Candidate("one", crystal, crystal, SpaceGroup(221, "Pm-3m"), verdicts=verdicts)


@pytest.mark.parametrize(
    ("edge", "first", "said"),
    [
        (3.1, True, "both call it stable"),
        (3.1, False, "only the second calls it stable"),
        (4.5, True, "only the first calls it stable"),
        (4.5, False, "both call it unstable"),
        (3.1, None, "only the second potential says"),
    ],
)
def test_a_second_opinion_says_who_agrees(
    emt_hull: Path, edge: float, first: Literal[True, False] | None, said: str
) -> None:
    opinion = SecondOpinion(f"{EMT_NAME}={emt_hull}", 0.1)
    found = opinion.verdict(offered(alloy(edge), first=first))
    assert found.passed is (edge == 3.1 and first is True)
    assert found.reason.startswith(said)
    assert (found.value <= 0.1) is (edge == 3.1)


def test_a_crystal_that_the_second_cannot_compute_has_no_consensus(emt_hull: Path) -> None:
    found = SecondOpinion(f"{EMT_NAME}={emt_hull}", 0.1).verdict(offered(rock_salt("Na", "Cl", 5.6), first=True))
    assert not found.passed
    assert math.isnan(found.value)
    assert found.reason.startswith("no second opinion")


def test_a_second_opinion_needs_a_hull_and_another_potential() -> None:
    with pytest.raises(SecondOpinionError, match="there is no hull"):
        SecondOpinion(EMT_NAME, 0.1).check()
    with pytest.raises(ScreenError, match="another potential"):
        ScreenConfig(second_opinion="chgnet")
    with pytest.raises(RequestError, match="the same as the first"):
        Request.of(second_opinion="chgnet")
    own = f"chgnet={hull_file('chgnet')}"
    with pytest.raises(ScreenError, match="for both"):
        ScreenConfig(second_opinion=own)
    with pytest.raises(RequestError, match="the same as the first"):
        Request.of(second_opinion=own)
    with pytest.raises(RequestError, match="no relaxation"):
        Request.of(second_opinion=EMT_NAME, relax="none")


def test_a_second_opinion_needs_a_first_one_that_says_something() -> None:
    for options in ({"calculator": EMT_NAME}, {"calculator": "chgnet-r2scan"}):
        with pytest.raises(ScreenError, match=f"got {options['calculator']} without a hull; name its file as"):
            ScreenConfig(second_opinion="chgnet", **options)
        with pytest.raises(RequestError, match=f"got {options['calculator']} without a hull; name its file as"):
            Request.of(second_opinion="chgnet", **options)


def test_a_screening_tells_both_opinions_in_columns(emt_hull: Path, tmp_path: Path) -> None:
    lj = f"{__name__}:argon"
    known = [Entry("cu", "", 0, metal("Cu", 3.6), ""), Entry("au", "", 0, metal("Au", 4.07), "")]
    build_reference(known, tmp_path / "lj.parquet", argon, relaxing=False)
    options = {"calculator": f"{EMT_NAME}={emt_hull}", "second_opinion": f"{lj}={tmp_path / 'lj.parquet'}"}
    (row,) = screen(alloy(3.1), known=NONE, out=tmp_path / "out", max_ehull=9.0, **options)
    assert {"hull", SECOND_OPINION} <= set(row.verdicts)
    table = (tmp_path / "out" / "results.csv").read_text(encoding="utf-8").splitlines()
    cells = dict(zip(table[0].split(","), table[1].split(","), strict=False))
    assert float(cells["second_e_above_hull"]) == pytest.approx(row.verdicts[SECOND_OPINION].value, abs=1e-6)


def test_a_hull_that_changed_makes_another_run(emt_hull: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.parquet"
    for options in ({"calculator": f"{EMT_NAME}={mine}"}, {"second_opinion": f"{EMT_NAME}={mine}"}):
        mine.write_bytes(emt_hull.read_bytes())
        before = default_folder(Request.of(**options))
        assert default_folder(Request.of(**options)) == before
        mine.write_bytes(emt_hull.read_bytes() + b" ")
        assert default_folder(Request.of(**options)) != before
    assert "hulls" not in identity(Request.of()).configuration["relaxation"]


def argon() -> LennardJones:
    return LennardJones(sigma=2.5, epsilon=0.1, rc=6.0)


def test_agreement_is_symmetric_where_both_say_something() -> None:
    assert {agreement(one, other) for one in (True, False) for other in (True, False)} == {
        "both call it stable",
        "both call it unstable",
        "only the first calls it stable",
        "only the second calls it stable",
    }
